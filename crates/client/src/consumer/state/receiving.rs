//! Receiving: what the server's messages do.

use highwater_proto::v1;
use highwater_types::Offset;

use super::{Held, Member, Out, Phase, Ready, Release, Revocation, RevocationStep, State};
use crate::clock::Instant;
use crate::consumer::commits::Answered;
use crate::consumer::error::ConsumeError;
use crate::consumer::rebalance::{AssignedPartition, TopicPartitionName};
use crate::error::ServerError;
use crate::reader::{ReadBatch, ReadError};

/// What a list of partitions changes, for the listener.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::consumer) struct Change {
    pub(in crate::consumer) assigned: Vec<AssignedPartition>,
    pub(in crate::consumer) lost: Vec<TopicPartitionName>,
}

/// What the next records of a partition are checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::consumer) struct Expected {
    pub(in crate::consumer) position: Offset,
    serial: u64,
}

impl State {
    /// The member is in a generation of its group.
    pub(in crate::consumer) fn on_joined(&mut self, joined: v1::SessionJoined) {
        self.member = Some(Member { id: joined.member_id, generation: joined.generation });
        self.is_joined = true;
        self.wakes_caller = true;
    }

    /// Partitions that the member has: all of them in the first list of a stream that goes on from an earlier one, else new
    /// ones.
    pub(in crate::consumer) fn on_assigned(&mut self, listed: Vec<AssignedPartition>) -> Change {
        let mut change = Change::default();
        if std::mem::take(&mut self.is_listing_due) {
            let is_listed = |held: &TopicPartitionName| listed.iter().any(|listed| listed.partition == *held);
            let gone: Vec<_> = self.partitions.keys().filter(|held| !is_listed(held)).cloned().collect();
            for partition in gone {
                let is_told = self.partitions.get(&partition).is_some_and(|held| held.release == Release::Told);
                self.remove(&partition);
                change.lost.extend((!is_told).then_some(partition));
            }
        }
        for assigned in listed {
            if self.assign(&assigned) {
                change.assigned.push(assigned);
            }
        }
        self.wakes_caller = true;
        change
    }

    /// Whether the listener is to know.
    fn assign(&mut self, assigned: &AssignedPartition) -> bool {
        let serial = self.next_serial();
        let Some(held) = self.partitions.get_mut(&assigned.partition) else {
            self.partitions.insert(assigned.partition.clone(), Held::new(assigned.offset, serial));
            return true;
        };
        let is_told = held.release == Release::Told;
        if self.phase != Phase::Running {
            return false;
        }
        held.release = Release::No;
        // A seek that is under way decides by itself where it goes on.
        let offset = assigned.offset.filter(|offset| held.received != *offset && held.seek.is_none());
        if let Some(offset) = offset {
            self.drop_waiting(&assigned.partition);
            self.forget_out(&assigned.partition);
            if let Some(held) = self.partitions.get_mut(&assigned.partition) {
                held.move_to(offset, serial);
            }
        }
        is_told
    }

    /// These are to be given up: no record of them is given out from here on.
    pub(in crate::consumer) fn on_revoke(&mut self, partitions: Vec<TopicPartitionName>, now: Instant) {
        for partition in &partitions {
            self.stop(partition);
        }
        if self.phase == Phase::Running {
            let step = RevocationStep::Waiting;
            self.revocations.push_back(Revocation { partitions, since: now, step, leaves: false });
        }
    }

    pub(super) fn stop(&mut self, partition: &TopicPartitionName) {
        self.drop_waiting(partition);
        let error = self.not_assigned(partition);
        let Some(held) = self.partitions.get_mut(partition) else { return };
        if held.release == Release::No {
            held.release = Release::Stopped;
        }
        if let Some(waiter) = held.seek.take().and_then(|seek| seek.waiter) {
            let _ = waiter.send(Err(error));
        }
    }

    /// What the next records of a partition are to be checked against; `None` when they are not for anybody.
    pub(in crate::consumer) fn expected(&self, partition: &TopicPartitionName) -> Option<Expected> {
        let held = self.partitions.get(partition).filter(|held| held.accepts() && self.phase == Phase::Running)?;
        Some(Expected { position: held.received, serial: held.serial })
    }

    /// So many bytes came that are for nobody: of before a seek, or after a pause or a revocation.
    pub(in crate::consumer) fn drop_received(&mut self, partition: &TopicPartitionName, bytes: usize) {
        self.take_credit(bytes);
        // The server goes on behind them.
        if let Some(held) = self.partitions.get_mut(partition).filter(|held| held.seek.is_none()) {
            held.must_rewind = true;
        }
    }

