//! Commits of a member under way: sent in the order in which they came, answered in that order.
//!
//! Invariant: a commit that met a rebalance is done in the generation that follows, before any that came after it.

use std::collections::VecDeque;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, StreamExt};
use highwater_groups::stream::command::{CommitError, CommitOffsets, Committed, Identity, MemberError, NewOffset};
use highwater_groups::stream::{Answer, Command, GroupId};
use highwater_proto::v1;
use highwater_types::TopicPartition;

use crate::coordinator::{CoordinatorError, CoordinatorHandle, received};
use crate::front::failure::Failure;
use crate::front::grpc::error::error_of;
use crate::front::grpc::groups::mismatched;

/// What the client asked for, with what of it was refused at the door.
#[derive(Clone, Debug)]
pub(super) struct Commit {
    pub(super) request: u64,
    pub(super) offsets: Vec<(TopicPartition, NewOffset)>,
    pub(super) refused: Vec<v1::RefusedOffset>,
}

/// A commit, who it was sent as, and what the coordinator said.
pub(super) struct Done {
    commit: Commit,
    by: Identity,
    result: Result<Answer, CoordinatorError>,
}

/// What became of a commit.
pub(super) enum Outcome {
    /// The client is told; what was refused by the coordinator comes beside it.
    Answered(v1::SessionCommitted, Committed),
    /// It belongs into the next generation, which the member is to join.
    Early,
    /// The session cannot go on.
    Over(Failure),
}

#[derive(Default)]
pub(super) struct Commits {
    under_way: FuturesOrdered<BoxFuture<'static, Done>>,
    /// Those that wait for the next generation.
    early: VecDeque<Commit>,
}

impl Commits {
    pub(super) fn len(&self) -> usize {
        self.under_way.len() + self.early.len()
    }

    /// Sends a commit, unless others wait for the next generation: then behind them.
    pub(super) async fn send(
        &mut self,
        handle: &CoordinatorHandle,
        group: &GroupId,
        by: &Identity,
        commit: Commit,
    ) -> Result<(), Failure> {
        if !self.early.is_empty() {
            self.early.push_back(commit);
            return Ok(());
        }
        let command = CommitOffsets {
            group: group.clone(),
            by: Some(by.clone()),
            retention_ms: None,
            offsets: commit.offsets.clone(),
            is_beginning: false,
        };
        let reply = handle.send(Command::CommitOffsets(command)).await?;
        let by = by.clone();
        self.under_way.push_back(Box::pin(async move { Done { commit, by, result: received(reply).await } }));
        Ok(())
    }

    /// Of what waits for the next generation, only what the member still holds is its to commit.
    pub(super) fn keep_early(
        &mut self,
        holds: impl Fn(&TopicPartition) -> bool,
        refused: impl Fn(TopicPartition) -> v1::RefusedOffset,
    ) {
        for commit in &mut self.early {
            let (kept, lost): (Vec<_>, Vec<_>) =
                std::mem::take(&mut commit.offsets).into_iter().partition(|(at, _)| holds(at));
            commit.offsets = kept;
            commit.refused.extend(lost.into_iter().map(|(at, _)| refused(at)));
        }
    }

    /// The member is in a new generation: sends what waited for it.
    pub(super) async fn send_early(
        &mut self,
        handle: &CoordinatorHandle,
        group: &GroupId,
        by: &Identity,
    ) -> Result<(), Failure> {
        for commit in std::mem::take(&mut self.early) {
            self.send(handle, group, by, commit).await?;
        }
        Ok(())
    }

    /// The oldest that is decided; waits for ever when none is under way.
    pub(super) async fn next(&mut self) -> Done {
        match self.under_way.next().await {
            Some(done) => done,
            None => std::future::pending().await,
        }
    }

    /// What became of it, when the member is in the generation of `now` or about to join another.
    pub(super) fn judge(&mut self, done: Done, now: &Identity, is_joining: bool) -> Outcome {
        let Done { commit, by, result } = done;
        let answered = |refused, error: Option<&Failure>| v1::SessionCommitted {
            request: commit.request,
            refused,
            error: error.map(error_of),
        };
        match result {
            Ok(Answer::Commit(Ok(committed))) => {
                let said = answered(commit.refused.clone(), None);
                Outcome::Answered(said, committed)
            }
            Ok(Answer::Commit(Err(CommitError::RebalanceInProgress { .. }))) => self.wait(commit),
            Ok(Answer::Commit(Err(CommitError::Member(MemberError::IllegalGeneration { .. }))))
                if is_joining || by.generation != now.generation =>
            {
                self.wait(commit)
            }
            Ok(Answer::Commit(Err(CommitError::Member(refused)))) => Outcome::Over(refused.into()),
            Ok(Answer::Commit(Err(refused))) => {
                let said = answered(Vec::new(), Some(&refused.into()));
                Outcome::Answered(said, Committed::default())
            }
            Ok(other) => Outcome::Over(mismatched(&other)),
            Err(full @ CoordinatorError::DiskFull { .. }) => {
                let said = answered(Vec::new(), Some(&full.into()));
                Outcome::Answered(said, Committed::default())
            }
            Err(error) => Outcome::Over(error.into()),
        }
    }

    fn wait(&mut self, commit: Commit) -> Outcome {
        self.early.push_back(commit);
        Outcome::Early
    }
}
