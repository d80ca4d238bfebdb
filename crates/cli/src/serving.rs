//! Running a node in this process until it is asked to stop or fails: what `dev` and `server` share.
//!
//! Owns: the log, the signals, and the word `ready`.
//!
//! Invariants: `ready` stands on a line of its own, printed when the node serves and not before. The first Ctrl-C or
//! `SIGTERM` stops the node in order; the second ends the process at once, which loses nothing that was acknowledged.

use std::io::IsTerminal as _;
use std::net::SocketAddr;

use highwater_broker::config::{Config, LogFormat};
use highwater_broker::server::Server;
use tracing_subscriber::EnvFilter;

use crate::console::remark;
use crate::error::CliError;
use crate::on_runtime_of;
use crate::output::write_stdout;
use crate::signals::Signals;

/// Starts a node, prints `banner` and `ready`, and returns when the node has stopped.
pub(crate) fn run_node(
    config: Config,
    banner: impl FnOnce(SocketAddr) -> String + Send + 'static,
) -> Result<(), CliError> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    on_runtime_of(runtime.worker_threads(config.limits.threads), serve(config, banner))
}

async fn serve(config: Config, banner: impl FnOnce(SocketAddr) -> String) -> Result<(), CliError> {
    let mut signals = Signals::listen().map_err(CliError::Signals)?;
    let server = tokio::select! {
        started = Server::start(config) => started.map_err(|source| CliError::Start(Box::new(source)))?,
        () = signals.next() => return Err(CliError::Interrupted),
    };
    write_stdout(format!("{}\nready\n", banner(server.address())).as_bytes())?;
    tokio::select! {
        () = signals.next() => remark("stopping; once more to stop at once"),
        _failure = server.failed() => {}
    }
    // Tells the failure, too, if there was one.
    tokio::select! {
        stopped = server.shutdown() => stopped.map_err(CliError::NodeFailed),
        () = signals.next() => Err(CliError::Interrupted),
    }
}

/// Writes log lines to standard error from now on.
pub(crate) fn start_logging(filter: &str, format: LogFormat) -> Result<(), CliError> {
    // The consensus library tells every step of every election at "info", and warns of what each brings with it.
    let quiet = if filter.contains("openraft") { "" } else { ",openraft=error" };
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
