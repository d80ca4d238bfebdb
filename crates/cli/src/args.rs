//! The command line: the nouns, and the options that several of them share. Doc comments here are the help texts.
//!
//! Owns: the top of the tree. The arguments of a verb stand in the verb's own file, beside the code that uses them.

use clap::{Args, Parser, Subcommand};
use highwater_client::Client;

use crate::error::CliError;
use crate::{bench, cluster, config, consume, dev, dlq, dump, group, health, message, produce, queue, server, topic};

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed; standard error says what happened, to which thing, and what to do
  2    the command line or the configuration is wrong; nothing was done
  3    there is no such topic, partition, offset, message, group, member or file
  4    no server could be reached
  130  interrupted";

/// Highwater: a durable log for records, in one binary
#[derive(Debug, Parser)]
#[command(name = "highwater", version, propagate_version = true, after_help = EXIT_CODES, max_term_width = 110)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Start a node, or a cluster of several, on this machine, with no configuration file; prints 'ready' when it serves
    Dev(dev::DevArgs),
    /// Start a node from a configuration file; prints 'ready' when it serves
    Server(server::ServerArgs),
    /// Look after a cluster: its nodes, what they hold, and who leads
    #[command(subcommand)]
    Cluster(cluster::ClusterVerb),
    /// Create, list, describe, alter and delete topics
    #[command(subcommand)]
    Topic(topic::TopicVerb),
    /// List, describe, rewind and delete groups of readers, throw members out of them, and pause queue groups
    #[command(subcommand)]
    Group(group::GroupVerb),
    /// Work on the messages of a topic one by one: make queue groups, run commands, look at what waits
    #[command(subcommand)]
    Queue(queue::QueueVerb),
    /// Look at dead messages, have them tried again, or give them up
    #[command(subcommand)]
    Dlq(dlq::DlqVerb),
    /// Find a message, and what became of it
    #[command(subcommand)]
    Message(message::MessageVerb),
    /// Write lines of standard input to a topic, a record each
    Produce(produce::ProduceArgs),
    /// Read records from a topic and print them
    Consume(consume::ConsumeArgs),
    /// Ask one node whether it serves; exits with 0 if it does
    Health(health::HealthArgs),
    /// Show every setting of a node, its value, and where the value comes from
    Config(config::ConfigArgs),
    /// Show what stands in the files of a log, without a server and without its lock
    Dump(dump::DumpArgs),
    /// Measure a running server
    #[command(subcommand)]
    Bench(bench::BenchVerb),
}

/// How to reach the cluster.
#[derive(Clone, Debug, Args)]
pub(crate) struct ConnectArgs {
    /// Nodes to ask first, as HOST:PORT; the others are learnt from them
    #[arg(
        long,
        env = "HIGHWATER_SERVER",
        value_name = "HOST:PORT",
        value_delimiter = ',',
        default_value = "127.0.0.1:7400"
    )]
    server: Vec<String>,
}

impl ConnectArgs {
    /// A client that is connected to one of the servers.
    pub(crate) async fn client(&self) -> Result<Client, CliError> {
        Ok(Client::builder().servers(&self.server).connect().await?)
    }
}
