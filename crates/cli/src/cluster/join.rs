//! `highwater cluster join`: a node that joins a running cluster.
//!
//! It is `highwater server` with `cluster.join` set to what the cluster itself says of its nodes, so that one needs to
//! know the address of one node only, the one that clients use. Once it has joined, the data directory knows the
//! cluster, and `highwater server` starts it like any other.

use std::path::PathBuf;

use clap::Args;
use highwater_broker::config::Sources;

use crate::args::ConnectArgs;
use crate::console::remark;
use crate::error::CliError;
use crate::node_args::NodeArgs;
use crate::on_runtime_of;
use crate::server::serve;

/// What `cluster join` takes.
#[derive(Debug, Args)]
#[command(
    after_help = "--server names any node of the cluster, by the address that clients use; --listen, --peer-listen, \
                        --data and the others are about the new node.\n\
                        Once it has joined, 'highwater server' with the same settings starts it again."
)]
pub(crate) struct JoinArgs {
    /// The configuration file of the new node
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Asks the cluster where its nodes are, and runs a node until it is asked to stop.
pub(super) fn run(args: JoinArgs) -> Result<(), CliError> {
    let (asked, answer) = std::sync::mpsc::sync_channel(1);
    let connect = args.connect;
    on_runtime_of(&mut tokio::runtime::Builder::new_current_thread(), async move {
        let cluster = connect.client().await?.admin().describe_cluster().await.map_err(CliError::Request)?;
        // There is room for the one answer.
        let _ = asked.try_send(cluster);
        Ok(())
    })?;
    let Ok(cluster) = answer.try_recv() else { return Err(CliError::NobodyToJoin) };
    let nodes: Vec<String> =
        cluster.nodes.into_iter().map(|node| node.peer_address).filter(|at| !at.is_empty()).collect();
    if nodes.is_empty() {
        return Err(CliError::NobodyToJoin);
    }
    remark(format_args!("joining cluster {} by {}", cluster.id, nodes.join(", ")));
    let sources = Sources::of_process(args.config).with_flag("cluster join", "cluster.join", nodes.join(","));
    serve(&args.node.load_from(sources)?)
}
