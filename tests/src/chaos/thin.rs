//! Thin clients: generated code that knows one address and nothing of leaders. Streams through a node that passes them on,
//! whoever leads; a stream that breaks or has lasted long enough is followed by one through another node.
//!
//! Invariants: a value is sent once. Each stream of a producer is a sender of its own in the history: order is promised on a
//! stream, and without producer ids not from one stream to the next. A reader goes on at its offset, through any node.

use std::collections::BTreeMap;
use std::time::Duration;

use highwater_client::{Bytes, ErrorCode, PartitionId, Position};
use highwater_proto::v1;
use highwater_proto::v1::produce_request::Payload;
use highwater_proto::v1::produce_response::Result as Answered;
use highwater_proto::v1::produce_service_client::ProduceServiceClient;
use highwater_proto::v1::read_service_client::ReadServiceClient;
use highwater_proto::v1::read_stream_request::Kind as Asked;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

use super::dice::Dice;
use super::finish::PATIENCE;
use super::workload::{Setting, note};
use crate::history::event::{Fate, OpId};
use crate::history::value::FIRST_THIN_SENDER;
use crate::history::{Answer, Call, Kind, Seen, Value};

/// Streams that one thin client may come to.
const STREAMS_MAX: u32 = 100_000;
/// Readers from this number on are thin clients.
const FIRST_READER: u32 = 5_000;
/// Batches of one stream that are not answered.
const IN_FLIGHT: usize = 32;
/// How long nothing may come before another node is tried.
const QUIET_MAX: Duration = Duration::from_secs(5);
/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// The pause between two streams.
const PAUSE: Duration = Duration::from_millis(100);
/// How many bytes a node may send ahead.
const CREDIT_BYTES: u64 = 256 * 1024;

/// Produces through one node after another, until it is told to stop and every batch has its answer.
pub(super) async fn produce(setting: Setting, number: u32, mut dice: Dice, mut stopped: watch::Receiver<bool>) {
    let mut sender = FIRST_THIN_SENDER + number * STREAMS_MAX;
    while !*stopped.borrow() {
        let Some(address) = setting.some_address(&mut dice) else { return };
        sender += 1;
        let mut stream = Producing { setting: &setting, sender, next: 0, open: BTreeMap::new() };
        let ended = stream.run(&address, &mut dice, &mut stopped).await;
        stream.give_up();
        if let Err(why) = ended {
            note(&setting, format!("thin producer {sender} at {address}: {why}"));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// One stream of a producer, and what is under way on it.
struct Producing<'a> {
    setting: &'a Setting,
    sender: u32,
    next: u64,
    open: BTreeMap<u64, OpId>,
}

impl Producing<'_> {
    async fn run(&mut self, address: &str, dice: &mut Dice, stopped: &mut watch::Receiver<bool>) -> Result<(), String> {
        let channel = connect(address).await?;
        let (requests, sent) = mpsc::channel(IN_FLIGHT);
        let mut service = ProduceServiceClient::new(channel);
        let opened = timeout(QUIET_MAX, service.produce_stream(ReceiverStream::new(sent))).await;
        let mut answers = opened.map_err(|_| "no stream in time")?.map_err(|status| status.to_string())?.into_inner();
        let enough = Instant::now() + dice.millis(3_000, 12_000);
        let mut pulse = tokio::time::interval(self.setting.pause);
        pulse.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            let is_over = *stopped.borrow() || Instant::now() > enough;
            if is_over && self.open.is_empty() {
                return Ok(());
            }
            tokio::select! {
                answer = answers.message() => match answer {
                    Ok(Some(answer)) => {
                        heard = Instant::now();
                        self.answered(answer);
                    }
                    Ok(None) => return Err("the stream ended".to_owned()),
                    Err(status) => return Err(status.to_string()),
                },
                _ = pulse.tick(), if !is_over && self.open.len() < IN_FLIGHT => {
                    // As many as the channel holds are open, so there is room.
                    let request = self.request(dice);
                    requests.try_send(request).map_err(|_| "the stream is closed")?;
                }
                () = tokio::time::sleep_until(heard + QUIET_MAX), if !self.open.is_empty() => {
                    return Err(format!("no answer in {QUIET_MAX:?}"));
                }
                _ = stopped.changed(), if !is_over => {}
            }
        }
    }

    fn request(&mut self, dice: &mut Dice) -> v1::ProduceRequest {
        let partition = u32::try_from(dice.below(u64::from(self.setting.partitions))).unwrap_or(0);
        let value = Value::new(self.sender, self.next);
        self.next += 1;
        let call = Call::Produce { partition: self.setting.named(partition), values: vec![value] };
        self.open.insert(value.number, self.setting.history.invoke(call));
        let bytes = Bytes::from(value.bytes(self.setting.value_bytes));
        let record = v1::Record { value: Some(bytes), ..Default::default() };
        v1::ProduceRequest {
            correlation: value.number,
            topic: self.setting.topic.clone(),
            partition: Some(partition),
            acks: v1::Acks::Quorum.into(),
            payload: Some(Payload::Records(v1::PlainRecords { records: vec![record] })),
        }
    }

    fn answered(&mut self, answer: v1::ProduceResponse) {
        let Some(op) = self.open.remove(&answer.correlation) else { return };
        let fate = match answer.result {
            Some(Answered::Ack(ack)) => u64::try_from(ack.base_offset).map_or(Fate::Somewhere, Fate::At),
            Some(Answered::Error(error)) => match ErrorCode::from_number(error.code) {
                None | Some(ErrorCode::Internal | ErrorCode::StorageFailed | ErrorCode::OutcomeUnknown) => {
                    Fate::Unknown
                }
                Some(_) => Fate::Refused,
            },
            None => Fate::Unknown,
        };
        self.decide(op, fate);
    }

    /// What was not answered is perhaps stored.
    fn give_up(&mut self) {
        for op in std::mem::take(&mut self.open).into_values() {
            self.decide(op, Fate::Unknown);
        }
    }

    fn decide(&self, op: OpId, fate: Fate) {
        self.setting.history.note(Kind::Done { op, answer: Answer::Produced { fates: vec![fate] } });
    }
}

