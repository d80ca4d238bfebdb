//! `highwater queue stats` and `queue list`: how many messages are where. The names of the JSON keys are a contract.
//!
//! Invariant: a group that hands out nothing says so first, and why.

use clap::Args;
use highwater_client::{Offset, PausedBy, QueueDescription, QueueListing, QueuePartition, QueuePause};
use serde::Serialize;

use super::QueueName;
use super::output::{ms, time};
use super::settings::SettingsRow;
use crate::args::ConnectArgs;
use crate::error::CliError;
use crate::group::report::{ago, or_dash};
use crate::output::{OutputArgs, Report, Table};

/// What `queue stats` takes.
#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    #[command(flatten)]
    queue: QueueName,
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Asks, and shows it.
pub(super) async fn run(args: StatsArgs) -> Result<(), CliError> {
    let admin = args.connect.client().await?.admin();
    let described = admin.describe_queue(args.queue.topic.as_str(), &args.queue.group).await;
    args.output.print(&Stats::new(described.map_err(CliError::queue(&args.queue))?))
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Queues(Vec<QueueRow>);

#[derive(Debug, Serialize)]
struct QueueRow {
    topic: String,
    group: String,
}

impl Queues {
    pub(super) fn new(mut queues: Vec<QueueListing>) -> Self {
        queues.sort();
        Self(queues.into_iter().map(|queue| QueueRow { topic: queue.topic, group: queue.group }).collect())
    }
}

impl Report for Queues {
    fn table(&self) -> String {
        let mut table = Table::new(["TOPIC", "GROUP"]);
        for row in &self.0 {
            table.row([row.topic.clone(), row.group.clone()]);
        }
        table.render()
    }
}

/// Counts of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Counts {
    waiting: u64,
    ready: u64,
    blocked: u64,
    delayed: u64,
    resting: u64,
    unseen: u64,
    leased: u64,
    dead: u64,
    acked: u64,
    dropped: u64,
    trimmed: u64,
}

impl Counts {
    fn new(partition: &QueuePartition) -> Self {
        Self {
            waiting: partition.waiting,
            ready: partition.ready,
            blocked: partition.blocked,
            delayed: partition.delayed,
            resting: partition.resting,
            unseen: partition.unseen,
            leased: partition.leased,
            dead: partition.dead,
            acked: partition.acked,
            dropped: partition.dropped,
            trimmed: partition.trimmed,
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            waiting: self.waiting.saturating_add(other.waiting),
            ready: self.ready.saturating_add(other.ready),
            blocked: self.blocked.saturating_add(other.blocked),
            delayed: self.delayed.saturating_add(other.delayed),
            resting: self.resting.saturating_add(other.resting),
            unseen: self.unseen.saturating_add(other.unseen),
            leased: self.leased.saturating_add(other.leased),
            dead: self.dead.saturating_add(other.dead),
            acked: self.acked.saturating_add(other.acked),
            dropped: self.dropped.saturating_add(other.dropped),
            trimmed: self.trimmed.saturating_add(other.trimmed),
        }
    }

