//! What the queues of a partition have while it is led here, in one term: the groups that somebody asks for, and proposals
//! under way.
//!
//! Invariants:
//! - All proposals stand behind one [`Fence`]: with the first that is refused none after it gets into the log.
//! - It is never repaired. Whatever cannot be committed ends it ([`Leading::end`]), and another begins from the image. All
//!   leases end by that.

use std::collections::BTreeMap;

use highwater_groups::queue::outbox::Position;
use highwater_groups::queue::{
    Change, Command, Context, Decision, Desk, GroupId, Nonce, Queue, QueueConfig, QueueRecord, QueuesImage, Ticket,
    record,
};
use highwater_storage::EntryKind;
use highwater_types::{Offset, Term};
use tokio::sync::oneshot;

use super::error::QueueError;
use super::served::{Sender, Served};
use crate::raft::{Fence, Proposal, UnderWay};

/// Records of several decisions share an entry up to about this size, in bytes.
const ENTRY_BYTES: usize = 256 << 10;

/// The most queue groups of one topic: each looks through the log by itself.
const GROUPS_MAX: usize = 256;

/// Who waits for a group to be made.
pub(super) type Made = oneshot::Sender<Result<bool, QueueError>>;

pub(super) struct Leading {
    pub(super) term: Term,
    pub(super) served: BTreeMap<GroupId, Served>,
    fence: Fence,
    last_ticket: u64,
    /// Records of decisions that were taken and are not proposed yet.
    gathered: Gathered,
    pub(super) in_flight: UnderWay<Entry>,
}

#[derive(Default)]
struct Gathered {
    records: Vec<QueueRecord>,
    bytes: usize,
    /// The last decision of each group.
    positions: BTreeMap<GroupId, Position>,
    made: Vec<Made>,
}

/// What an entry holds, for when it is committed.
pub(super) struct Entry {
    records: Vec<QueueRecord>,
    positions: BTreeMap<GroupId, Position>,
    made: Vec<Made>,
}

impl Entry {
    /// Nobody knows whether it is committed.
    pub(super) fn fail(self) {
        for made in self.made {
            let _gone = made.send(Err(QueueError::OutcomeUnknown));
        }
    }
}

impl Leading {
    pub(super) fn new(term: Term) -> Self {
        Self {
            term,
            served: BTreeMap::new(),
            fence: Fence::default(),
            last_ticket: 0,
            gathered: Gathered::default(),
            in_flight: UnderWay::default(),
        }
    }

    /// Has a command decided by its group's desk.
    pub(super) fn decide(
        &mut self,
        image: &QueuesImage,
        group: &GroupId,
        context: &Context,
        nonce: impl FnOnce() -> Nonce,
        command: Command,
        reply: Option<Sender>,
    ) {
        self.last_ticket += 1;
        let ticket = Ticket::new(self.last_ticket);
        match (self.served(image, group, context, nonce), reply) {
            (Ok((served, queue)), reply) => {
                if let Some(reply) = reply {
                    served.admit(ticket, reply);
                }
                let decision = served.desk.decide(queue, ticket, command, context);
                self.take_in(group, decision);
            }
            (Err(unknown), Some(reply)) => drop(reply.send(Err(unknown))),
            (Err(_), None) => {}
        }
    }