/// Reads one partition after another, each from where it was left, through one node after another.
pub(super) async fn read(setting: Setting, number: u32, mut dice: Dice) {
    let number = FIRST_READER + number;
    let mut positions: BTreeMap<u32, u64> = BTreeMap::new();
    loop {
        let partition = u32::try_from(dice.below(u64::from(setting.partitions))).unwrap_or(0);
        let position = positions.entry(partition).or_default();
        setting.history.note(Kind::Assigned { reader: number, partition: setting.named(partition), from: *position });
        // The assignment is kept over several streams: what one leaves out or sends twice is seen in the next.
        for _ in 0..4 {
            let Some(address) = setting.some_address(&mut dice) else { return };
            let may_follow = dice.once_in(3);
            let reading = Reading { setting: &setting, number, partition, may_follow, until: None };
            let lasts = dice.millis(1_000, 5_000);
            // Most streams just last long enough.
            if let Ok(Err(why)) = timeout(lasts, reading.follow(&address, position)).await {
                note(&setting, format!("thin reader {number} at {address}: {why}"));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Reads every partition from its start to its end through one node, from its own replica where it has one.
///
/// # Errors
/// Why that does not work.
pub(super) async fn read_to_end(setting: &Setting, node: u64, number: u32) -> Result<(), String> {
    let admin = setting.client_of(node).admin();
    let address = setting.address(node).ok_or("it is gone")?;
    for partition in 0..setting.partitions {
        let asked = [(PartitionId::new(partition), Position::End)];
        let found = admin.lookup_offsets(&setting.topic, &asked).await.map_err(|error| error.to_string())?;
        let end = found.first().ok_or("no answer")?.offset.get();
        let mut position = 0;
        setting.history.note(Kind::Assigned { reader: number, partition: setting.named(partition), from: position });
        let reading = Reading { setting, number, partition, may_follow: true, until: Some(end) };
        reading.follow(&address, &mut position).await?;
        if position < end {
            return Err(format!("partition {partition} ended at {position}, not at {end}"));
        }
    }
    Ok(())
}

/// One stream of a reader.
struct Reading<'a> {
    setting: &'a Setting,
    number: u32,
    partition: u32,
    may_follow: bool,
    until: Option<u64>,
}

impl Reading<'_> {
    /// Reads on until the stream ends or breaks, or nothing comes any more.
    async fn follow(&self, address: &str, position: &mut u64) -> Result<(), String> {
        let channel = connect(address).await?;
        let (credit, requests) = mpsc::channel(8);
        let at = v1::position::At::Offset(i64::try_from(*position).unwrap_or(i64::MAX));
        let open = v1::ReadOpen {
            topic: self.setting.topic.clone(),
            partition: self.partition,
            from: Some(v1::Position { at: Some(at) }),
            form: v1::Form::Records.into(),
            credit_bytes: CREDIT_BYTES,
            may_follow: self.may_follow,
            until_offset: self.until.and_then(|until| i64::try_from(until).ok()),
            ..Default::default()
        };
        let ask = |asked| v1::ReadStreamRequest { kind: Some(asked) };
        credit.try_send(ask(Asked::Open(open))).map_err(|_| "the stream is closed")?;
        let mut service = ReadServiceClient::new(channel);
        let opened = timeout(QUIET_MAX, service.read_stream(ReceiverStream::new(requests))).await;
        let mut answers = opened.map_err(|_| "no stream in time")?.map_err(|status| status.to_string())?.into_inner();
        loop {
            let answer = timeout(PATIENCE, answers.message()).await.map_err(|_| "nothing came for long")?;
            let Some(answer) = answer.map_err(|status| status.to_string())? else { return Ok(()) };
            *position = self.polled(&answer).unwrap_or(*position);
            // A full channel means that the node has not read the last credit: the next answer brings more.
            let _ = credit.try_send(ask(Asked::Credit(v1::Credit { bytes: CREDIT_BYTES })));
        }
    }

    /// Notes what came, and tells where to go on when anything did.
    fn polled(&self, answer: &v1::ReadResponse) -> Option<u64> {
        let seen = |record: &v1::Record| {
            let value = Value::read(record.value.as_deref().unwrap_or_default());
            (u64::try_from(record.offset).unwrap_or(u64::MAX), value.map_or_else(Seen::Damaged, Seen::Value))
        };
        let records: Vec<(u64, Seen)> = answer.records.iter().map(seen).collect();
        let (last, _) = records.last()?;
        let next = last + 1;
        // One follower may know less than the one before it.
        let high_watermark = u64::try_from(answer.high_watermark).ok().filter(|_| !self.may_follow);
        let (reader, partition) = (self.number, self.setting.named(self.partition));
        self.setting.history.note(Kind::Polled { reader, partition, records, high_watermark });
        Some(next)
    }
}

async fn connect(address: &str) -> Result<Channel, String> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| error.to_string())?;
    endpoint.connect_timeout(CONNECT_MAX).connect().await.map_err(|error| error.to_string())
}
