//! What clients do during the chaos: produce with several sends under way, read from the start, ask for the end, look at
//! topics and leaders; what thin clients and short-lived topics do stands in files of its own. Everything goes into the
//! history.
//!
//! Invariants: a value is sent once, by one call of the client's producer, which is idempotent; every call gets an answer,
//! within the delivery timeout.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use highwater_client::{
    Client, Delivery, Outcome, PartitionId, Position, ProduceError, Producer, ReadBatch, Reader, Record, SendError,
};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::dice::Dice;
use super::{thin, topics};
use crate::history::event::Fate;
use crate::history::{Answer, Call, Kind, Recorder, Seen, Value};

/// How long a record is tried. Longer than any fault of a short run, so that a run without a loss has few unknown ones.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a request may take. Shorter than a cut: a client that hears nothing goes elsewhere while it lasts.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
/// What a reader reads before it begins anew: the history is kept in memory, and a long run's log is long.
const ENOUGH_RECORDS: u32 = 20_000;
/// The most sends of one producer that are not answered.
const SENDS_IN_FLIGHT: usize = 64;

/// What all clients need to know.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Where the history goes.
    pub history: Recorder,
    /// The topic.
    pub topic: String,
    /// How many partitions it has.
    pub partitions: u32,
    /// On how many nodes each of them is.
    pub replicas: u32,
    /// What its first partition is called in the history, where each topic has partitions of its own.
    pub first: u32,
    /// Where each node serves clients.
    pub addresses: Arc<Mutex<BTreeMap<u64, String>>>,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// The pause of a producer between two sends.
    pub pause: Duration,
}

impl Setting {
    /// What a partition of the topic is called in the history.
    #[must_use]
    pub const fn named(&self, partition: u32) -> u32 {
        self.first + partition
    }

    /// A client that knows all nodes, beginning with one of them.
    pub(super) fn client(&self, first: u64) -> Client {
        let addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut servers: Vec<String> = addresses.into_values().collect();
        let turn = usize::try_from(first).unwrap_or(0) % servers.len().max(1);
        servers.rotate_left(turn);
        connect(servers)
    }

    /// A client that begins with one node, and knows no other unless that node tells.
    #[must_use]
    pub fn client_of(&self, node: u64) -> Client {
        // One that has just left is as good as one that does not answer: port 1 is nobody's.
        connect(vec![self.address(node).unwrap_or_else(|| "127.0.0.1:1".to_owned())])
    }

    /// Where this node serves clients, while there is such a node.
    pub(super) fn address(&self, node: u64) -> Option<String> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).get(&node).cloned()
    }

    /// Where a node serves clients, chosen by chance.
    pub(super) fn some_address(&self, dice: &mut Dice) -> Option<String> {
        let addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let nodes: Vec<&String> = addresses.values().collect();
        dice.choose(&nodes).map(|address| (*address).clone())
    }

    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> Vec<u64> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }
}

fn connect(servers: Vec<String>) -> Client {
    let builder = Client::builder().servers(servers).request_timeout(REQUEST_TIMEOUT);
    builder.connect_timeout(Duration::from_secs(2)).connect_lazily().expect("the addresses are those of nodes")
}

/// How many clients of each kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Crowd {
    /// Producers of our own client.
    pub producers: u32,
    /// Readers of our own client.
    pub readers: u32,
    /// Thin clients: so many that produce, and so many that read.
    pub thin: u32,
    /// Those that make topics and delete them again.
    pub topic_makers: u32,
}

/// Clients at work.
#[derive(Debug)]
pub struct Workload {
    stop_producing: watch::Sender<bool>,
    producers: JoinSet<()>,
    others: JoinSet<()>,
}

impl Workload {
    /// Sets clients to work.
    #[must_use]
    pub fn start(setting: &Setting, crowd: Crowd, dice: &Dice) -> Self {
        let (stop_producing, stopped) = watch::channel(false);
        let (mut producers, mut others) = (JoinSet::new(), JoinSet::new());
        let fork = |kind: u64, number: u32| (setting.clone(), dice.fork(kind * 1_000 + u64::from(number)));
        for number in 1..=crowd.producers {
            let (setting, dice) = fork(0, number);
            producers.spawn(produce(setting, number, dice, stopped.clone()));
        }
        for number in 1..=crowd.readers {
            let (setting, dice) = fork(1, number);
            others.spawn(read(setting, number, dice));
        }
        for number in 1..=crowd.thin {
            let (setting, dice) = fork(3, number);
            producers.spawn(thin::produce(setting.clone(), number, dice.fork(1), stopped.clone()));
            others.spawn(thin::read(setting, number, dice));
        }
        for number in 1..=crowd.topic_makers {
            let (setting, _) = fork(4, number);
            producers.spawn(topics::come_and_go(setting, number, stopped.clone()));
        }
        others.spawn(ask(setting.clone(), dice.clone()));
        Self { stop_producing, producers, others }
    }

