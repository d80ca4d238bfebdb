//! What a coordinator has while it leads, in one term: sessions, answers that wait, and proposals under way.
//!
//! Invariants:
//! - All proposals stand behind one [`Fence`]: with the first that is refused none after it gets into the log, because
//!   what it decided rests on the one before.
//! - It is never repaired. Whatever cannot be committed ends it ([`Leading::end`]), and another begins from the image.

use std::collections::BTreeMap;

use bytes::Bytes;
use highwater_groups::stream::outbox::Position;
use highwater_groups::stream::{Answer, Decision, GroupRecord, Outbox, Reply, Sessions, Ticket, record};
use highwater_storage::EntryKind;
use highwater_types::Term;
use tokio::sync::oneshot;

use super::bell::Bells;
use super::error::CoordinatorError;
use crate::planted::{Bug, is_planted};
use crate::raft::{Fence, Proposal, UnderWay};

/// Records of several decisions share an entry up to about this size, in bytes.
const ENTRY_BYTES: usize = 1 << 20;

pub(super) type Sender = oneshot::Sender<Result<Answer, CoordinatorError>>;

pub(super) struct Leading {
    pub(super) term: Term,
    pub(super) sessions: Sessions,
    outbox: Outbox,
    fence: Fence,
    bells: Bells,
    /// In order, so that those who are told of the end are told in the order in which they asked.
    waiting: BTreeMap<Ticket, Sender>,
    last_ticket: u64,
    /// Records of decisions that were taken and are not proposed yet.
    gathered: Gathered,
    /// Each with how far its records go.
    pub(super) in_flight: UnderWay<Position>,
}

#[derive(Default)]
struct Gathered {
    records: Vec<GroupRecord>,
    bytes: usize,
    last: Option<Position>,
}

impl Leading {
    pub(super) fn new(term: Term, sessions: Sessions, bells: Bells) -> Self {
        Self {
            term,
            sessions,
            outbox: Outbox::default(),
            fence: Fence::default(),
            bells,
            waiting: BTreeMap::new(),
            last_ticket: 0,
            gathered: Gathered::default(),
            in_flight: UnderWay::default(),
        }
    }

    /// A name for who waits.
    pub(super) fn admit(&mut self, sender: Sender) -> Ticket {
        self.last_ticket += 1;
        let ticket = Ticket::new(self.last_ticket);
        self.waiting.insert(ticket, sender);
        ticket
    }

    /// A name for a question that nobody waits for.
    pub(super) fn own_ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket::new(self.last_ticket)
    }

    /// Takes in a decision; what it writes is gathered with that of others.
    pub(super) fn take_in(&mut self, decision: Decision) {
        self.bells.ring(&decision.began);
        let outgoing = self.outbox.push(decision);
        self.send(outgoing.replies);
        if let Some((position, records)) = outgoing.records {
            self.gathered.bytes += records.iter().map(weight_bytes).sum::<usize>();
            self.gathered.records.extend(records);
            self.gathered.last = Some(position);
            if is_planted(Bug::AnswerBeforeCommit) {
                self.committed(position);
            }
        }
    }

    /// Whether so much is gathered that it should be proposed before more is decided.
    pub(super) fn is_full(&self) -> bool {
        self.gathered.bytes >= ENTRY_BYTES
    }

    /// What was gathered, as one entry, and how far it goes.
    pub(super) fn entry(&mut self) -> Option<(Proposal, Position)> {
        let Gathered { records, last, .. } = std::mem::take(&mut self.gathered);
        let position = last?;
        let payload: Bytes = record::encode(&records);
        let (term, fence) = (Some(self.term), Some(self.fence.clone()));
        Some((Proposal { kind: EntryKind::Groups, payload, term, on_append: None, fence }, position))
    }

    pub(super) fn has_fallen(&self) -> bool {
        self.fence.has_fallen()
    }

    /// Everything up to a position is committed and replayed: who waited for that hears.
    pub(super) fn committed(&mut self, position: Position) {
        let replies = self.outbox.committed(position);
        self.send(replies);
    }

    fn send(&mut self, replies: Vec<Reply>) {
        for Reply { to, answer } in replies {
            if let Some(sender) = self.waiting.remove(&to) {
                // Whoever asked may have gone; what was decided stays.
                let _gone = sender.send(Ok(answer));
            }
        }
    }

    /// It is over: everybody who waits is told that nobody knows what comes of it, whatever the end is: what one waits for
    /// may be under way. That has to be waited for before another begins.
    pub(super) fn end(self) -> UnderWay<Position> {
        self.fence.fall();
        let waiting = self.outbox.fail(self.sessions);
        tracing::debug!(waiting = waiting.len(), "a coordinator's term is over");
        for sender in self.waiting.into_values() {
            let _gone = sender.send(Err(CoordinatorError::OutcomeUnknown));
        }
        self.in_flight
    }
}

/// About how many bytes a record takes.
fn weight_bytes(record: &GroupRecord) -> usize {
    const HEAD: usize = 64;
    HEAD + match record {
        GroupRecord::GenerationStarted(started) => started.members.iter().map(|member| member.weight_bytes()).sum(),
        GroupRecord::Assigned { assignments, .. } => assignments.iter().map(|(_, bytes)| HEAD + bytes.len()).sum(),
        GroupRecord::OffsetsCommitted { offsets, .. } | GroupRecord::OffsetsBegun { offsets, .. } => {
            offsets.iter().map(|(_, committed)| 40 + committed.metadata.len()).sum()
        }
        GroupRecord::OffsetsDeleted { partitions, .. } | GroupRecord::OffsetsExpired { partitions, .. } => {
            partitions.len() * 24
        }
        GroupRecord::MembersRemoved { members, .. } => members.len() * HEAD,
        GroupRecord::MemberReplaced { member, .. } => member.weight_bytes(),
        GroupRecord::GroupDeleted { .. } | GroupRecord::GroupExpired { .. } | GroupRecord::TopicDeleted { .. } => 0,
    }
}
