//! What the verbs of topics print. The names of the JSON keys are a contract.

use highwater_client::{Partition, ReplicaRole, ReplicaStatus, Topic, TopicDescription};
use serde::Serialize;

use crate::cluster::report::{nodes, size};
use crate::output::{Report, Table};

#[derive(Serialize)]
struct TopicRow {
    topic: String,
    partitions: usize,
    replicas: u32,
    records: u64,
    size_bytes: u64,
}

#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Topics(Vec<TopicRow>);

impl Topics {
    pub(super) fn new(topics: &[Topic]) -> Self {
        let rows = topics.iter().map(|topic| TopicRow {
            topic: topic.name.clone(),
            partitions: topic.partitions.len(),
            replicas: topic.replicas,
            records: topic.partitions.iter().map(|partition| PartitionRow::new(partition).records()).sum(),
            size_bytes: topic.partitions.iter().filter_map(|partition| partition.size_bytes).sum(),
        });
        Self(rows.collect())
    }
}

impl Report for Topics {
    fn table(&self) -> String {
        let mut table = Table::new(["TOPIC", "PARTITIONS", "REPLICAS", "RECORDS", "BYTES"]);
        for row in &self.0 {
            table.row([
                row.topic.clone(),
                row.partitions.to_string(),
                row.replicas.to_string(),
                row.records.to_string(),
                row.size_bytes.to_string(),
            ]);
        }
        table.render()
    }
}

#[derive(Serialize)]
pub(super) struct Description {
    topic: String,
    id: String,
    replicas: u32,
    partitions: Vec<PartitionRow>,
    config: Vec<SettingRow>,
}

#[derive(Serialize)]
struct PartitionRow {
    partition: u32,
    leader: Option<u64>,
    leader_epoch: i32,
    preferred_leader: Option<u64>,
    replicas: Vec<u64>,
    /// The nodes whose replicas have, or are about to have, everything.
    in_sync: Vec<u64>,
    /// Where it moves to; empty while it stays.
    target: Vec<u64>,
    log_start: Option<u64>,
    high_watermark: Option<u64>,
    size_bytes: Option<u64>,
    /// Of the replica that is furthest behind, in records; absent when one could not be asked.
    lag_records: Option<u64>,
    replica_status: Vec<ReplicaRow>,
}

#[derive(Serialize)]
struct ReplicaRow {
    node: u64,
    role: Option<&'static str>,
    voter: Option<bool>,
    in_sync: Option<bool>,
    lag_entries: Option<u64>,
    lag_records: Option<u64>,
    size_bytes: Option<u64>,
    recovering: Option<bool>,
}

#[derive(Serialize)]
struct SettingRow {
    name: String,
    value: String,
    is_default: bool,
    description: String,
}

impl Description {
    pub(super) fn new(found: TopicDescription) -> Self {
        let settings = found.config.into_iter().map(|value| SettingRow {
            name: value.name,
            value: value.value,
            is_default: value.is_default,
            description: value.description,
        });
        Self {
            topic: found.topic.name,
            id: found.topic.id,
            replicas: found.topic.replicas,
            partitions: found.topic.partitions.iter().map(PartitionRow::new).collect(),
            config: settings.collect(),
        }
    }
}

impl PartitionRow {
    fn new(partition: &Partition) -> Self {
        let in_sync = partition.replica_status.iter().filter(|status| status.is_in_sync == Some(true));
        // What is not known may be anything, so it counts as the furthest.
        let furthest = |lag: &Option<u64>| lag.unwrap_or(u64::MAX);
        Self {
            partition: partition.partition.get(),
            leader: partition.leader.map(|node| node.get()),
            leader_epoch: partition.leader_epoch.get(),
            preferred_leader: partition.preferred_leader.map(|node| node.get()),
            replicas: partition.replicas.iter().map(|node| node.get()).collect(),
            in_sync: in_sync.map(|status| status.node.get()).collect(),
            target: partition.target.iter().map(|node| node.get()).collect(),
            log_start: partition.log_start.map(|offset| offset.get()),
            high_watermark: partition.high_watermark.map(|offset| offset.get()),
            size_bytes: partition.size_bytes,
            lag_records: partition
                .replica_status
                .iter()
                .map(|status| status.lag_records)
                .max_by_key(furthest)
                .flatten(),
            replica_status: partition.replica_status.iter().map(ReplicaRow::new).collect(),
        }
    }