    /// Sends nothing more, and waits until every send has its answer.
    pub async fn stop_producing(&mut self) {
        self.stop_producing.send_replace(true);
        while let Some(ended) = self.producers.join_next().await {
            ended.expect("a producer of the workload does not panic");
        }
    }

    /// Ends all clients.
    pub async fn stop(mut self) {
        self.stop_producing().await;
        self.others.shutdown().await;
    }
}

async fn produce(setting: Setting, number: u32, mut dice: Dice, mut stopped: watch::Receiver<bool>) {
    let producer = setting.client(u64::from(number)).producer().linger(Duration::from_millis(2));
    let producer = producer.delivery_timeout(DELIVERY_TIMEOUT).build();
    let room = Arc::new(Semaphore::new(SENDS_IN_FLIGHT));
    let mut under_way = JoinSet::new();
    let mut next = 0;
    while !*stopped.borrow() {
        let partition = u32::try_from(dice.below(u64::from(setting.partitions))).unwrap_or(0);
        let count = if dice.once_in(4) { 1 + dice.below(6) } else { 1 };
        let values: Vec<Value> = (next..next + count).map(|at| Value::new(number, at)).collect();
        next += count;
        let place = tokio::select! {
            place = Arc::clone(&room).acquire_owned() => place.expect("nobody closes it"),
            _ = stopped.changed() => break,
        };
        // Sends of one producer stand in the history in the order in which the client got them.
        let op = setting.history.invoke(Call::Produce { partition: setting.named(partition), values: values.clone() });
        let sent = send(&setting, &producer, partition, &values).await;
        let history = setting.history.clone();
        under_way.spawn(async move {
            let mut fates = Vec::with_capacity(sent.len());
            for delivery in sent {
                fates.push(fate(delivery).await);
            }
            history.note(Kind::Done { op, answer: Answer::Produced { fates } });
            drop(place);
        });
        while under_way.try_join_next().is_some() {}
        tokio::time::sleep(setting.pause).await;
    }
    while under_way.join_next().await.is_some() {}
}

pub(super) async fn send(
    setting: &Setting,
    producer: &Producer,
    partition: u32,
    values: &[Value],
) -> Vec<Result<Delivery, SendError>> {
    let mut sent = Vec::with_capacity(values.len());
    for value in values {
        let record = Record::new(value.bytes(setting.value_bytes)).partition(PartitionId::new(partition));
        sent.push(producer.send(&setting.topic, record).await);
    }
    sent
}

pub(super) async fn fate(delivery: Result<Delivery, SendError>) -> Fate {
    let Ok(delivery) = delivery else { return Fate::Refused };
    match delivery.await {
        Ok(metadata) => metadata.offset.map_or(Fate::Somewhere, |offset| Fate::At(offset.get())),
        Err(error) => match ProduceError::outcome(&error) {
            Outcome::NotDone => Fate::Refused,
            Outcome::Unknown => Fate::Unknown,
        },
    }
}

