//! The one binary of Highwater: the server and every verb.
//!
//! Owns: the runtime, and turning the end of a verb into an exit code. Everything else stands in the verb's own file.
//!
//! Never: holds logic that a program would need too; that is the client's.

mod args;
mod bench;
mod clock;
mod cluster;
mod config;
mod console;
mod consume;
mod dev;
mod dlq;
mod dump;
mod error;
mod group;
mod health;
mod input;
mod key_value;
mod lines;
mod message;
mod node_args;
mod output;
mod position;
mod produce;
mod queue;
mod record_format;
mod server;
mod serving;
mod signals;
mod sink;
mod topic;

use std::error::Error as _;
use std::process::ExitCode;

use clap::Parser as _;

use crate::args::{Cli, Verb};
use crate::console::remark;
use crate::error::CliError;

fn main() -> ExitCode {
    match run(Cli::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error),
    }
}

fn run(verb: Verb) -> Result<(), CliError> {
    match verb {
        Verb::Config(args) => config::run(args),
        Verb::Dump(args) => dump::run(args),
        Verb::Dev(args) => dev::run(args),
        Verb::Server(args) => server::run(args),
        Verb::Health(args) => on_runtime(health::run(args)),
        Verb::Cluster(verb) => cluster::run(verb),
        Verb::Topic(verb) => on_runtime(topic::run(verb)),
        Verb::Group(verb) => on_runtime(group::run(verb)),
        Verb::Queue(verb) => on_runtime(queue::run(verb)),
        Verb::Dlq(verb) => on_runtime(dlq::run(verb)),
        Verb::Message(verb) => on_runtime(message::run(verb)),
        Verb::Produce(args) => on_runtime(produce::run(args)),
        Verb::Consume(args) => on_runtime(consume::run(args)),
        Verb::Bench(verb) => on_runtime(bench::run(verb)),
    }
}

/// Runs a verb that talks to a server, on one thread fewer than there are cores: see docs/adr/032.
fn on_runtime(verb: impl Future<Output = Result<(), CliError>> + Send + 'static) -> Result<(), CliError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.saturating_sub(1).max(1);
    on_runtime_of(tokio::runtime::Builder::new_multi_thread().worker_threads(threads), verb)
}

/// Runs a verb to its end on a runtime of its own.
fn on_runtime_of(
    runtime: &mut tokio::runtime::Builder,
    verb: impl Future<Output = Result<(), CliError>> + Send + 'static,
) -> Result<(), CliError> {
    let runtime = runtime.enable_all().build().map_err(CliError::Runtime)?;
    // As a task, so that it runs on the runtime's own threads and wakes up cheaply.
    let result = runtime.block_on(async { tokio::spawn(verb).await });
    // A thread that still waits for standard input must not hold up the exit.
    runtime.shutdown_background();
    result.unwrap_or_else(|error| Err(CliError::Crashed(error)))
}

/// Says what happened, why, and what to do.
fn report(error: &CliError) -> ExitCode {
    let mut said = format!("error: {error}");
    let mut cause = error.source();
    while let Some(deeper) = cause {
        let text = deeper.to_string();
        // Many errors tell their cause in their own words.
        if !said.contains(&text) {
            said.push_str("\n  because ");
            said.push_str(&text);
        }
        cause = deeper.source();
    }
    remark(said);
    if let Some(advice) = error.advice() {
        remark(format_args!("  {advice}"));
    }
    ExitCode::from(error.exit_code())
}