    fn cells(self) -> [String; 10] {
        [
            self.ready,
            self.blocked,
            self.delayed,
            self.resting,
            self.unseen,
            self.leased,
            self.dead,
            self.acked,
            self.dropped,
            self.trimmed,
        ]
        .map(|count| count.to_string())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct PauseRow {
    by: &'static str,
    at: String,
    reason: String,
}

impl PauseRow {
    fn new(pause: QueuePause) -> Self {
        let by = match pause.by {
            Some(PausedBy::Operator) => "operator",
            Some(PausedBy::Breaker) => "breaker",
            _ => "unknown",
        };
        Self { by, at: time(pause.at), reason: pause.reason }
    }

    fn text(&self) -> String {
        let by = match self.by {
            "breaker" => "by the breaker: nearly everything failed, which looks like an outage",
            "operator" => "by hand",
            other => other,
        };
        let reason = if self.reason.is_empty() { String::new() } else { format!(" ({})", self.reason) };
        format!("paused {by}, since {}{reason}", self.at)
    }
}

#[derive(Debug, Serialize)]
struct PartitionRow {
    partition: u32,
    #[serde(flatten)]
    counts: Counts,
    workers: u32,
    is_full: bool,
    pause: Option<PauseRow>,
    oldest_offset: Option<u64>,
    oldest_age_ms: Option<u64>,
    done_ranges: u32,
    log_end: Option<u64>,
}

impl PartitionRow {
    fn new(partition: QueuePartition) -> Self {
        Self {
            partition: partition.partition.get(),
            counts: Counts::new(&partition),
            workers: partition.workers,
            is_full: partition.is_full,
            pause: partition.pause.map(PauseRow::new),
            oldest_offset: partition.oldest.map(Offset::get),
            oldest_age_ms: partition.oldest_age.map(ms),
            done_ranges: partition.done_ranges,
            log_end: partition.log_end.map(Offset::get),
        }
    }
}

#[derive(Debug, Serialize)]
struct Stats {
    topic: String,
    group: String,
    settings: SettingsRow,
    total: Counts,
    partitions: Vec<PartitionRow>,
}

impl Stats {
    fn new(mut found: QueueDescription) -> Self {
        found.partitions.sort_by_key(|partition| partition.partition);
        let partitions: Vec<_> = found.partitions.into_iter().map(PartitionRow::new).collect();
        Self {
            topic: found.topic,
            group: found.group,
            settings: SettingsRow::new(found.settings),
            total: partitions.iter().fold(Counts::default(), |total, row| total.plus(row.counts)),
            partitions,
        }
    }

    /// What keeps the group from handing out messages.
    fn alarms(&self) -> String {
        let mut said = Vec::new();
        for row in &self.partitions {
            if let Some(pause) = &row.pause {
                said.push((pause.text(), row.partition));
            }
            if row.is_full {
                said.push((
                    "the window is full: nothing more is looked at until some of it is done".to_owned(),
                    row.partition,
                ));
            }
        }
        let mut text = String::new();
        for (index, (what, _)) in said.iter().enumerate() {
            if said.iter().take(index).any(|(before, _)| before == what) {
                continue;
            }
            let at: Vec<String> =
                said.iter().filter(|(same, _)| same == what).map(|(_, partition)| partition.to_string()).collect();
            let plural = if at.len() == 1 { "" } else { "s" };
            text.push_str(&format!("partition{plural} {}: {what}\n", at.join(", ")));
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text
    }
}

impl Report for Stats {
    fn table(&self) -> String {
        let mut table = Table::new([
            "PARTITION",
            "READY",
            "BLOCKED",
            "DELAYED",
            "RESTING",
            "UNSEEN",
            "LEASED",
            "DEAD",
            "ACKED",
            "DROPPED",
            "TRIMMED",
            "WORKERS",
            "OLDEST",
            "AGE",
        ]);
        let line = |name: String, counts: Counts, rest: [String; 3]| {
            let [a, b, c, d, e, f, g, h, i, j] = counts.cells();
            let [x, y, z] = rest;
            [name, a, b, c, d, e, f, g, h, i, j, x, y, z]
        };
        for row in &self.partitions {
            let rest = [row.workers.to_string(), or_dash(row.oldest_offset), or_dash(row.oldest_age_ms.map(ago))];
            table.row(line(row.partition.to_string(), row.counts, rest));
        }
        if self.partitions.len() > 1 {
            let dash = || "-".to_owned();
            table.row(line("all".to_owned(), self.total, [dash(), dash(), dash()]));
        }
        format!("{}{}", self.alarms(), table.render())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(partition: u32, pause: Option<PauseRow>) -> PartitionRow {
        let counts = Counts { waiting: 6, ready: 1, delayed: 5, leased: 2, dead: 3, acked: 40, ..Counts::default() };
        PartitionRow {
            partition,
            counts,
            workers: 1,
            is_full: false,
            pause,
            oldest_offset: Some(7),
            oldest_age_ms: Some(65_000),
            done_ranges: 2,
            log_end: Some(60),
        }
    }

    fn stats(partitions: Vec<PartitionRow>) -> Stats {
        let total = partitions.iter().fold(Counts::default(), |total, row| total.plus(row.counts));
        Stats { topic: "orders".into(), group: "billing".into(), settings: SettingsRow::default(), total, partitions }
    }

    #[test]
    fn partitions_have_a_line_each_and_one_together() {
        let table = "\
PARTITION  READY  BLOCKED  DELAYED  RESTING  UNSEEN  LEASED  DEAD  ACKED  DROPPED  TRIMMED  WORKERS  OLDEST  AGE
0          1      0        5        0        0       2       3     40     0        0        1        7       1m 5s
1          1      0        5        0        0       2       3     40     0        0        1        7       1m 5s
all        2      0        10       0        0       4       6     80     0        0        -        -       -
";
        assert_eq!(stats(vec![partition(0, None), partition(1, None)]).table(), table);
        assert_eq!(stats(vec![partition(0, None)]).table().lines().count(), 2);
    }

    #[test]
    fn a_group_that_hands_out_nothing_says_so_first() {
        let pause =
            |by, reason: &str| Some(PauseRow { by, at: "2026-01-31T08:00:00.000Z".into(), reason: reason.into() });
        let broken = || pause("breaker", "95 of 100 attempts failed");
        let mut full = partition(2, pause("operator", ""));
        full.is_full = true;
        let shown = stats(vec![partition(0, broken()), partition(1, broken()), full]).table();
        let said = "\
partitions 0, 1: paused by the breaker: nearly everything failed, which looks like an outage, since \
2026-01-31T08:00:00.000Z (95 of 100 attempts failed)
partition 2: paused by hand, since 2026-01-31T08:00:00.000Z
partition 2: the window is full: nothing more is looked at until some of it is done

PARTITION";
        assert!(shown.starts_with(said), "{shown}");
    }

    #[test]
    fn programs_get_all_of_it() {
        let json = serde_json::to_string(&stats(vec![partition(0, None)])).unwrap();
        assert!(json.starts_with(r#"{"topic":"orders","group":"billing","settings":{"lease_ms":null,"#), "{json}");
        let row = concat!(
            r#""partitions":[{"partition":0,"waiting":6,"ready":1,"blocked":0,"delayed":5,"resting":0,"unseen":0,"#,
            r#""leased":2,"dead":3,"acked":40,"dropped":0,"trimmed":0,"workers":1,"is_full":false,"pause":null,"#,
            r#""oldest_offset":7,"oldest_age_ms":65000,"done_ranges":2,"log_end":60}]}"#
        );
        assert!(json.ends_with(row), "{json}");
    }
}
