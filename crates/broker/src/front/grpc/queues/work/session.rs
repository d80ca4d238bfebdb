//! The loop of a worker's stream.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::StreamExt;
use highwater_metadata::MetadataImage;
use highwater_proto::v1;
use highwater_proto::v1::work_request::Kind as Asked;
use highwater_proto::v1::work_response::Kind;
use highwater_types::{ErrorCode, PartitionId};
use tokio::sync::{mpsc, watch};

use super::Requests;
use crate::front::failure::Failure;
use crate::front::grpc::queues::outcomes::{by_partition, refused};
use crate::front::grpc::queues::tap::{Answered, FromTap, SETTLES_MAX, Tap, ToTap};
use crate::front::grpc::wire::{self, Answers};

/// Answers that wait for the client before nothing more is taken from it.
const OUTGOING_MAX: usize = 64;
/// Messages are granted while fewer answers wait.
const OUTGOING_FOR_MESSAGES: usize = 4;
/// The most messages that are granted at a time: what is read for one answer.
const GRANT_MAX: u32 = 1_000;
/// No fewer are granted while there is so much credit, whoever else has something: a few messages cost as much as many, and
/// the others have their turn.
const GRANT_MIN: u64 = 128;
/// What taps say before they wait.
const SAID_MAX: usize = 16;

/// How a stream was opened.
pub(in crate::front::grpc::queues) struct Options {
    pub(in crate::front::grpc::queues) credit: u32,
    pub(in crate::front::grpc::queues) partition: Option<PartitionId>,
    pub(in crate::front::grpc::queues) credit_lapses: bool,
    pub(in crate::front::grpc::queues) lease_ms: u64,
}

/// A settle that waits for its taps.
struct Settling {
    request: u64,
    results: Vec<v1::Settled>,
    left: usize,
}

/// A worker's stream.
pub(in crate::front::grpc::queues) struct Session {
    tap: Tap,
    options: Options,
    taps: BTreeMap<PartitionId, mpsc::Sender<ToTap>>,
    said: mpsc::Receiver<(PartitionId, FromTap)>,
    says: mpsc::Sender<(PartitionId, FromTap)>,
    /// Partitions that have something, in turns; none that has a grant.
    available: VecDeque<PartitionId>,
    /// Messages that may be granted.
    credit: u64,
    granted: u64,
    /// How many messages that this stream has sent are not settled, by the partition; none without any.
    held: BTreeMap<PartitionId, u64>,
    settling: BTreeMap<u64, Settling>,
    last_settle: u64,
    is_draining: bool,
    outgoing: VecDeque<Vec<Bytes>>,
    images: watch::Receiver<Arc<MetadataImage>>,
}

impl Session {
    pub(in crate::front::grpc::queues) fn new(tap: Tap, options: Options) -> Result<Self, Failure> {
        let (says, said) = mpsc::channel(SAID_MAX);
        let mut images = tap.context.controller.image();
        let image = Arc::clone(&images.borrow_and_update());
        let mut session = Self {
            credit: options.credit.into(),
            tap,
            options,
            taps: BTreeMap::new(),
            said,
            says,
            available: VecDeque::new(),
            granted: 0,
            held: BTreeMap::new(),
            settling: BTreeMap::new(),
            last_settle: 0,
            is_draining: false,
            outgoing: VecDeque::new(),
            images,
        };
        session.follow(&image)?;
        let opened = v1::WorkOpened {
            worker: session.tap.worker.to_string(),
            partitions: u32::try_from(session.taps.len()).unwrap_or(u32::MAX),
            lease_ms: session.options.lease_ms,
        };
        session.tell(Kind::Opened(opened));
        Ok(session)
    }

    /// Lasts until the client is gone or done, or the topic cannot be worked at.
    pub(in crate::front::grpc::queues) async fn run(
        mut self,
        mut requests: Requests,
        answers: Answers,
    ) -> Result<(), Failure> {
        let shutdown = self.tap.context.shutdown.requested();
        tokio::pin!(shutdown);
        loop {
            let is_done = self.held.is_empty() && self.granted == 0 && self.settling.is_empty();
            if self.is_draining && is_done && self.outgoing.is_empty() {
                return Ok(());
            }
            let waiting = self.outgoing.len();
            let takes_requests = waiting < OUTGOING_MAX && self.settling.len() < SETTLES_MAX;
            tokio::select! {
                biased;
                () = &mut shutdown => return Err(Failure::shutting_down()),
                turn = answers.ready(), if waiting > 0 => match (turn, self.outgoing.pop_front()) {
                    (Ok(turn), Some(pieces)) => turn.send(pieces),
                    _ => return Ok(()),
                },
                () = answers.gone(), if waiting == 0 => return Ok(()),
                Some((partition, said)) = self.said.recv() => self.hear(partition, said)?,
                request = requests.next(), if takes_requests => match request {
                    Some(Ok(request)) => self.take(request)?,
                    Some(Err(_)) | None => return Ok(()),
                },
                changed = self.images.changed() => {
                    if changed.is_err() {
                        return Err(Failure::shutting_down());
                    }
                    let image = Arc::clone(&self.images.borrow_and_update());
                    self.follow(&image)?;
                }
            }
            self.grant();
        }
    }

