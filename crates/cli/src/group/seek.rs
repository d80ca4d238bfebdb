//! `highwater group seek`: where a group goes on reading.
//!
//! Owns: its arguments, and how what changed is printed. The names of the JSON keys are a contract.
//!
//! Invariant: a dry run says the same as the real thing, but for the word that it was not done.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use highwater_client::{Offset, PartitionId, Position, SeekChange, SeekGroup, SeekTo};
use highwater_types::TopicName;
use serde::Serialize;

use crate::args::ConnectArgs;
use crate::error::CliError;
use crate::output::{OutputArgs, Report, Table};
use crate::position::parse_position;

use super::report::or_dash;

/// What `group seek` takes.
#[derive(Debug, Args)]
#[group(id = "place", required = true, multiple = false, args = ["to", "by"])]
pub(crate) struct SeekArgs {
    /// The group
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    group: String,
    /// A topic, as often as needed
    #[arg(long = "topic", value_name = "TOPIC", required = true)]
    topics: Vec<TopicName>,
    /// Only this partition of each topic [default: all]
    #[arg(long, value_name = "PARTITION")]
    partition: Option<u32>,
    /// Go on there: start, end, an offset, or @TIME, with the time in ms since 1970, as 2026-01-31T08:00:00Z, or as -15m
    /// for so long ago
    #[arg(long, value_name = "POSITION", value_parser = parse_position, allow_hyphen_values = true)]
    to: Option<Position>,
    /// Go on so many records after where the group is, such as +10, or before it, such as -100
    #[arg(long, value_name = "RECORDS", allow_hyphen_values = true)]
    by: Option<i64>,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
    /// Do it although the group has members: they stop where they are, and go on from the new offsets
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    output: OutputArgs,
}

const STOP_OR_FORCE: &str = "stop its members first, or say --force to move them while they read";

/// Sets where a group goes on.
pub(super) async fn run(args: SeekArgs) -> Result<(), CliError> {
    let seek = seek(&args);
    let admin = args.connect.client().await?.admin();
    let changes =
        admin.seek_group(seek).await.map_err(|source| CliError::group_in_use(&args.group, source, STOP_OR_FORCE))?;
    args.output.print(&Changes::new(args.group, changes, args.dry_run))
}

fn seek(args: &SeekArgs) -> SeekGroup {
    // One of them is there: the command line is refused otherwise.
    let to = args.to.map_or(SeekTo::Shift(args.by.unwrap_or_default()), SeekTo::Position);
    let mut topics = args.topics.clone();
    topics.sort();
    topics.dedup();
    let seek = SeekGroup::new(args.group.as_str()).force(args.force).validate_only(args.dry_run);
    topics.iter().fold(seek, |seek, topic| match args.partition {
        Some(partition) => seek.partition(topic.as_str(), PartitionId::new(partition), to),
        None => seek.topic(topic.as_str(), to),
    })
}

#[derive(Debug, Serialize)]
struct Changes {
    group: String,
    /// Whether it was done; `false` for a dry run.
    done: bool,
    partitions: Vec<ChangeRow>,
}

#[derive(Debug, Serialize)]
struct ChangeRow {
    topic: String,
    partition: u32,
    from: Option<u64>,
    to: u64,
    /// How many records further on; negative: back.
    change: Option<i64>,
    log_start: u64,
    log_end: u64,
}

impl Changes {
    fn new(group: String, mut changes: Vec<SeekChange>, is_dry_run: bool) -> Self {
        changes.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        let row = |change: SeekChange| ChangeRow {
            // Both fit into 63 bits, so their difference has a sign.
            change: change.from.map(|from| change.to.to_wire().saturating_sub(from.to_wire())),
            topic: change.topic,
            partition: change.partition.get(),
            from: change.from.map(Offset::get),
            to: change.to.get(),
            log_start: change.log_start.get(),
            log_end: change.log_end.get(),
        };
        Self { group, done: !is_dry_run, partitions: changes.into_iter().map(row).collect() }
    }
}

