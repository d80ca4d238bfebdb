//! Commits: what is to be sent, what is under way, and who waits.
//!
//! Pure but for the answers that it hands to those who wait. Only one commit is under way at a time; what is asked for
//! meanwhile gathers, the newest offset of each partition, and goes with the next one.
//!
//! Invariant: of one partition an offset that was asked for earlier is never sent after one that was asked for later,
//! whatever breaks.

use std::collections::BTreeMap;

use highwater_proto::v1;
use highwater_types::LeaderEpoch;
use tokio::sync::oneshot;

use super::error::ConsumeError;
use super::held::Mark;
use super::rebalance::TopicPartitionName;
use crate::clock::Instant;
use crate::error::ServerError;

/// Those that do not wait any more are forgotten when there are so many.
const WAITERS_CHECKED_AT: usize = 64;

/// What is committed for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) mark: Mark,
    pub(super) metadata: String,
}

/// Somebody who waits for an answer.
#[derive(Debug)]
pub(super) struct Waiter {
    partitions: Vec<TopicPartitionName>,
    answer: oneshot::Sender<Result<(), ConsumeError>>,
}

/// Offsets that go together.
#[derive(Debug, Default)]
struct Gathered {
    offsets: BTreeMap<TopicPartitionName, Entry>,
    waiters: Vec<Waiter>,
}

#[derive(Debug)]
struct InFlight {
    request: u64,
    sent_at: Instant,
    gathered: Gathered,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Commits {
    group: String,
    requests: u64,
    unsent: Gathered,
    in_flight: Option<InFlight>,
}

/// What an answer says to those who do not wait.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Answered {
    /// What was not committed, perhaps.
    pub(super) failed: Vec<TopicPartitionName>,
    /// What to log: nobody waits who could be told.
    pub(super) untold: Option<ConsumeError>,
}

impl Commits {
    pub(super) fn new(group: String) -> Self {
        Self { group, requests: 0, unsent: Gathered::default(), in_flight: None }
    }

    /// Asks for a commit; without offsets it is done at once.
    pub(super) fn add(
        &mut self,
        offsets: Vec<(TopicPartitionName, Entry)>,
        answer: Option<oneshot::Sender<Result<(), ConsumeError>>>,
    ) {
        if let Some(answer) = answer {
            let waiters = &mut self.unsent.waiters;
            if offsets.is_empty() {
                // Who does not wait any more needs no answer.
                let _ = answer.send(Ok(()));
                return;
            }
            if waiters.len() >= WAITERS_CHECKED_AT {
                waiters.retain(|waiter| !waiter.answer.is_closed());
            }
            let partitions = offsets.iter().map(|(partition, _)| partition.clone()).collect();
            waiters.push(Waiter { partitions, answer });
        }
        self.unsent.offsets.extend(offsets);
    }

    /// Whether a commit of this partition is not answered yet.
    pub(super) fn is_pending(&self, partition: &TopicPartitionName) -> bool {
        let in_flight = self.in_flight.as_ref().map(|in_flight| &in_flight.gathered);
        in_flight.into_iter().chain([&self.unsent]).any(|gathered| gathered.offsets.contains_key(partition))
    }

    pub(super) fn is_settled(&self) -> bool {
        self.in_flight.is_none() && self.unsent.offsets.is_empty()
    }

    /// When the commit was sent that is not answered.
    pub(super) fn unanswered_since(&self) -> Option<Instant> {
        self.in_flight.as_ref().map(|in_flight| in_flight.sent_at)
    }

    /// The commit to send now.
    pub(super) fn next_request(&mut self, now: Instant) -> Option<v1::SessionCommit> {
        if self.in_flight.is_some() || self.unsent.offsets.is_empty() {
            return None;
        }
        self.requests += 1;
        let gathered = std::mem::take(&mut self.unsent);
        let offsets = gathered.offsets.iter().map(|(partition, entry)| v1::OffsetCommit {
            topic: partition.topic.as_str().to_owned(),
            partition: partition.partition.get(),
            offset: entry.mark.offset.to_wire(),
            leader_epoch: entry.mark.leader_epoch.map(LeaderEpoch::get),
            metadata: entry.metadata.clone(),
        });
        let commit = v1::SessionCommit { request: self.requests, offsets: offsets.collect() };
        self.in_flight = Some(InFlight { request: self.requests, sent_at: now, gathered });
        Some(commit)
    }

    /// The answer to one commit; those to others, of streams before, are nobody's any more.
    pub(super) fn on_answer(
        &mut self,
        request: u64,
        refused: Vec<(TopicPartitionName, ServerError)>,
        error: Option<ServerError>,
    ) -> Answered {
        let Some(InFlight { gathered, .. }) = self.in_flight.take_if(|in_flight| in_flight.request == request) else {
            return Answered::default();
        };
        let is_told = !gathered.waiters.is_empty();
        let failure = match error {
            Some(source) => Some(ConsumeError::CommitFailed { group: self.group.clone(), source }),
            None => self.refusal(refused.clone()),
        };
        let failed = match &failure {
            Some(ConsumeError::CommitFailed { .. }) => gathered.offsets.into_keys().collect(),
            _ => refused.iter().map(|(partition, _)| partition.clone()).collect(),
        };
        for waiter in gathered.waiters {
            let result = match &failure {
                Some(error @ ConsumeError::CommitFailed { .. }) => Err(error.clone()),
                _ => {
                    let of_it = refused.iter().filter(|(partition, _)| waiter.partitions.contains(partition));
                    self.refusal(of_it.cloned().collect()).map_or(Ok(()), Err)
                }
            };
            let _ = waiter.answer.send(result);
        }
        Answered { failed, untold: failure.filter(|_| !is_told) }
    }