    fn records(&self) -> u64 {
        self.high_watermark.unwrap_or_default().saturating_sub(self.log_start.unwrap_or_default())
    }
}

impl ReplicaRow {
    fn new(status: &ReplicaStatus) -> Self {
        Self {
            node: status.node.get(),
            role: status.role.map(|role| match role {
                ReplicaRole::Leader => "leader",
                ReplicaRole::Learner => "learner",
                _ => "follower",
            }),
            voter: status.is_voter,
            in_sync: status.is_in_sync,
            lag_entries: status.lag_entries,
            lag_records: status.lag_records,
            size_bytes: status.size_bytes,
            recovering: status.is_recovering,
        }
    }

    /// What people should know about it; nothing when it is as it should be.
    fn remark(&self) -> Option<String> {
        let lag = || self.lag_records.map_or_else(String::new, |lag| format!(", {lag} records behind"));
        match self {
            Self { recovering: Some(true), .. } => Some(format!("was damaged and is fetched again{}", lag())),
            Self { role: Some("learner"), .. } => Some(format!("is new and catches up{}", lag())),
            Self { in_sync: Some(true), .. } => None,
            Self { in_sync: Some(false), size_bytes: None, .. } => Some("does not answer".to_owned()),
            Self { in_sync: Some(false), .. } => Some(format!("is not in sync{}", lag())),
            Self { .. } => Some("is not known: nobody leads, or the node does not answer".to_owned()),
        }
    }
}

impl Report for Description {
    fn table(&self) -> String {
        let or_dash = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let list = |ids: &[u64]| if ids.is_empty() { "-".to_owned() } else { nodes(ids.iter().copied()) };
        let mut partitions =
            Table::new(["PARTITION", "LEADER", "REPLICAS", "IN SYNC", "LAG", "LOG START", "HIGH WATERMARK", "SIZE"]);
        let mut remarks = String::new();
        for row in &self.partitions {
            partitions.row([
                row.partition.to_string(),
                or_dash(row.leader),
                list(&row.replicas),
                list(&row.in_sync),
                or_dash(row.lag_records),
                or_dash(row.log_start),
                or_dash(row.high_watermark),
                row.size_bytes.map_or_else(|| "-".to_owned(), size),
            ]);
            if !row.target.is_empty() {
                remarks.push_str(&format!("partition {} moves to nodes {}\n", row.partition, list(&row.target)));
            }
            for replica in &row.replica_status {
                if let Some(remark) = replica.remark() {
                    remarks.push_str(&format!("partition {} on node {} {remark}\n", row.partition, replica.node));
                }
            }
        }
        if !remarks.is_empty() {
            remarks.push('\n');
        }
        let mut settings = Table::new(["SETTING", "VALUE", "FROM"]);
        for row in &self.config {
            let source = if row.is_default { "default" } else { "topic" };
            settings.row([row.name.clone(), row.value.clone(), source.to_owned()]);
        }
        let durability = "acknowledged = fsynced by a majority of the replicas, unless a producer asks for less";
        format!(
            "topic       {}\nid          {}\ndurability  {durability}\n\n{}\n{remarks}{}",
            self.topic,
            self.id,
            partitions.render(),
            settings.render()
        )
    }
}

/// A topic that was just made: for people a line, for programs all of it.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct Created(pub(super) Description);

impl Report for Created {
    fn table(&self) -> String {
        let Description { topic, partitions, replicas, .. } = &self.0;
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let count = partitions.len();
        let copies = usize::try_from(*replicas).unwrap_or(usize::MAX);
        format!("created {topic}: {count} partition{}, {replicas} replica{}\n", plural(count), plural(copies))
    }
}