impl Report for Changes {
    fn table(&self) -> String {
        let mut table = Table::new(["TOPIC", "PARTITION", "FROM", "TO", "CHANGE"]);
        for row in &self.partitions {
            let change = row.change.map(|change| if change == 0 { "0".to_owned() } else { format!("{change:+}") });
            table.row([
                row.topic.clone(),
                row.partition.to_string(),
                or_dash(row.from),
                row.to.to_string(),
                or_dash(change),
            ]);
        }
        let all = self.partitions.len();
        let changed = self.partitions.iter().filter(|row| row.change != Some(0)).count();
        let plural = if all == 1 { "" } else { "s" };
        let count = format!("{changed} of {all} partition{plural}");
        let what = if self.done {
            format!("changed {count}")
        } else {
            format!("would change {count}; nothing is changed by a dry run")
        };
        format!("group {}: {what}\n\n{}", self.group, table.render())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        seek: SeekArgs,
    }

    fn parse(arguments: &[&str]) -> Result<SeekGroup, clap::error::ErrorKind> {
        let line = ["seek", "g"].iter().chain(arguments);
        Line::try_parse_from(line).map(|line| seek(&line.seek)).map_err(|error| error.kind())
    }

    #[test]
    fn a_place_is_a_position_or_a_shift() {
        let orders = || SeekGroup::new("g");
        let at = |offset| Position::Offset(Offset::new(offset).unwrap());
        assert_eq!(parse(&["--topic", "t", "--to", "start"]), Ok(orders().topic("t", Position::Start)));
        assert_eq!(parse(&["--topic=t", "--by=-100"]), Ok(orders().topic("t", SeekTo::Shift(-100))));
        assert_eq!(parse(&["--topic=t", "--by", "-100"]), Ok(orders().topic("t", SeekTo::Shift(-100))));
        assert_eq!(parse(&["--topic=t", "--by", "+7"]), Ok(orders().topic("t", SeekTo::Shift(7))));
        let one = orders().partition("t", PartitionId::new(3), at(15)).force(true);
        assert_eq!(parse(&["--topic=t", "--partition=3", "--to=15", "--force"]), Ok(one));
        let two = orders().topic("a", Position::End).topic("b", Position::End).validate_only(true);
        assert_eq!(parse(&["--topic=b", "--topic=a", "--topic=b", "--to=end", "--dry-run"]), Ok(two));
    }

    #[test]
    fn a_line_without_a_place_or_with_two_is_refused() {
        use clap::error::ErrorKind::{ArgumentConflict, MissingRequiredArgument, ValueValidation};
        assert_eq!(parse(&["--topic", "t"]), Err(MissingRequiredArgument));
        assert_eq!(parse(&["--to", "start"]), Err(MissingRequiredArgument));
        assert_eq!(parse(&["--topic=t", "--to=start", "--by=1"]), Err(ArgumentConflict));
        assert_eq!(parse(&["--topic=t", "--to=-5"]), Err(ValueValidation));
        assert_eq!(parse(&["--topic=t", "--by=some"]), Err(ValueValidation));
    }

    fn rows() -> Vec<ChangeRow> {
        let row = |partition, from, to, change| ChangeRow {
            topic: "orders".into(),
            partition,
            from,
            to,
            change,
            log_start: 0,
            log_end: 1_500,
        };
        vec![row(0, Some(1_200), 100, Some(-1_100)), row(1, None, 100, None), row(2, Some(100), 100, Some(0))]
    }

    #[test]
    fn what_changed_is_counted_and_shown() {
        let mut changes = Changes { group: "billing".into(), done: true, partitions: rows() };
        let table = "\
TOPIC   PARTITION  FROM  TO   CHANGE
orders  0          1200  100  -1100
orders  1          -     100  -
orders  2          100   100  0
";
        assert_eq!(changes.table(), format!("group billing: changed 2 of 3 partitions\n\n{table}"));
        changes.done = false;
        let said = "group billing: would change 2 of 3 partitions; nothing is changed by a dry run";
        assert_eq!(changes.table(), format!("{said}\n\n{table}"));
        changes.partitions.truncate(1);
        let json = r#"{"group":"billing","done":false,"partitions":[{"topic":"orders","partition":0,"from":1200,"to":100,"change":-1100,"log_start":0,"log_end":1500}]}"#;
        assert_eq!(serde_json::to_string(&changes).unwrap(), json);
    }
}
