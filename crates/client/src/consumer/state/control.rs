//! Control: what the program asks for, beside records.

use highwater_proto::v1;
use highwater_types::Offset;
use tokio::sync::oneshot;

use super::{Phase, Release, Revocation, RevocationStep, State};
use crate::clock::Instant;
use crate::consumer::commits::Entry;
use crate::consumer::error::ConsumeError;
use crate::consumer::held::{Mark, Seek};
use crate::consumer::rebalance::TopicPartitionName;
use crate::position::Position;

type Answer<T> = oneshot::Receiver<Result<T, ConsumeError>>;

impl State {
    /// The partitions that records are given out of.
    pub(in crate::consumer) fn assignment(&self) -> Vec<TopicPartitionName> {
        let held = self.partitions.iter().filter(|(_, held)| held.release == Release::No);
        held.map(|(partition, _)| partition.clone()).collect()
    }

    /// From now on the member reads these.
    pub(in crate::consumer) fn subscribe(&mut self, subscription: v1::Subscription) {
        self.subscription = subscription;
        self.is_subscription_told = false;
        self.wakes_task = true;
    }

    /// Stops or goes on giving out records of these; all of them or, with an error, none.
    pub(in crate::consumer) fn set_paused(
        &mut self,
        partitions: &[TopicPartitionName],
        is_paused: bool,
    ) -> Result<(), ConsumeError> {
        partitions.iter().try_for_each(|partition| self.check_assigned(partition))?;
        for partition in partitions {
            if is_paused {
                // It would hold credit that the other partitions need.
                self.drop_waiting(partition);
            }
            if let Some(held) = self.partitions.get_mut(partition) {
                held.is_paused = is_paused;
            }
        }
        self.wakes_task = true;
        Ok(())
    }

    /// Goes on from elsewhere, once the server answered.
    pub(in crate::consumer) fn seek(
        &mut self,
        partition: &TopicPartitionName,
        to: Position,
    ) -> Result<Answer<Offset>, ConsumeError> {
        self.check_assigned(partition)?;
        self.drop_waiting(partition);
        let (waiter, answer) = oneshot::channel();
        if let Some(held) = self.partitions.get_mut(partition) {
            held.has_failed = false;
            held.seek = Some(Seek { to, request: None, waiter: Some(waiter) });
        }
        self.wakes_task = true;
        Ok(answer)
    }

    /// Commits everything that was given out.
    pub(in crate::consumer) fn commit_given(&mut self) -> Answer<()> {
        let mut offsets = Vec::new();
        // Also what is on its way back: the program may have been busy with it.
        for (partition, held) in self.partitions.iter().filter(|(_, held)| held.seek.is_none()) {
            let Some(mark) = self.given(partition) else { continue };
            // One that is under way is waited for.
            if held.requested != Some(mark.offset) || self.commits.is_pending(partition) {
                offsets.push((partition.clone(), Entry { mark, metadata: String::new() }));
            }
        }
        self.commit(offsets)
    }

    /// Commits what the program says.
    pub(in crate::consumer) fn commit_offsets(
        &mut self,
        offsets: impl Iterator<Item = (TopicPartitionName, Mark, String)>,
    ) -> Answer<()> {
        let offsets = offsets.map(|(partition, said, metadata)| {
            let given = self.given(&partition).filter(|given| given.offset == said.offset);
            let leader_epoch = said.leader_epoch.or(given.and_then(|given| given.leader_epoch));
            (partition, Entry { mark: Mark { leader_epoch, ..said }, metadata })
        });
        let offsets = offsets.collect();
        self.commit(offsets)
    }

    fn commit(&mut self, offsets: Vec<(TopicPartitionName, Entry)>) -> Answer<()> {
        for (partition, entry) in &offsets {
            if let Some(held) = self.partitions.get_mut(partition) {
                held.requested = Some(entry.mark.offset);
            }
        }
        let (waiter, answer) = oneshot::channel();
        if self.phase == Phase::Running {
            self.commits.add(offsets, Some(waiter));
            self.wakes_task = true;
        }
        answer
    }

    /// The program closes the consumer: everything is given up as if it were revoked, and the member leaves.
    pub(in crate::consumer) fn close(&mut self, now: Instant) {
        self.come_back();
        if self.phase != Phase::Running {
            return;
        }
        self.phase = Phase::Closing;
        self.wakes_task = true;
        let partitions: Vec<_> = self.partitions.keys().cloned().collect();
        partitions.iter().for_each(|partition| self.stop(partition));
        // What is being revoked goes the same way.
        self.revocations.clear();
        self.revocations.push_back(Revocation { partitions, since: now, step: RevocationStep::Waiting, leaves: true });
    }

    /// The program dropped the consumer.
    pub(in crate::consumer) fn abandon(&mut self) {
        if self.phase == Phase::Running || self.phase == Phase::Closing {
            self.phase = Phase::Abandoned;
        }
        self.wakes_task = true;
    }

    /// Whether everything that was asked to be committed is.
    pub(in crate::consumer) fn is_settled(&self) -> bool {
        self.commits.is_settled()
    }

    fn check_assigned(&self, partition: &TopicPartitionName) -> Result<(), ConsumeError> {
        match self.partitions.get(partition) {
            // Nobody would answer any more.
            _ if self.phase != Phase::Running => Err(self.ended()),
            Some(held) if held.release == Release::No => Ok(()),
            _ => Err(self.not_assigned(partition)),
        }
    }
}