    /// Opens taps on partitions that have come.
    fn follow(&mut self, image: &MetadataImage) -> Result<(), Failure> {
        let name = &self.tap.topic;
        let gone = || Failure::new(ErrorCode::UnknownTopic, format!("there is no topic '{name}' any more"));
        let count = image.topic_by_id(self.tap.topic_id).ok_or_else(gone)?.partition_count();
        let wanted: Vec<PartitionId> = match self.options.partition {
            Some(partition) => vec![partition],
            None => (0..count).map(PartitionId::new).collect(),
        };
        for partition in wanted {
            let (tap, says) = (&self.tap, &self.says);
            self.taps.entry(partition).or_insert_with(|| Tap { partition, ..tap.clone() }.start(says.clone()));
        }
        Ok(())
    }

    fn take(&mut self, asked: Asked) -> Result<(), Failure> {
        match asked {
            Asked::Open(_) => return Err(Failure::invalid("the stream is open already; start another")),
            Asked::Credit(credit) if self.options.credit_lapses => self.grant_once(credit.messages),
            Asked::Credit(credit) => self.credit = self.credit.saturating_add(credit.messages.into()),
            Asked::Drain(v1::WorkDrain {}) => self.is_draining = true,
            Asked::Settle(settle) => self.settle(settle),
        }
        Ok(())
    }

    fn hear(&mut self, partition: PartitionId, said: FromTap) -> Result<(), Failure> {
        match said {
            FromTap::Ended(failure) => return Err(failure),
            FromTap::Available if self.options.credit_lapses => self.tell(Kind::Available(v1::WorkAvailable {})),
            FromTap::Available => {
                if !self.available.contains(&partition) {
                    self.available.push_back(partition);
                }
            }
            FromTap::Settled(Answered { number, results, held }) => {
                self.holds(partition, held);
                self.settled(number, results);
            }
            FromTap::Messages { granted, messages, permit, held } => {
                self.holds(partition, held);
                let got = u64::try_from(messages.len()).unwrap_or(u64::MAX);
                self.granted = self.granted.saturating_sub(granted.into());
                if !self.options.credit_lapses {
                    self.credit = self.credit.saturating_add(u64::from(granted).saturating_sub(got));
                    if got == u64::from(granted) {
                        self.available.push_back(partition);
                    }
                }
                if got > 0 || self.options.credit_lapses {
                    let kind = Kind::Messages(v1::WorkMessages { messages });
                    let pieces = wire::pieces_of_message(&v1::WorkResponse { kind: Some(kind) });
                    self.outgoing.push_back(match permit {
                        Some(permit) => wire::holding(pieces, permit),
                        None => pieces,
                    });
                }
            }
        }
        Ok(())
    }

    fn holds(&mut self, partition: PartitionId, held: u64) {
        match held {
            0 => drop(self.held.remove(&partition)),
            held => drop(self.held.insert(partition, held)),
        }
    }

    /// Grants what credit there is to partitions that have something.
    fn grant(&mut self) {
        if self.is_draining || self.options.credit_lapses {
            return;
        }
        while self.credit > 0 && self.outgoing.len() < OUTGOING_FOR_MESSAGES {
            let turns = u64::try_from(self.available.len()).unwrap_or(u64::MAX);
            let Some(partition) = self.available.pop_front() else { return };
            let share = self.credit.div_ceil(turns).max(self.credit.min(GRANT_MIN));
            let share = u32::try_from(share).unwrap_or(u32::MAX).min(GRANT_MAX);
            self.credit -= u64::from(share);
            self.send_grant(partition, share);
        }
    }

    /// Grants to the one partition of a stream between nodes.
    fn grant_once(&mut self, messages: u32) {
        if let Some(partition) = self.options.partition {
            self.send_grant(partition, messages.min(GRANT_MAX));
        }
    }

    fn send_grant(&mut self, partition: PartitionId, messages: u32) {
        let Some(tap) = self.taps.get(&partition) else { return };
        // There is room for it: see `ToTap`. A tap that is gone has said why.
        if tap.try_send(ToTap::Grant(messages)).is_ok() {
            self.granted += u64::from(messages);
        }
    }

    fn settle(&mut self, settle: v1::SettleBatch) {
        let v1::SettleBatch { request, outcomes } = settle;
        self.last_settle += 1;
        let number = self.last_settle;
        let (by_partition, mut results) = by_partition(outcomes);
        let mut left = 0;
        for (partition, outcomes) in by_partition {
            let indexes: Vec<usize> = outcomes.iter().map(|placed| placed.index).collect();
            let sent = self.taps.get(&partition).map(|tap| tap.try_send(ToTap::Settle(number, outcomes)));
            if matches!(sent, Some(Ok(()))) {
                left += 1;
                continue;
            }
            let message = format!("this stream has no messages of partition {partition}");
            let refused = refused(&Failure::new(ErrorCode::LeaseLost, message));
            for index in indexes {
                if let Some(result) = results.get_mut(index) {
                    *result = refused.clone();
                }
            }
        }
        self.settling.insert(number, Settling { request, results, left });
        self.settled(number, Vec::new());
    }

    /// Some results are there; when all are, the client hears.
    fn settled(&mut self, number: u64, some: Vec<(usize, v1::Settled)>) {
        let Some(settling) = self.settling.get_mut(&number) else { return };
        if !some.is_empty() {
            settling.left = settling.left.saturating_sub(1);
        }
        for (index, result) in some {
            if let Some(place) = settling.results.get_mut(index) {
                *place = result;
            }
        }
        if settling.left > 0 {
            return;
        }
        if let Some(Settling { request, results, .. }) = self.settling.remove(&number) {
            self.tell(Kind::Settled(v1::SettledBatch { request, results }));
        }
    }

    fn tell(&mut self, kind: Kind) {
        self.outgoing.push_back(wire::pieces_of_message(&v1::WorkResponse { kind: Some(kind) }));
    }
}
