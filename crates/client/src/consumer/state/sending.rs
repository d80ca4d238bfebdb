//! Sending: what the server is to be told next, and the steps by which partitions are given up.

use std::time::Duration;

use highwater_proto::v1;
use highwater_proto::v1::session_request::Kind;

use super::{Out, Phase, Release, Revocation, RevocationStep, State};
use crate::clock::Instant;
use crate::consumer::commits::Entry;
use crate::consumer::held::{Held, Seek};
use crate::consumer::rebalance::TopicPartitionName;
use crate::position::Position;

impl State {
    /// The next message, if there is one to send now.
    pub(in crate::consumer) fn next_request(&mut self, now: Instant) -> Option<Kind> {
        match self.phase {
            Phase::Leaving | Phase::Ended => return None,
            Phase::Abandoned => return self.leave(),
            Phase::Running | Phase::Closing => {}
        }
        if let Some(bytes) = self.credit.give_back() {
            return Some(Kind::Credit(v1::Credit { bytes }));
        }
        if !self.is_joined {
            return None;
        }
        if !self.is_subscription_told {
            self.is_subscription_told = true;
            return Some(Kind::Subscribe(self.subscription.clone()));
        }
        // A seek before the resumption that it is needed for.
        self.pause_request()
            .or_else(|| self.seek_request())
            .or_else(|| self.resume_request())
            .or_else(|| self.commits.next_request(now).map(Kind::Commit))
            .or_else(|| self.release_request(now))
    }

    fn pause_request(&mut self) -> Option<Kind> {
        self.tell_pauses(|held| held.wants_pause(), true).map(Kind::Pause)
    }

    fn resume_request(&mut self) -> Option<Kind> {
        let may_resume = |held: &Held| !held.wants_pause() && !held.must_rewind;
        self.tell_pauses(may_resume, false).map(Kind::Resume)
    }

    fn tell_pauses(&mut self, is_wanted: impl Fn(&Held) -> bool, is_paused: bool) -> Option<v1::PartitionNames> {
        let untold =
            |held: &&mut Held| held.is_pause_told != is_paused && held.release == Release::No && is_wanted(held);
        let mut partitions = Vec::new();
        for (partition, held) in self.partitions.iter_mut().filter(|(_, held)| untold(held)) {
            held.is_pause_told = is_paused;
            partitions.push(partition.to_wire());
        }
        (!partitions.is_empty()).then_some(v1::PartitionNames { partitions })
    }

    fn seek_request(&mut self) -> Option<Kind> {
        for (partition, held) in self.partitions.iter_mut().filter(|(_, held)| held.release == Release::No) {
            if held.must_rewind && held.seek.is_none() && !held.wants_pause() {
                held.seek = Some(Seek { to: Position::Offset(held.given.offset), request: None, waiter: None });
            }
            if let Some(seek) = held.seek.as_mut().filter(|seek| seek.request.is_none()) {
                self.seeks += 1;
                seek.request = Some(self.seeks);
                held.must_rewind = false;
                return Some(Kind::Seek(v1::SessionSeek {
                    request: self.seeks,
                    topic: partition.topic.as_str().to_owned(),
                    partition: partition.partition.get(),
                    to: Some(seek.to.to_wire()),
                }));
            }
        }
        None
    }

    fn release_request(&mut self, now: Instant) -> Option<Kind> {
        let revocation = self.revocations.front()?;
        let RevocationStep::Committing { until } = revocation.step else { return None };
        let is_pending = |partition| self.commits.is_pending(partition);
        let is_answered =
            if revocation.leaves { self.commits.is_settled() } else { !revocation.partitions.iter().any(is_pending) };
        if !is_answered && now < until {
            return None;
        }
        let Revocation { partitions, leaves, .. } = self.revocations.pop_front()?;
        // The next one has its turn, and nothing else may happen for long that would tell.
        self.wakes_task |= !self.revocations.is_empty();
        if leaves {
            return self.leave();
        }
        let names = partitions.iter().map(TopicPartitionName::to_wire).collect();
        partitions.iter().for_each(|partition| self.remove(partition));
        Some(Kind::Released(v1::SessionReleased { partitions: names }))
    }

    /// A static member leaves no word, so that its place waits for who starts next.
    fn leave(&mut self) -> Option<Kind> {
        self.phase = Phase::Leaving;
        self.says_farewell().then_some(Kind::Leave(v1::SessionLeave {}))
    }

    /// The partitions whose revocation may go on, for the listener; then [`State::revocation_told`] goes on with it.
    pub(in crate::consumer) fn revocation_due(&self, now: Instant) -> Option<Vec<TopicPartitionName>> {
        let revocation = self.revocations.front().filter(|revocation| revocation.step == RevocationStep::Waiting)?;
        if self.is_busy_with(revocation) && now < revocation.since + self.patience() {
            return None;
        }
        let is_new = |partition: &&TopicPartitionName| {
            self.partitions.get(*partition).is_some_and(|held| held.release == Release::Stopped)
        };
        Some(revocation.partitions.iter().filter(is_new).cloned().collect())
    }

    /// The listener knows: what is done is committed, and then the partitions are released.
    pub(in crate::consumer) fn revocation_told(&mut self, now: Instant) {
        let until = now + self.options.rebalance_timeout / 4;
        let Some(revocation) = self.revocations.front_mut() else { return };
        revocation.step = RevocationStep::Committing { until };
        let partitions = revocation.partitions.clone();
        for partition in &partitions {
            if let Some(held) = self.partitions.get_mut(partition) {
                held.release = Release::Told;
            }
        }
        if self.options.is_automatic {
            self.commit_done(|partition| partitions.contains(partition));
        }
    }

    /// When the revocation goes on although what it waits for has not come.
    pub(in crate::consumer) fn revocation_deadline(&self) -> Option<Instant> {
        let revocation = self.revocations.front()?;
        Some(match revocation.step {
            RevocationStep::Waiting => revocation.since + self.patience(),
            RevocationStep::Committing { until } => until,
        })
    }

    /// When the commit was sent that is not answered.
    pub(in crate::consumer) fn unanswered_since(&self) -> Option<Instant> {
        self.commits.unanswered_since()
    }

    /// Asks for the commit of what is done and was not asked for yet.
    pub(in crate::consumer) fn commit_done(&mut self, is_wanted: impl Fn(&TopicPartitionName) -> bool) {
        let mut offsets = Vec::new();
        let wanted: Vec<_> = self.partitions.keys().filter(|partition| is_wanted(partition)).cloned().collect();
        for partition in wanted {
            let Some(mark) = self.done(&partition) else { continue };
            let held = self.partitions.get_mut(&partition).filter(|held| held.seek.is_none());
            if let Some(held) = held.filter(|held| held.requested != Some(mark.offset)) {
                held.requested = Some(mark.offset);
                offsets.push((partition, Entry { mark, metadata: String::new() }));
            }
        }
        self.commits.add(offsets, None);
    }

    fn is_busy_with(&self, revocation: &Revocation) -> bool {
        matches!(&self.out, Out::Of { partition, .. } if revocation.partitions.contains(partition))
    }

    fn patience(&self) -> Duration {
        self.options.rebalance_timeout / 2
    }
}