    /// Takes what came and was checked.
    pub(in crate::consumer) fn store(
        &mut self,
        partition: &TopicPartitionName,
        expected: Expected,
        received: Received,
    ) {
        let held = self.partitions.get_mut(partition);
        let Some(held) = held.filter(|held| held.serial == expected.serial && held.accepts()) else {
            return self.drop_received(partition, received.bytes);
        };
        let is_idle = held.given.offset == held.received
            && self.current.as_ref().is_none_or(|current| current.partition != *partition);
        held.received = received.next;
        if is_idle && received.batches.is_empty() {
            // Offsets that are taken by what is not for readers are nobody's to be done.
            held.given.offset = received.next;
        }
        held.has_failed |= received.error.is_some();
        let bytes: usize = received.batches.iter().map(|batch| batch.bytes().len()).sum();
        let name = || partition.clone();
        self.ready.extend(received.batches.into_iter().map(|batch| Ready::Batch { partition: name(), batch }));
        if let Some(source) = received.error {
            let error = ConsumeError::Unreadable { partition: name(), source: Box::new(source) };
            self.ready.push_back(Ready::Failed { partition: name(), error });
            self.wakes_task = true;
        }
        self.take_credit(received.bytes - bytes);
        self.wakes_caller = true;
    }

    /// The server cannot read a partition on; it says so once.
    pub(in crate::consumer) fn on_failed(&mut self, partition: TopicPartitionName, source: ServerError) {
        if self.partitions.get(&partition).is_none_or(|held| held.release != Release::No || held.seek.is_some()) {
            return;
        }
        let error = ConsumeError::Partition { partition: partition.clone(), source };
        self.ready.push_back(Ready::Failed { partition, error });
        self.wakes_caller = true;
    }

    /// The answer to a seek.
    pub(in crate::consumer) fn on_sought(
        &mut self,
        partition: &TopicPartitionName,
        request: u64,
        result: Result<Offset, ServerError>,
    ) {
        let serial = self.next_serial();
        let Some(held) = self.partitions.get_mut(partition) else { return };
        let Some(seek) = held.seek.take_if(|seek| seek.request == Some(request)) else { return };
        match result {
            Ok(offset) => {
                // What nobody asked for leads back to where the program is, and changes nothing for it.
                if offset != held.given.offset || seek.waiter.is_some() {
                    held.move_to(offset, serial);
                }
                if let Some(waiter) = seek.waiter {
                    self.forget_out(partition);
                    let _ = waiter.send(Ok(offset));
                }
            }
            Err(source) => {
                // The server goes on behind what was dropped meanwhile.
                held.must_rewind = seek.waiter.is_some();
                self.wakes_task = true;
                match seek.waiter {
                    Some(waiter) => {
                        let _ = waiter.send(Err(ConsumeError::SeekFailed { partition: partition.clone(), source }));
                    }
                    None => {
                        held.has_failed = true;
                        self.on_failed(partition.clone(), source);
                    }
                }
            }
        }
    }

    /// The answer to a commit.
    pub(in crate::consumer) fn on_committed(
        &mut self,
        request: u64,
        refused: Vec<(TopicPartitionName, ServerError)>,
        error: Option<ServerError>,
    ) -> Answered {
        let answered = self.commits.on_answer(request, refused, error);
        for partition in &answered.failed {
            // To be asked for again.
            if let Some(held) = self.partitions.get_mut(partition) {
                held.requested = None;
            }
        }
        answered
    }

    fn forget_out(&mut self, partition: &TopicPartitionName) {
        self.close_current_of(partition);
        if matches!(&self.out, Out::Of { partition: busy, .. } if busy == partition) {
            self.out = Out::Nothing;
        }
    }

    fn close_current_of(&mut self, partition: &TopicPartitionName) {
        if self.current.as_ref().is_some_and(|current| current.partition == *partition) {
            self.close_current();
        }
    }
}

/// Records of one message, checked.
#[derive(Debug)]
pub(in crate::consumer) struct Received {
    pub(in crate::consumer) batches: Vec<ReadBatch>,
    /// Where the next ones begin.
    pub(in crate::consumer) next: Offset,
    /// Of all batches of the message, also those that are not for readers.
    pub(in crate::consumer) bytes: usize,
    /// What came after `batches` and cannot be read.
    pub(in crate::consumer) error: Option<ReadError>,
}
