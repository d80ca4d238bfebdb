//! What clients do during the chaos: produce with several sends under way, read from the start, ask for the end, look at
//! topics and leaders. Everything goes into the history.
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
use crate::history::event::Fate;
use crate::history::{Answer, Call, Kind, Recorder, Seen, Value};

/// How long a record is tried. Longer than any fault of a short run, so that a run without a loss has few unknown ones.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a request may take. Shorter than a cut: a client that hears nothing goes elsewhere while it lasts.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
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
    /// Where each node serves clients.
    pub addresses: Arc<Mutex<BTreeMap<u64, String>>>,
    /// Bytes of a value.
    pub value_bytes: usize,
    /// The pause of a producer between two sends.
    pub pause: Duration,
}

impl Setting {
    /// A client that knows all nodes, beginning with one of them.
    fn client(&self, first: u64) -> Client {
        let addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut servers: Vec<String> = addresses.into_values().collect();
        let turn = usize::try_from(first).unwrap_or(0) % servers.len().max(1);
        servers.rotate_left(turn);
        connect(servers)
    }

    /// A client that knows one node only.
    ///
    /// # Panics
    /// When there is no such node.
    #[must_use]
    pub fn client_of(&self, node: u64) -> Client {
        let addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        connect(vec![addresses.get(&node).expect("a node of the cluster").clone()])
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
    pub fn start(setting: &Setting, producers: u32, readers: u32, dice: &Dice) -> Self {
        let (stop_producing, stopped) = watch::channel(false);
        let mut workload = Self { stop_producing, producers: JoinSet::new(), others: JoinSet::new() };
        for number in 1..=producers {
            let (setting, dice, stopped) = (setting.clone(), dice.fork(u64::from(number)), stopped.clone());
            workload.producers.spawn(produce(setting, number, dice, stopped));
        }
        for number in 1..=readers {
            workload.others.spawn(read(setting.clone(), number, dice.fork(1_000 + u64::from(number))));
        }
        for node in setting.nodes() {
            workload.ask(setting, node, dice);
        }
        workload
    }

    /// Sets clients to work that ask one node for ends, topics and leaders.
    pub fn ask(&mut self, setting: &Setting, node: u64, dice: &Dice) {
        self.others.spawn(ask_ends(setting.clone(), node, dice.fork(2_000 + node)));
        self.others.spawn(look(setting.clone(), node));
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
        let op = setting.history.invoke(Call::Produce { partition, values: values.clone() });
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

async fn send(
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

async fn fate(delivery: Result<Delivery, SendError>) -> Fate {
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
    loop {
        let from = if dice.once_in(2) { Position::Start } else { Position::End };
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
    assigned(&setting.history, number, &reader);
    let enough = dice.millis(2_000, 20_000);
    let reading = async {
        while let Some(batch) = reader.next_batch().await {
            match batch {
                Ok(batch) => polled(&setting.history, number, &reader, &batch),
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

pub(super) fn assigned(history: &Recorder, number: u32, reader: &Reader) {
    for partition in reader.partitions() {
        let from = reader.position(partition).map_or(0, |offset| offset.get());
        history.note(Kind::Assigned { reader: number, partition: partition.get(), from });
    }
}

pub(super) fn polled(history: &Recorder, number: u32, reader: &Reader, batch: &ReadBatch) {
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
    history.note(Kind::Polled { reader: number, partition: partition.get(), records, high_watermark });
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

fn note(setting: &Setting, text: String) {
    setting.history.note(Kind::Note { text });
}
