//! `highwater bench produce|consume|latency|queue`: what a running server does, as its clients see it.
//!
//! Owns: the arguments, the topic of a run (made before, deleted after), and the cluster's own account of its cost.
//!
//! Never: runs a server. The client that measures is in this process, the server is not.

mod consume;
mod latency;
mod load;
mod payload;
mod produce;
mod queue;
mod report;
mod schedule;

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use highwater_broker::config::ByteSize;
use highwater_client::{Client, NewTopic, NodeUsage, ProducerBuilder};
use highwater_types::{NodeId, TopicName};

use self::report::{BenchReport, ServerCost};
use crate::args::ConnectArgs;
use crate::clock;
use crate::console::remark;
use crate::error::CliError;
use crate::output::OutputArgs;
use crate::produce::SendingArgs;
use crate::signals::Signals;

/// What is measured.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchVerb {
    /// How fast records are acknowledged, with so many unacknowledged at a time
    Produce(produce::ProduceLoadArgs),
    /// How fast a topic is read from its start; the percentiles are of waiting for the next batch
    Consume(consume::ConsumeLoadArgs),
    /// How long records take from the moment they are due to the moment a reader has them, at a fixed rate
    Latency(latency::LatencyLoadArgs),
    /// How fast workers get messages through a queue, with an ack each; the percentiles are from having one to its ack
    Queue(queue::QueueLoadArgs),
}

/// The options that every benchmark has.
#[derive(Clone, Debug, Args)]
pub(crate) struct CommonArgs {
    /// Bytes of a record's value, such as 1024 or 64KiB
    #[arg(long, value_name = "BYTES", default_value = "1024")]
    size: ByteSize,
    /// Partitions of the topic that is made for the run
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    partitions: u32,
    /// On how many nodes each partition is kept
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    replicas: u32,
    /// At most so many records unacknowledged
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    in_flight: u32,
    /// A batch takes no further record beyond so many bytes
    #[arg(long, value_name = "BYTES", default_value = "256KiB")]
    batch_bytes: ByteSize,
    /// A topic that exists, instead of one that is made for the run and deleted after it
    #[arg(long, value_name = "TOPIC", conflicts_with_all = ["partitions", "replicas"])]
    topic: Option<TopicName>,
    #[command(flatten)]
    sending: SendingArgs,
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl CommonArgs {
    fn size(&self) -> usize {
        usize::try_from(self.size.0).unwrap_or(usize::MAX)
    }

    fn in_flight(&self) -> usize {
        usize::try_from(self.in_flight).unwrap_or(usize::MAX)
    }

    /// A producer that is never held up by its own memory before `--in-flight` holds it.
    fn producer(&self, client: &Client) -> ProducerBuilder {
        const MEMORY_BYTES_MIN: usize = 32 << 20;
        const RECORD_OVERHEAD_BYTES: usize = 128;
        let needed = self.in_flight().saturating_mul(self.size().saturating_add(RECORD_OVERHEAD_BYTES));
        client
            .producer()
            .acks(self.sending.acks.into())
            .compression(self.sending.compression)
            .batch_bytes(usize::try_from(self.batch_bytes.0).unwrap_or(usize::MAX))
            .memory_bytes(needed.saturating_mul(2).max(MEMORY_BYTES_MIN))
    }
}

/// Measures, prints, and leaves nothing behind.
pub(crate) async fn run(verb: BenchVerb) -> Result<(), CliError> {
    let mut signals = Signals::listen().map_err(CliError::Signals)?;
    let common = match &verb {
        BenchVerb::Produce(args) => args.common.clone(),
        BenchVerb::Consume(args) => args.common.clone(),
        BenchVerb::Latency(args) => args.common.clone(),
        BenchVerb::Queue(args) => args.common.clone(),
    };
    let client = common.connect.client().await?;
    let topic = Topic::prepare(&client, &common).await?;
    let measured = tokio::select! {
        measured = measure(verb, &client, &topic.name) => measured,
        () = signals.next() => Err(CliError::Interrupted),
    };
    topic.remove(&client).await?;
    common.output.print(&measured?)
}

async fn measure(verb: BenchVerb, client: &Client, topic: &TopicName) -> Result<BenchReport, CliError> {
    match verb {
        BenchVerb::Produce(args) => produce::run(args, client, topic).await,
        BenchVerb::Consume(args) => consume::run(args, client, topic).await,
        BenchVerb::Latency(args) => latency::run(args, client, topic).await,
        BenchVerb::Queue(args) => queue::run(args, client, topic).await,
    }
}

/// The topic of a run.
struct Topic {
    name: TopicName,
    is_ours: bool,
}

impl Topic {
    async fn prepare(client: &Client, common: &CommonArgs) -> Result<Self, CliError> {
        if let Some(name) = &common.topic {
            return Ok(Self { name: name.clone(), is_ours: false });
        }
        let name = TopicName::new(&clock::unique_name("bench"))?;
        let new = NewTopic::new(name.as_str()).partitions(common.partitions).replicas(common.replicas);
        client.admin().create_topic(new).await.map_err(CliError::topic(&name))?;
        Ok(Self { name, is_ours: true })
    }

    async fn remove(self, client: &Client) -> Result<(), CliError> {
        if !self.is_ours {
            return Ok(());
        }
        client.admin().delete_topic(self.name.as_str()).await.map_err(CliError::topic(&self.name))
    }
}

/// What the nodes of the cluster say that they used since a moment, all of them together.
struct CostMeter {
    before: Usage,
}

/// What each process that answers has used since it started; nodes that share one are counted once.
type Usage = BTreeMap<String, NodeUsage>;

impl CostMeter {
    async fn start(client: &Client) -> Result<Self, CliError> {
        let (before, silent) = Self::usage(client).await?;
        for node in silent {
            // Told, because it makes the figures better than they are.
            remark(format_args!("node {node} does not answer: what it costs is not counted"));
        }
        Ok(Self { before })
    }

    async fn stop(self, client: &Client) -> Result<ServerCost, CliError> {
        let (after, _silent) = Self::usage(client).await?;
        let mut cost = ServerCost { cpu_seconds: 0.0, rss_peak_bytes: 0 };
        for (process, usage) in after {
            // One that started meanwhile counts from its start.
            let before = self.before.get(&process).map(|usage| usage.cpu).unwrap_or_default();
            cost.cpu_seconds += usage.cpu.saturating_sub(before).as_secs_f64();
            cost.rss_peak_bytes = cost.rss_peak_bytes.saturating_add(usage.rss_peak_bytes);
        }
        Ok(cost)
    }

    /// The usage, and who does not tell.
    async fn usage(client: &Client) -> Result<(Usage, Vec<NodeId>), CliError> {
        let admin = client.admin();
        let (mut usage, mut silent) = (Usage::new(), Vec::new());
        for node in admin.describe_cluster().await.map_err(CliError::Request)?.nodes {
            // One that has not told its version was just asked in vain; to ask again takes as long as a request may.
            if node.version.is_none() {
                silent.push(node.id);
                continue;
            }
            match admin.node_usage_of(node.id).await {
                Ok(told) => drop(usage.insert(told.process.clone(), told)),
                Err(error) if error.is_retryable() => silent.push(node.id),
                Err(error) => return Err(CliError::Request(error)),
            }
        }
        Ok((usage, silent))
    }
}
