//! After the healing: everything must work, and everything is read. Nothing here knows how the nodes were made.

use std::time::{Duration, Instant};

use highwater_client::{ReadError, Topic};

use super::workload::{Setting, assigned, polled};
use super::{thin, workload};
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

/// Reads by our client, which finds the nodes by itself: from the leaders, and from those that follow.
pub const FINAL_READS_OF_OUR_CLIENT: usize = 2;

/// How often a final read is begun: a node that came back a moment ago may not answer in time.
const TRIES: u32 = 5;

/// Reads every partition from its start to its end: what the leaders have, what followers have, and what each single node
/// has or passes on.
pub async fn final_reads(setting: &Setting) {
    let mut number = 10_000;
    for (node, may_follow) in
        [(0, false), (0, true)].into_iter().chain(setting.nodes().into_iter().map(|id| (id, true)))
    {
        let mut tries = TRIES;
        let complete = loop {
            // Each try begins at the start again, so it is another reader.
            number += 1;
            let result = match node {
                0 => read_to_end(setting, number, may_follow).await,
                node => thin::read_to_end(setting, node, number).await,
            };
            let Err(why) = result else { break true };
            workload::note(setting, format!("final read {number} through node {node} (0: any): {why}"));
            tries -= 1;
            if tries == 0 {
                break false;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        };
        for partition in (0..setting.partitions).map(|partition| setting.named(partition)) {
            setting.history.note(Kind::FinalRead { node, reader: number, partition, complete });
        }
    }
}

/// Reads every partition from its start to its end. However much there is: it is enough that it goes on.
///
/// # Errors
/// Why it does not.
pub(super) async fn read_to_end(setting: &Setting, number: u32, may_follow: bool) -> Result<(), String> {
    let told = |error: ReadError| error.to_string();
    let client = setting.client(u64::from(number));
    let reader = client.reader().topic(setting.topic.as_str()).from_follower(may_follow).stop_at_end();
    let mut reader = reader.open().await.map_err(told)?;
    assigned(setting, number, &reader);
    loop {
        let next = tokio::time::timeout(PATIENCE, reader.next_batch()).await;
        let Some(batch) = next.map_err(|_| format!("nothing came in {PATIENCE:?}"))? else { return Ok(()) };
        polled(setting, number, &reader, &batch.map_err(told)?);
    }
}