    /// A group, and its queue. Its desk is made if nobody asked for it before.
    pub(super) fn served<'a>(
        &mut self,
        image: &'a QueuesImage,
        group: &GroupId,
        context: &Context,
        nonce: impl FnOnce() -> Nonce,
    ) -> Result<(&mut Served, &'a Queue), QueueError> {
        let queue = image.queue(group).ok_or_else(|| QueueError::UnknownGroup { group: group.clone() })?;
        let fresh = || Served::new(Desk::new(group.clone(), nonce(), queue, context));
        Ok((self.served.entry(group.clone()).or_insert_with(fresh), queue))
    }

    /// Takes in a decision of a group; what it writes is gathered with that of others.
    pub(super) fn take_in(&mut self, group: &GroupId, decision: Decision) {
        let Some(served) = self.served.get_mut(group) else { return };
        if let Some((position, records)) = served.take_in(decision) {
            self.gathered.bytes += records.iter().map(weight_bytes).sum::<usize>();
            self.gathered.records.extend(records);
            self.gathered.positions.insert(group.clone(), position);
        }
    }

    /// Has a group made. One that is there stays as it is.
    pub(super) fn create(
        &mut self,
        image: &QueuesImage,
        group: GroupId,
        config: QueueConfig,
        start: Offset,
        made: Made,
    ) {
        let answer = match image.queue(&group) {
            Some(_) => Ok(false),
            None if image.queues().len() >= GROUPS_MAX => Err(QueueError::TooManyGroups { max: GROUPS_MAX }),
            None => match QueueRecord::create(group, config, start) {
                Ok(record) => {
                    self.gathered.bytes += weight_bytes(&record);
                    self.gathered.records.push(record);
                    self.gathered.made.push(made);
                    return;
                }
                Err(reason) => Err(QueueError::Config { reason: reason.to_string() }),
            },
        };
        let _gone = made.send(answer);
    }

    /// Whether so much is gathered that it should be proposed before more is decided.
    pub(super) fn is_full(&self) -> bool {
        self.gathered.bytes >= ENTRY_BYTES
    }

    /// What was gathered, as one entry.
    pub(super) fn entry(&mut self) -> Option<(Proposal, Entry)> {
        let Gathered { records, positions, made, .. } = std::mem::take(&mut self.gathered);
        if records.is_empty() {
            return None;
        }
        let records = record::merge(records);
        let payload = record::encode(&records);
        let (term, fence) = (Some(self.term), Some(self.fence.clone()));
        let proposal = Proposal { kind: EntryKind::GroupDelta, payload, term, on_append: None, fence };
        Some((proposal, Entry { records, positions, made }))
    }

    pub(super) fn has_fallen(&self) -> bool {
        self.fence.has_fallen()
    }

    /// An entry is committed and replayed: desks learn of it, and who waited for it hears.
    pub(super) fn committed(&mut self, image: &QueuesImage, entry: Entry, context: &Context) {
        let Entry { records, positions, made } = entry;
        for (group, position) in positions {
            let Some(served) = self.served.get_mut(&group) else { continue };
            if let Some(queue) = image.queue(&group) {
                served.committed(queue, &records, context);
            }
            served.release(position);
        }
        for record in &records {
            if matches!(record.change, Change::Deleted)
                && let Some(served) = self.served.remove(&record.group)
            {
                served.deleted(&QueueError::UnknownGroup { group: record.group.clone() });
            }
        }
        for made in made {
            let _gone = made.send(Ok(true));
        }
    }

    /// It is over: everybody who waits is told that nobody knows what comes of it. What is under way has to be waited for
    /// before another begins.
    pub(super) fn end(self) -> UnderWay<Entry> {
        self.fence.fall();
        self.served.into_values().for_each(Served::end);
        for made in self.gathered.made {
            let _gone = made.send(Err(QueueError::OutcomeUnknown));
        }
        self.in_flight
    }
}

/// About how many bytes a record takes.
fn weight_bytes(record: &QueueRecord) -> usize {
    const HEAD: usize = 48;
    HEAD + match &record.change {
        Change::Acked { ranges } | Change::Dropped { ranges, .. } | Change::Redriven { ranges, .. } => ranges.len() * 8,
        Change::Kept { record, .. } => record.len(),
        Change::Failed { attempt, .. } => HEAD + attempt.reason.as_str().len(),
        Change::Died { attempt, .. } => HEAD + attempt.as_ref().map_or(0, |attempt| attempt.reason.as_str().len()),
        Change::Configured { .. }
        | Change::Rescheduled { .. }
        | Change::Paused { .. }
        | Change::Trimmed { .. }
        | Change::Deleted => HEAD,
    }
}