async fn read(setting: Setting, number: u32, mut dice: Dice) {
    let client = setting.client(u64::from(number));
    let mut from = Position::End;
    loop {
        // By turns: what was written long ago, and what is being written.
        from = if from == Position::End { Position::Start } else { Position::End };
        let opened = client.reader().topic(setting.topic.as_str()).from(from).open().await;
        match opened {
            Ok(reader) => follow(&setting, number, reader, &mut dice).await,
            Err(error) => note(&setting, format!("reader {number} could not begin: {error}")),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Reads on until a partition cannot be read any more, or chance has the reader begin anew.
async fn follow(setting: &Setting, number: u32, mut reader: Reader, dice: &mut Dice) {
    assigned(setting, number, &reader);
    let enough = dice.millis(2_000, 20_000);
    let mut records = 0;
    let reading = async {
        while records < ENOUGH_RECORDS
            && let Some(batch) = reader.next_batch().await
        {
            match batch {
                Ok(batch) => {
                    records += batch.header().record_count;
                    polled(setting, number, &reader, &batch);
                }
                Err(error) => {
                    note(setting, format!("reader {number}: {error}"));
                    if !error.is_retryable() {
                        return;
                    }
                }
            }
        }
    };
    // Beginning anew is what tells readers that know nothing yet from those that followed a leader.
    let _ = tokio::time::timeout(enough, reading).await;
}

pub(super) fn assigned(setting: &Setting, number: u32, reader: &Reader) {
    for partition in reader.partitions() {
        let from = reader.position(partition).map_or(0, |offset| offset.get());
        setting.history.note(Kind::Assigned { reader: number, partition: setting.named(partition.get()), from });
    }
}

pub(super) fn polled(setting: &Setting, number: u32, reader: &Reader, batch: &ReadBatch) {
    let mut records = Vec::new();
    match batch.records() {
        Ok(found) => {
            for record in found {
                records.push(match record {
                    Ok(record) => {
                        let read = Value::read(record.value.as_deref().unwrap_or_default());
                        (record.offset.get(), read.map_or_else(Seen::Damaged, Seen::Value))
                    }
                    Err(error) => (batch.header().base_offset.get(), Seen::Damaged(error.to_string())),
                });
            }
        }
        Err(error) => records.push((batch.header().base_offset.get(), Seen::Damaged(error.to_string()))),
    }
    let partition = batch.partition();
    let high_watermark = reader.high_watermark(partition).map(|offset| offset.get());
    let partition = setting.named(partition.get());
    setting.history.note(Kind::Polled { reader: number, partition, records, high_watermark });
}

/// Asks every node, as nodes come and go.
async fn ask(setting: Setting, dice: Dice) {
    let mut asked: BTreeMap<u64, JoinSet<()>> = BTreeMap::new();
    loop {
        let nodes = setting.nodes();
        asked.retain(|node, _| nodes.contains(node));
        for node in nodes {
            asked.entry(node).or_insert_with(|| {
                let mut tasks = JoinSet::new();
                tasks.spawn(ask_ends(setting.clone(), node, dice.fork(2_000 + node)));
                tasks.spawn(look(setting.clone(), node));
                tasks
            });
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn ask_ends(setting: Setting, node: u64, mut dice: Dice) {
    let admin = setting.client_of(node).admin();
    loop {
        let partition = u32::try_from(dice.below(u64::from(setting.partitions))).unwrap_or(0);
        let op = setting.history.invoke(Call::EndOffset { partition });
        let asked = admin.lookup_offsets(&setting.topic, &[(PartitionId::new(partition), Position::End)]).await;
        setting.history.note(match asked.as_deref() {
            Ok([found]) => {
                Kind::Done { op, answer: Answer::Bounds { log_start: found.log_start.get(), end: found.offset.get() } }
            }
            Ok(other) => Kind::Unknown { op, error: format!("{} answers", other.len()) },
            Err(error) => Kind::Unknown { op, error: error.to_string() },
        });
        tokio::time::sleep(dice.millis(5, 60)).await;
    }
}

/// Lists topics and notes who is said to lead.
async fn look(setting: Setting, node: u64) {
    let admin = setting.client_of(node).admin();
    loop {
        let op = setting.history.invoke(Call::ListTopics);
        setting.history.note(match admin.list_topics().await {
            Ok(topics) => {
                let names = topics.into_iter().map(|topic| topic.name).collect();
                Kind::Done { op, answer: Answer::Topics { names } }
            }
            Err(error) => Kind::Unknown { op, error: error.to_string() },
        });
        if let Ok(described) = admin.describe_topic(&setting.topic).await {
            for partition in described.topic.partitions {
                let Some(leader) = partition.leader else { continue };
                let epoch = u64::try_from(partition.leader_epoch.get()).unwrap_or(0);
                let (leader, partition) = (leader.get(), partition.partition.get());
                setting.history.note(Kind::LeaderSeen { asked: node, partition, leader, epoch });
            }
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

pub(super) fn note(setting: &Setting, text: String) {
    setting.history.note(Kind::Note { text });
}
