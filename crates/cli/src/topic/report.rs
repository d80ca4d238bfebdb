//! What the verbs of topics print. The names of the JSON keys are a contract.

use highwater_client::{Partition, Topic, TopicDescription};
use serde::Serialize;

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
    replicas: Vec<u64>,
    log_start: Option<u64>,
    high_watermark: Option<u64>,
    size_bytes: Option<u64>,
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
        Self {
            partition: partition.partition.get(),
            leader: partition.leader.map(|node| node.get()),
            replicas: partition.replicas.iter().map(|node| node.get()).collect(),
            log_start: partition.log_start.map(|offset| offset.get()),
            high_watermark: partition.high_watermark.map(|offset| offset.get()),
            size_bytes: partition.size_bytes,
        }
    }

    fn records(&self) -> u64 {
        self.high_watermark.unwrap_or_default().saturating_sub(self.log_start.unwrap_or_default())
    }
}

impl Report for Description {
    fn table(&self) -> String {
        let or_dash = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let mut partitions = Table::new(["PARTITION", "LEADER", "REPLICAS", "LOG START", "HIGH WATERMARK", "BYTES"]);
        for row in &self.partitions {
            let replicas: Vec<String> = row.replicas.iter().map(u64::to_string).collect();
            partitions.row([
                row.partition.to_string(),
                or_dash(row.leader),
                replicas.join(","),
                or_dash(row.log_start),
                or_dash(row.high_watermark),
                or_dash(row.size_bytes),
            ]);
        }
        let mut settings = Table::new(["SETTING", "VALUE", "FROM"]);
        for row in &self.config {
            let source = if row.is_default { "default" } else { "topic" };
            settings.row([row.name.clone(), row.value.clone(), source.to_owned()]);
        }
        let durability = "acknowledged = fsynced by a majority of the replicas, unless a producer asks for less";
        format!(
            "topic       {}\nid          {}\ndurability  {durability}\n\n{}\n{}",
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
