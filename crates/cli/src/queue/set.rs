//! `highwater queue set`: makes a queue group, or changes its settings.

use std::time::Duration;

use clap::{Args, ValueEnum};
use highwater_client::{QueueBackoff, QueueBreaker, QueueSettings, QueueStart};
use serde::Serialize;

use super::QueueName;
use super::settings::{ExpiryArg, OrderArg, SettingsRow, parse_backoff, parse_breaker};
use crate::args::ConnectArgs;
use crate::console::remark;
use crate::error::CliError;
use crate::output::{OutputArgs, Report};

/// What `queue set` takes.
#[derive(Debug, Args)]
#[command(after_help = "What is not given stays as it is, or has its default when the group is made.")]
pub(crate) struct SetArgs {
    #[command(flatten)]
    queue: QueueName,
    /// After so many failed attempts a message is dead [default: 5]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    max_attempts: Option<u32>,
    /// How long a message rests after a failed attempt: none, fixed:D, linear:D:CAP or exponential:D:CAP
    /// [default: exponential:1s:1m]
    #[arg(long, value_name = "BACKOFF", value_parser = parse_backoff)]
    backoff: Option<QueueBackoff>,
    /// How long a worker has for a message, unless it extends [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    lease: Option<Duration>,
    /// The longest lease with all that it is extended by [default: 12h]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    max_lease: Option<Duration>,
    /// Which messages may be with workers at the same time [default: none]
    #[arg(long, value_enum, value_name = "ORDER")]
    order: Option<OrderArg>,
    /// Messages with workers at a time, a partition [default: 100000]
    #[arg(long, value_name = "COUNT")]
    in_flight: Option<u32>,
    /// Messages with one worker at a time, a partition [default: 10000]
    #[arg(long, value_name = "COUNT")]
    worker_in_flight: Option<u32>,
    /// Each so many messages the oldest goes first, whatever its priority; 0 is never [default: 10]
    #[arg(long, value_name = "COUNT")]
    oldest_every: Option<u32>,
    /// Among so many messages priorities and tenants are compared [default: 10000]
    #[arg(long, value_name = "COUNT")]
    look_ahead: Option<u32>,
    /// So many messages of a partition are looked at and not done, at most [default: 1000000]
    #[arg(long, value_name = "COUNT")]
    window: Option<u32>,
    /// With so many dead in a partition nothing more is handed out there [default: 100000]
    #[arg(long, value_name = "COUNT")]
    max_dead: Option<u32>,
    /// What becomes of a message whose time to live is over [default: dead]
    #[arg(long, value_enum, value_name = "FATE")]
    on_expiry: Option<ExpiryArg>,
    /// When the group pauses by itself: off, PERCENT of failures, or PERCENT:OUTCOMES:WINDOW:PROBE
    /// [default: 90:100:30s:10s]
    #[arg(long, value_name = "BREAKER", value_parser = parse_breaker)]
    breaker: Option<QueueBreaker>,
    /// Where a group that is made begins [default: start]
    #[arg(long, value_enum, value_name = "PLACE")]
    from: Option<FromArg>,
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Where a group begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FromArg {
    /// With the first message that is kept
    Start,
    /// With what comes from now on
    End,
}

/// Makes or changes the group, and shows its settings.
pub(super) async fn run(args: SetArgs) -> Result<(), CliError> {
    let settings = settings(&args);
    let start = if args.from == Some(FromArg::End) { QueueStart::End } else { QueueStart::Kept };
    let admin = args.connect.client().await?.admin();
    let set = admin.set_queue(args.queue.topic.as_str(), &args.queue.group, settings, start).await;
    let (settings, is_new) = set.map_err(CliError::queue(&args.queue))?;
    if !is_new && args.from.is_some() {
        remark("the group was there before and goes on where it is; --from is for groups that are made");
    }
    args.output.print(&Set::new(args.queue, is_new, settings))
}

fn settings(args: &SetArgs) -> QueueSettings {
    let mut settings = QueueSettings::new();
    settings.lease = args.lease;
    settings.lease_total_max = args.max_lease;
    settings.attempts_max = args.max_attempts;
    settings.backoff = args.backoff;
    settings.order = args.order.map(Into::into);
    settings.in_flight_max = args.in_flight;
    settings.worker_in_flight_max = args.worker_in_flight;
    settings.oldest_every = args.oldest_every;
    settings.look_ahead = args.look_ahead;
    settings.entries_max = args.window;
    settings.dead_max = args.max_dead;
    settings.on_expiry = args.on_expiry.map(Into::into);
    settings.breaker = args.breaker;
    settings
}

/// The names of the JSON keys are a contract.
#[derive(Debug, Serialize)]
struct Set {
    topic: String,
    group: String,
    is_new: bool,
    settings: SettingsRow,
}

impl Set {
    fn new(queue: QueueName, is_new: bool, settings: QueueSettings) -> Self {
        let settings = SettingsRow::new(settings);
        Self { topic: queue.topic.as_str().to_owned(), group: queue.group, is_new, settings }
    }
}

impl Report for Set {
    fn table(&self) -> String {
        let what = if self.is_new { "is made" } else { "is set" };
        format!("queue group {} of topic {} {what}\n\n{}", self.group, self.topic, self.settings.table())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use clap::error::ErrorKind;
    use highwater_client::{OnExpiry, QueueOrder};

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        set: SetArgs,
    }

