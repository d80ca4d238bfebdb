//! `highwater server`: a node with a configuration file.

use std::path::PathBuf;

use clap::Args;
use highwater_broker::config::Config;

use crate::error::CliError;
use crate::node_args::NodeArgs;
use crate::serving::{Reached, run_node, start_logging};

/// What `highwater server` takes.
#[derive(Debug, Args)]
#[command(after_help = "'highwater config --sample' prints a configuration file with every setting.\n\
                        SIGTERM or Ctrl-C stops the node in order, a second one at once.")]
pub(crate) struct ServerArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    node: NodeArgs,
}

/// Runs a node until it is asked to stop.
pub(crate) fn run(args: ServerArgs) -> Result<(), CliError> {
    serve(&args.node.load(Some(args.config))?)
}

/// Runs a node with these settings until it is asked to stop.
pub(crate) fn serve(config: &Config) -> Result<(), CliError> {
    start_logging(&config.logging.filter, config.logging.format)?;
    let data = config.data.dir.clone();
    let banner = move |node: &Reached| {
        let http = node.http.map_or_else(|| "off".to_owned(), |address| address.to_string());
        let clients = node.clients;
        format!("gRPC {clients}\nHTTP {http}\ndata {}\ndurability acknowledged = fsynced", data.display())
    };
    run_node(config.clone(), banner)
}