    /// What was under way is sent again, unless something newer was asked for.
    pub(super) fn on_break(&mut self) {
        if let Some(InFlight { mut gathered, .. }) = self.in_flight.take() {
            gathered.offsets.append(&mut self.unsent.offsets);
            gathered.waiters.append(&mut self.unsent.waiters);
            self.unsent = gathered;
        }
    }

    /// Nothing of it will be done, or be known to be.
    pub(super) fn fail(&mut self, error: &ConsumeError) {
        self.on_break();
        for waiter in std::mem::take(&mut self.unsent).waiters {
            let _ = waiter.answer.send(Err(error.clone()));
        }
    }

    fn refusal(&self, refused: Vec<(TopicPartitionName, ServerError)>) -> Option<ConsumeError> {
        (!refused.is_empty()).then(|| ConsumeError::CommitRefused { group: self.group.clone(), refused })
    }
}

#[cfg(test)]
mod tests {
    use highwater_types::{ErrorCode, Offset, PartitionId, TopicName};

    use super::*;
    use crate::clock;

    fn partition(number: u32) -> TopicPartitionName {
        TopicPartitionName::new(TopicName::new("t").unwrap(), PartitionId::new(number))
    }

    fn entry(number: u32, offset: u64) -> (TopicPartitionName, Entry) {
        (partition(number), Entry { mark: Mark::at(Offset::new(offset).unwrap()), metadata: String::new() })
    }

    fn sent(commit: Option<v1::SessionCommit>) -> (u64, Vec<(u32, i64)>) {
        let commit = commit.unwrap();
        (commit.request, commit.offsets.iter().map(|offset| (offset.partition, offset.offset)).collect())
    }

    fn error(code: ErrorCode) -> ServerError {
        let wire = v1::Error { code: code.number(), retryable: code.is_retryable(), ..v1::Error::default() };
        ServerError::from_wire(wire)
    }

    #[test]
    fn one_at_a_time_and_the_newest_of_what_gathered_meanwhile() {
        let mut commits = Commits::new("g".to_owned());
        commits.add(vec![entry(0, 5)], None);
        assert_eq!(sent(commits.next_request(clock::now())), (1, vec![(0, 5)]));
        commits.add(vec![entry(0, 6), entry(1, 1)], None);
        commits.add(vec![entry(0, 7)], None);
        assert_eq!(commits.next_request(clock::now()), None);
        assert_eq!(commits.on_answer(1, Vec::new(), None), Answered::default());
        assert_eq!(sent(commits.next_request(clock::now())), (2, vec![(0, 7), (1, 1)]));
        commits.on_answer(2, Vec::new(), None);
        assert!(commits.is_settled());
    }

    #[test]
    fn after_a_break_the_older_offset_is_sent_again_only_where_nothing_newer_waits() {
        let mut commits = Commits::new("g".to_owned());
        let (first, mut first_answer) = oneshot::channel();
        commits.add(vec![entry(0, 5), entry(1, 5)], Some(first));
        commits.next_request(clock::now()).unwrap();
        commits.add(vec![entry(0, 3)], None);
        commits.on_break();
        assert_eq!(
            sent(commits.next_request(clock::now())),
            (2, vec![(0, 3), (1, 5)]),
            "newer is what was asked later"
        );
        commits.on_answer(1, Vec::new(), None);
        assert!(first_answer.try_recv().is_err(), "an answer of the stream before says nothing");
        commits.on_answer(2, Vec::new(), None);
        assert_eq!(first_answer.try_recv().unwrap(), Ok(()));
    }

    #[test]
    fn everybody_hears_of_their_own_partitions() {
        let mut commits = Commits::new("g".to_owned());
        let (good, mut good_answer) = oneshot::channel();
        let (bad, mut bad_answer) = oneshot::channel();
        commits.add(vec![entry(0, 5)], Some(good));
        commits.add(vec![entry(1, 5)], Some(bad));
        commits.next_request(clock::now()).unwrap();
        let answered = commits.on_answer(1, vec![(partition(1), error(ErrorCode::NotAssigned))], None);
        assert_eq!(answered, Answered { failed: vec![partition(1)], untold: None });
        assert_eq!(good_answer.try_recv().unwrap(), Ok(()));
        let refused = bad_answer.try_recv().unwrap().unwrap_err();
        assert_eq!((refused.code(), refused.is_retryable()), (Some(ErrorCode::NotAssigned), false));
    }

    #[test]
    fn a_commit_that_failed_as_a_whole_is_told_or_logged() {
        let mut commits = Commits::new("g".to_owned());
        commits.add(vec![entry(0, 5), entry(1, 1)], None);
        commits.next_request(clock::now()).unwrap();
        let answered = commits.on_answer(1, Vec::new(), Some(error(ErrorCode::OutcomeUnknown)));
        assert_eq!(answered.failed, vec![partition(0), partition(1)]);
        assert!(answered.untold.unwrap().is_retryable());
        let (answer, mut told) = oneshot::channel();
        commits.add(vec![entry(0, 5)], Some(answer));
        commits.fail(&ConsumeError::MembershipLost { group: "g".to_owned() });
        assert!(told.try_recv().unwrap().is_err() && commits.is_settled());
        let (answer, mut told) = oneshot::channel();
        commits.add(Vec::new(), Some(answer));
        assert_eq!(told.try_recv().unwrap(), Ok(()), "nothing to commit is done at once");
    }
}
