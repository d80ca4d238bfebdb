//! `highwater queue work`: a command for each message.
//!
//! Owns: the arguments, the end by Ctrl-C, and what is said at the end. Running the command stands in `command`.
//!
//! Invariant: a command that cannot be started at all is the caller's mistake and no message's: it goes back, and this ends.

mod command;
mod environment;
mod tail;

use std::ffi::OsString;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::Args;
use highwater_client::WorkerStats;

use self::command::{Command, Unstartable};
use self::environment::variables;
use super::QueueName;
use crate::args::ConnectArgs;
use crate::console::remark;
use crate::error::CliError;
use crate::signals::Signals;

/// What `queue work` takes.
#[derive(Debug, Args)]
#[command(after_help = "The command gets the value on standard input and this in its environment:\n\
                        HIGHWATER_TOPIC, _PARTITION, _OFFSET, _TIMESTAMP (ms since 1970), _ATTEMPT (from 1), _KEY if there is\n\
                        one, and HIGHWATER_HEADER_NAME for each header NAME, in capitals, with _ for what is no letter or digit.\n\
                        Exit code 0: the message is done. 75: it goes back, not counted as an attempt. Any other: the\n\
                        attempt failed, and the end of standard error is the reason.\n\
                        Ctrl-C takes no more messages and waits for the commands that run; a second one does not wait.")]
pub(crate) struct WorkArgs {
    #[command(flatten)]
    queue: QueueName,
    /// So many commands at a time
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    parallel: u16,
    /// What the worker is called, in journals and listings [default: made up by the server]
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    name: String,
    /// End when there is nothing more to do for anybody; messages that are not due yet are not waited for
    #[arg(long)]
    exit_when_empty: bool,
    /// A command may run longer than the lease of its message: do not extend it, let another worker have the message
    #[arg(long)]
    no_extend: bool,
    /// After Ctrl-C, kill commands that still run after so long and give their messages back
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    drain_timeout: Duration,
    #[command(flatten)]
    connect: ConnectArgs,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// Works until told to stop, or until there is nothing more to do.
pub(super) async fn run(args: WorkArgs) -> Result<(), CliError> {
    let mut signals = Signals::listen().map_err(CliError::Signals)?;
    let client = args.connect.client().await?;
    let worker = client
        .worker(args.queue.topic.as_str(), args.queue.group.as_str())
        .name(args.name)
        .concurrency(args.parallel.into())
        .extend_leases(!args.no_extend)
        .drain_timeout(args.drain_timeout)
        .exit_when_empty(args.exit_when_empty)
        .build();
    let handle = worker.handle();
    let unstartable: Arc<OnceLock<Unstartable>> = Arc::default();
    let command = Arc::new(Command::new(args.command));
    let (found, stop) = (Arc::clone(&unstartable), handle.clone());
    let running = worker.run(move |message| {
        let (command, found, stop) = (Arc::clone(&command), Arc::clone(&found), stop.clone());
        async move {
            command.run(message.value(), variables(&message)).await.unwrap_or_else(|error| {
                // The first one says it; those beside it say the same.
                let _ = found.set(error);
                stop.stop();
                highwater_client::MessageOutcome::Release
            })
        }
    });
    tokio::pin!(running);
    let ended = loop {
        tokio::select! {
            ended = &mut running => break ended,
            () = signals.next() => {
                if handle.is_stopped() {
                    return Err(CliError::Interrupted);
                }
                remark("no more messages are taken; a second Ctrl-C does not wait for the commands that run");
                handle.stop();
            }
        }
    };
    let stats = ended.map_err(CliError::work(&args.queue))?;
    if let Some(Unstartable { command, cause }) = unstartable.get().cloned() {
        return Err(CliError::Command { command, cause });
    }
    remark(summary(stats));
    Ok(())
}

/// What was done, without what was not.
fn summary(stats: WorkerStats) -> String {
    let plural = if stats.acked == 1 { "" } else { "s" };
    let mut said = format!("{} message{plural} done", stats.acked);
    for (count, what) in [
        (stats.failed, "failed attempts"),
        (stats.dead, "dead"),
        (stats.released, "given back"),
        (stats.lost, "lost to other workers"),
    ] {
        if count > 0 {
            said.push_str(&format!(", {count} {what}"));
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use clap::error::ErrorKind;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        work: WorkArgs,
    }

    fn parse(arguments: &[&str]) -> Result<WorkArgs, ErrorKind> {
        let line = ["work", "orders", "--group", "billing"].iter().chain(arguments);
        Line::try_parse_from(line).map(|line| line.work).map_err(|error| error.kind())
    }

    #[test]
    fn what_follows_the_dashes_is_the_command() {
        let args = parse(&["--parallel", "4", "--exit-when-empty", "--", "sh", "-c", "exit 75"]).unwrap();
        assert_eq!(args.command, ["sh", "-c", "exit 75"]);
        assert_eq!((args.parallel, args.exit_when_empty, args.drain_timeout), (4, true, Duration::from_secs(30)));
    }

    #[test]
    fn without_a_command_there_is_nothing_to_do() {
        assert_eq!(parse(&[]).unwrap_err(), ErrorKind::MissingRequiredArgument);
        assert_eq!(parse(&["--"]).unwrap_err(), ErrorKind::MissingRequiredArgument);
        assert_eq!(parse(&["--parallel", "0", "--", "true"]).unwrap_err(), ErrorKind::ValueValidation);
    }
}
