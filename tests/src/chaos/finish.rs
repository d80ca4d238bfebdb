//! After the healing: everything must work, and everything is read. Nothing here knows how the nodes were made.

use std::time::{Duration, Instant};

use highwater_client::{ReadError, Topic};

use super::workload::{Setting, assigned, polled};
use crate::history::{Kind, Recorder};

/// How long anything that must work again may take to do so.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Records that must be acknowledged afterwards.
const FRESH_RECORDS: u64 = 300;

/// Waits until records that are sent from here on are acknowledged.
///
/// # Panics
/// When they are not, for a minute.
pub async fn fresh_writes(history: &Recorder) {
    // What is on its way was sent before, however many records that are.
    let wanted = history.acknowledged() + history.in_flight() + FRESH_RECORDS;
    let deadline = Instant::now() + PATIENCE;
    while history.acknowledged() < wanted {
        assert!(Instant::now() < deadline, "after the healing too little is acknowledged in {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The topic as some node describes it, as soon as one knows a leader of every partition.
///
/// # Panics
/// When none does for a minute.
pub async fn describe(setting: &Setting) -> Topic {
    let deadline = Instant::now() + PATIENCE;
    let mut last = String::new();
    loop {
        for node in setting.nodes() {
            match describe_at(setting, node).await {
                Ok(topic) if topic.partitions.iter().all(|partition| partition.leader.is_some()) => return topic,
                Ok(_) => last = format!("node {node} knows no leader of some partition"),
                Err(why) => last = format!("node {node}: {why}"),
            }
        }
        assert!(Instant::now() < deadline, "no node knows a leader of every partition in {PATIENCE:?}; {last}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The topic as one node describes it now.
///
/// # Errors
/// Why it does not, within two seconds.
pub async fn describe_at(setting: &Setting, node: u64) -> Result<Topic, String> {
    let admin = setting.client_of(node).admin();
    let described = tokio::time::timeout(Duration::from_secs(2), admin.describe_topic(&setting.topic)).await;
    let described = described.map_err(|_| "no answer in time".to_owned())?;
    described.map(|described| described.topic).map_err(|error| error.to_string())
}

/// Reads every partition from its start to its end, through every node.
pub async fn final_reads(setting: &Setting) {
    for node in setting.nodes() {
        let number = 10_000 + u32::try_from(node).unwrap_or(0);
        let result = tokio::time::timeout(PATIENCE, final_read(setting, node, number)).await;
        let complete = matches!(result, Ok(Ok(())));
        if !complete {
            let text = format!("the final read through node {node}: {result:?}");
            setting.history.note(Kind::Note { text });
        }
        for partition in 0..setting.partitions {
            setting.history.note(Kind::FinalRead { node, reader: number, partition, complete });
        }
    }
}

async fn final_read(setting: &Setting, node: u64, number: u32) -> Result<(), ReadError> {
    let client = setting.client_of(node);
    let mut reader = client.reader().topic(setting.topic.as_str()).stop_at_end().open().await?;
    assigned(&setting.history, number, &reader);
    while let Some(batch) = reader.next_batch().await {
        polled(&setting.history, number, &reader, &batch?);
    }
    Ok(())
}