    fn parse(arguments: &[&str]) -> Result<SetArgs, ErrorKind> {
        let line = ["set", "orders"].iter().chain(arguments);
        Line::try_parse_from(line).map(|line| line.set).map_err(|error| error.kind())
    }

    #[test]
    fn what_is_not_given_is_not_told() {
        let args = parse(&["--group", "billing"]).unwrap();
        assert_eq!((settings(&args), args.from), (QueueSettings::new(), None));
    }

    #[test]
    fn every_option_reaches_the_settings() {
        let line = "-g billing --max-attempts 3 --backoff fixed:5s --lease 1m --max-lease 1h --order key --in-flight 1 \
                    --worker-in-flight 2 --oldest-every 0 --look-ahead 4 --window 5 --max-dead 6 --on-expiry drop \
                    --breaker off --from end";
        let args = parse(&line.split_whitespace().collect::<Vec<_>>()).unwrap();
        let found = settings(&args);
        let secs = Duration::from_secs;
        assert_eq!(
            (found.lease, found.lease_total_max, found.attempts_max),
            (Some(secs(60)), Some(secs(3600)), Some(3))
        );
        assert_eq!(found.backoff, Some(QueueBackoff::Fixed { pause: secs(5) }));
        assert_eq!((found.order, found.on_expiry), (Some(QueueOrder::Key), Some(OnExpiry::Drop)));
        assert_eq!((found.in_flight_max, found.worker_in_flight_max, found.oldest_every), (Some(1), Some(2), Some(0)));
        assert_eq!((found.look_ahead, found.entries_max, found.dead_max), (Some(4), Some(5), Some(6)));
        assert_eq!((found.breaker, args.from), (Some(QueueBreaker::Off), Some(FromArg::End)));
    }

    #[test]
    fn a_line_that_makes_no_sense_is_refused() {
        assert_eq!(parse(&[]).unwrap_err(), ErrorKind::MissingRequiredArgument);
        assert_eq!(parse(&["-g", ""]).unwrap_err(), ErrorKind::InvalidValue);
        assert_eq!(parse(&["-g", "b", "--max-attempts", "0"]).unwrap_err(), ErrorKind::ValueValidation);
        assert_eq!(parse(&["-g", "b", "--backoff", "often"]).unwrap_err(), ErrorKind::ValueValidation);
        assert_eq!(parse(&["-g", "b", "--order", "random"]).unwrap_err(), ErrorKind::InvalidValue);
    }

    #[test]
    fn what_was_set_is_shown() {
        let queue = parse(&["-g", "billing"]).unwrap().queue;
        let set = Set::new(queue, true, QueueSettings::new().attempts_max(3));
        assert!(set.table().starts_with("queue group billing of topic orders is made\n\nlease             -\n"));
        let json = serde_json::to_string(&set).unwrap();
        assert!(json.starts_with(r#"{"topic":"orders","group":"billing","is_new":true,"settings":{"lease_ms":null,"#));
    }
}
