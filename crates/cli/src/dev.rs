//! `highwater dev`: one node on this machine, with nothing to prepare.
//!
//! Owns: the banner. The node itself is the same as that of `highwater server`.

use std::net::SocketAddr;
use std::path::Path;

use clap::Args;
use highwater_broker::config::Sources;

use crate::error::CliError;
use crate::node_args::NodeArgs;
use crate::serving::{run_node, start_logging};

/// Which log lines `dev` writes unless it is told otherwise: the banner says the rest.
const QUIET: &str = "warn";
const DEFAULT_PORT: u16 = 7400;

/// What `highwater dev` takes.
#[derive(Debug, Args)]
#[command(
    after_help = "The data directory is ./highwater-data unless --data says otherwise; it is made when it is missing.\n\
                        Ctrl-C stops the node in order, a second Ctrl-C at once."
)]
pub(crate) struct DevArgs {
    #[command(flatten)]
    node: NodeArgs,
}

/// Runs a node until it is asked to stop.
pub(crate) fn run(args: DevArgs) -> Result<(), CliError> {
    // Nobody joins a node that is tried out, and the port that a cluster has may be another one's.
    let sources = Sources::of_process(None).with_preset("dev", "cluster.listen", "127.0.0.1:0");
    let config = args.node.load_from(sources)?;
    let is_asked = config.settings().any(|setting| setting.key == "logging.filter" && setting.source != "default");
    let filter = if is_asked { &config.logging.filter } else { QUIET };
    start_logging(filter, config.logging.format)?;
    let data = config.data.dir.clone();
    run_node(config, move |address| banner(address, &data, &own_name()))
}

/// How this binary was called, so that what the banner tells to copy works from where the user is.
fn own_name() -> String {
    let called = std::env::args_os().next().map(|name| name.to_string_lossy().into_owned());
    called.filter(|name| !name.is_empty() && !name.contains(' ')).unwrap_or_else(|| "highwater".to_owned())
}

fn banner(address: SocketAddr, data: &Path, name: &str) -> String {
    let server = if is_default(address) { String::new() } else { format!(" --server {address}") };
    format!(
        "\
Highwater {version}, one node on this machine

  gRPC         {address}
  data         {data}
  durability   acknowledged = fsynced: what is acknowledged is on this machine's disk, whatever ends the process

Next, in another terminal:

  {name} topic create greetings{server}
  seq 5 | {name} produce greetings{server}
  {name} consume greetings --offset start --exit-at-end{server}
",
        version = env!("CARGO_PKG_VERSION"),
        data = data.display(),
    )
}

fn is_default(address: SocketAddr) -> bool {
    address.ip().is_loopback() && address.is_ipv4() && address.port() == DEFAULT_PORT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_of_the_banner_reach_the_node() {
        let other = banner("127.0.0.1:9999".parse().unwrap(), Path::new("d"), "./highwater");
        assert_eq!(other.matches("./highwater ").count(), 3);
        assert_eq!(other.matches("--server 127.0.0.1:9999").count(), 3);
        let usual = banner("127.0.0.1:7400".parse().unwrap(), Path::new("d"), "highwater");
        assert!(!usual.contains("--server"), "{usual}");
        assert!(usual.contains("acknowledged = fsynced"), "{usual}");
    }
}
