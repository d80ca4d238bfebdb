//! Topics that are made, written, grown, written again, read and deleted, one after another, whatever happens meanwhile.
//!
//! Invariants: the partitions of each are partitions of their own in the history, so all that holds of the one that lasts is
//! checked of these, too. One is deleted only after everything in it was read.

use std::time::{Duration, Instant};

use highwater_client::{NewTopic, Outcome, PartitionId, RequestError, TopicChange};
use tokio::sync::watch;

use super::finish::{describe_at, read_to_end};
use super::workload::{Setting, fate, note, send};
use crate::history::event::OpId;
use crate::history::{Answer, Call, Kind, Value};

/// The first partition in the history that is not of the topic that lasts, and how many numbers each topic takes.
const FIRST_PARTITION: u32 = 1_000;
const PARTITIONS_MAX: u32 = 4;
/// Senders and readers from these numbers on write and read such topics.
const FIRST_SENDER: u32 = 100_000;
const FIRST_READER: u32 = 100_000;
/// Topics that one maker may come to.
const TOPICS_MAX: u32 = 10_000;
/// Sends to a topic before it grows, and as many after it.
const SENDS: u64 = 20;
/// How long a step may take: longer than any fault, and than several that follow each other closely.
const STEP_MAX: Duration = Duration::from_secs(180);
/// Topics that are begun after the end, until one was deleted.
const TRIES_AFTER_THE_END: u32 = 5;
/// The pause before a step is tried again.
const PAUSE: Duration = Duration::from_millis(200);

/// One topic after another, until it is told to stop. On a busy machine a short run may end before the first one was deleted:
/// then it goes on to that, but for so many tries.
pub(super) async fn come_and_go(setting: Setting, maker: u32, stopped: watch::Receiver<bool>) {
    let (mut has_deleted, mut tries_left) = (false, TRIES_AFTER_THE_END);
    for number in maker * TOPICS_MAX.. {
        if *stopped.borrow() {
            if has_deleted || tries_left == 0 {
                return;
            }
            tries_left -= 1;
        }
        let own = Setting {
            topic: format!("brief-{number}"),
            partitions: 1,
            first: FIRST_PARTITION + number * PARTITIONS_MAX,
            ..setting.clone()
        };
        has_deleted |= live(own, number).await;
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether it is certain that it was deleted in the end.
async fn live(mut topic: Setting, number: u32) -> bool {
    let Some(made) = make(&topic).await else { return false };
    known(&topic).await;
    // A list of topics need not be the latest one: what counts is what every node has known.
    topic.history.note(Kind::Done { op: made, answer: Answer::Plain });
    let (sender, reader) = (FIRST_SENDER + number, FIRST_READER + number);
    write(&topic, sender, 0).await;
    grow(&topic, PARTITIONS_MAX - 1).await;
    topic.partitions = PARTITIONS_MAX - 1;
    known(&topic).await;
    write(&topic, sender, SENDS).await;
    let deadline = Instant::now() + STEP_MAX;
    while let Err(why) = read_to_end(&topic, reader, false).await {
        assert!(Instant::now() < deadline, "{} cannot be read in {STEP_MAX:?}: {why}", topic.topic);
        note(&topic, format!("reading {}: {why}", topic.topic));
        tokio::time::sleep(PAUSE).await;
    }
    delete(&topic).await
}

/// Makes the topic; when it was perhaps made, or not, the next one is tried.
async fn make(topic: &Setting) -> Option<OpId> {
    let op = topic.history.invoke(Call::CreateTopic { name: topic.topic.clone() });
    let new = NewTopic::new(&topic.topic).partitions(topic.partitions).replicas(topic.replicas);
    match topic.client(0).admin().create_topic(new).await {
        Ok(_) => Some(op),
        Err(error) => {
            failed(topic, op, &error);
            None
        }
    }
}

async fn delete(topic: &Setting) -> bool {
    let deadline = Instant::now() + STEP_MAX;
    loop {
        let op = topic.history.invoke(Call::DeleteTopic { name: topic.topic.clone() });
        match topic.client(0).admin().delete_topic(&topic.topic).await {
            Ok(()) => {
                topic.history.note(Kind::Done { op, answer: Answer::Plain });
                return true;
            }
            Err(error) => {
                failed(topic, op, &error);
                if error.outcome() == Outcome::Unknown {
                    return false;
                }
                assert!(Instant::now() < deadline, "{} cannot be deleted in {STEP_MAX:?}: {error}", topic.topic);
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn failed(topic: &Setting, op: OpId, error: &RequestError) {
    let text = error.to_string();
    topic.history.note(match error.outcome() {
        Outcome::NotDone => Kind::Failed { op, error: text },
        Outcome::Unknown => Kind::Unknown { op, error: text },
    });
}

/// Waits until every node knows all partitions of the topic.
async fn known(topic: &Setting) {
    let deadline = Instant::now() + STEP_MAX;
    for node in topic.nodes() {
        // One that is gone meanwhile will not be asked for lists, either.
        while topic.nodes().contains(&node) {
            match describe_at(topic, node).await {
                Ok(described) if described.partitions.len() == topic.partitions as usize => break,
                other => assert!(Instant::now() < deadline, "node {node} does not know {}: {other:?}", topic.topic),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn grow(topic: &Setting, partitions: u32) {
    let deadline = Instant::now() + STEP_MAX;
    loop {
        let admin = topic.client(0).admin();
        let why = match admin.alter_topic(&topic.topic, TopicChange::new().partitions(partitions)).await {
            Ok(_) => return,
            Err(error) => error.to_string(),
        };
        // The answer may have been lost.
        let described = admin.describe_topic(&topic.topic).await;
        if described.is_ok_and(|described| described.topic.partitions.len() == partitions as usize) {
            return;
        }
        note(topic, format!("{} does not grow: {why}", topic.topic));
        assert!(Instant::now() < deadline, "{} does not grow in {STEP_MAX:?}: {why}", topic.topic);
        tokio::time::sleep(PAUSE).await;
    }
}

async fn write(topic: &Setting, sender: u32, first: u64) {
    let producer = topic.client(0).producer().build();
    for number in first..first + SENDS {
        let partition = u32::try_from(number % u64::from(topic.partitions)).unwrap_or(0);
        let values = [Value::new(sender, number)];
        let call = Call::Produce { partition: topic.named(partition), values: values.to_vec() };
        let op = topic.history.invoke(call);
        let mut fates = Vec::new();
        for delivery in send(topic, &producer, PartitionId::new(partition).get(), &values).await {
            fates.push(fate(delivery).await);
        }
        topic.history.note(Kind::Done { op, answer: Answer::Produced { fates } });
    }
}
