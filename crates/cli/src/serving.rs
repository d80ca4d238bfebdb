//! Running nodes in this process until they are asked to stop or fail: what `dev` and `server` share.
//!
//! Owns: the log, the signals, and the word `ready`.
//!
//! Invariants: `ready` stands on a line of its own, printed when the node serves and not before. The first Ctrl-C or
//! `SIGTERM` stops the node in order; the second ends the process at once, which loses nothing that was acknowledged.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::net::SocketAddr;

use futures_util::future::{select_all, try_join_all};
use highwater_broker::config::{Config, LogFormat};
use highwater_broker::server::Server;
use tracing_subscriber::EnvFilter;

use crate::console::remark;
use crate::error::CliError;
use crate::on_runtime_of;
use crate::output::write_stdout;
use crate::signals::Signals;

/// Where a node is reached that serves.
#[derive(Clone, Debug)]
pub(crate) struct Reached {
    /// By clients.
    pub(crate) clients: SocketAddr,
    /// For metrics and health, unless that is switched off.
    pub(crate) http: Option<SocketAddr>,
    /// By clients that speak Kafka's protocol, unless that is switched off.
    pub(crate) kafka: Option<SocketAddr>,
    /// By those who come in through the listener of this name.
    pub(crate) kafka_listeners: BTreeMap<String, SocketAddr>,
}

impl Reached {
    fn of(server: &Server) -> Self {
        Self {
            clients: server.address(),
            http: server.http_address(),
            kafka: server.kafka_address(),
            kafka_listeners: server.kafka_listeners().clone(),
        }
    }
}

/// Starts a node, prints `banner` and `ready`, and returns when the node has stopped.
pub(crate) fn run_node(
    config: Config,
    banner: impl FnOnce(&Reached) -> String + Send + 'static,
) -> Result<(), CliError> {
    run_nodes(vec![config], |nodes| nodes.first().map_or_else(String::new, banner))
}

/// Starts nodes that make one cluster, prints `banner` and `ready` when all of them serve, and returns when they have
/// stopped.
pub(crate) fn run_nodes(
    configs: Vec<Config>,
    banner: impl FnOnce(&[Reached]) -> String + Send + 'static,
) -> Result<(), CliError> {
    let threads = configs.iter().map(|config| config.limits.threads).max().unwrap_or(1);
    // One that waits for its disk must not hold up the others.
    let threads = if configs.len() > 1 { threads.max(2) } else { threads };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    on_runtime_of(runtime.worker_threads(threads), serve(configs, banner))
}

async fn serve(configs: Vec<Config>, banner: impl FnOnce(&[Reached]) -> String) -> Result<(), CliError> {
    let mut signals = Signals::listen().map_err(CliError::Signals)?;
    // Together: none of them serves before a majority is there.
    let starting = try_join_all(configs.into_iter().map(Server::start));
    let servers = tokio::select! {
        started = starting => started.map_err(|source| CliError::Start(Box::new(source)))?,
        () = signals.next() => return Err(CliError::Interrupted),
    };
    let reached: Vec<Reached> = servers.iter().map(Reached::of).collect();
    write_stdout(format!("{}\nready\n", banner(&reached)).as_bytes())?;
    let failed = select_all(servers.iter().map(|server| Box::pin(server.failed())));
    tokio::select! {
        () = signals.next() => remark("stopping; once more to stop at once"),
        _failure = failed => {}
    }
    // Tells the failure, too, if there was one.
    tokio::select! {
        stopped = stop(servers) => stopped,
        () = signals.next() => Err(CliError::Interrupted),
    }
}

/// Stops one after the other: each hands over what it leads to those that still run.
async fn stop(servers: Vec<Server>) -> Result<(), CliError> {
    let mut first_failure = Ok(());
    for server in servers {
        first_failure = first_failure.and(server.shutdown().await.map_err(CliError::NodeFailed));
    }
    first_failure
}

/// Writes log lines to standard error from now on.
pub(crate) fn start_logging(filter: &str, format: LogFormat) -> Result<(), CliError> {
    // The consensus library tells every step of every election at "info", warns of what each brings with it, and has an error
    // for every group that is asked something while it is closed. A group that fails is told by its node.
    let quiet = if filter.contains("openraft") { "" } else { ",openraft=error,openraft::raft::raft_inner=off" };
    let filter = EnvFilter::try_new(format!("{filter}{quiet}"))
        .map_err(|error| CliError::BadLogFilter { filter: filter.to_owned(), cause: error.to_string() })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Human => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    // Only a process that logs already refuses, and that is as good.
    started.unwrap_or_default();
    Ok(())
}
