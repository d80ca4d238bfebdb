//! Changing who belongs to a group, while it serves.
//!
//! Owns: the steps, each of which may be the last before a crash, and each of which is found done when tried again:
//!
//! ```text
//!   finish a change that was left in the middle ─► newcomers as learners ─► wait until they have the log
//!       ─► joint change to the new voters ─► drop who is neither voter nor learner any more
//! ```
//!
//! Never: makes a voter of a replica that lacks the log: the group could not commit until it has it.
//! Never: waits for ever. A change that lost its majority in the middle is an error here, and goes on at the next call,
//! on whichever replica leads then.

use std::collections::BTreeSet;
use std::time::Duration;

use highwater_types::{LogIndex, NodeId};
use openraft::ChangeMembers;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};

use super::replica::{Replica, ReplicaError};
use super::status::Members;
use super::types::{TypeConfig, raft_node};

/// How long a newcomer may go without getting any further.
const PROGRESS_PATIENCE: Duration = Duration::from_secs(10);

/// How long a newcomer is waited for in one call, however well it gets on. The next call goes on waiting.
const CATCH_UP_PATIENCE: Duration = Duration::from_secs(60);

/// How many entries a newcomer may lack when it becomes a voter: it gets them within a moment.
const LAG_MAX: u64 = 4 * 1024;

/// How long one entry of a change may take to be committed.
const COMMIT_PATIENCE: Duration = Duration::from_secs(10);

/// Why the members were not changed, or not wholly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// This replica does not lead the group.
    #[error("this node does not lead the group")]
    NotLeader {
        /// Who does, if that is known.
        leader: Option<NodeId>,
    },
    /// A group needs somebody.
    #[error("a group cannot be left without voters")]
    NoVoters,
    /// A newcomer gets entries and does not have all of them yet. It goes on; try again.
    #[error("node {node} has not caught up yet (it has {}, the log ends at {end})", at(*matched))]
    NotCaughtUp {
        /// The newcomer.
        node: NodeId,
        /// The last entry it is known to have.
        matched: Option<LogIndex>,
        /// The last entry of the log.
        end: LogIndex,
    },
    /// Another change is under way.
    #[error("another change of the members is under way")]
    UnderWay,
    /// The change was not committed in time: a majority of the old or the new voters is missing. It may be committed
    /// later; try again.
    #[error("the change was not committed within {} s: too few of the voters answer", COMMIT_PATIENCE.as_secs())]
    TimedOut,
    /// openraft refused it.
    #[error("the change was refused: {reason}")]
    Refused {
        /// Its word.
        reason: String,
    },
    /// The disk of the leader has no space for the entry of the change.
    #[error("the change cannot be stored: {reason}")]
    NoSpace {
        /// Which disk.
        reason: String,
    },
    /// The replica has stopped.
    #[error("the replica has stopped")]
    Stopped,
}

fn at(matched: Option<LogIndex>) -> String {
    matched.map_or_else(|| "nothing".to_owned(), |index| format!("entry {index}"))
}

impl Replica {
    /// What follows opening: the first members, where there are any and the group has none. A replica that cannot begin is
    /// shut down, so that whoever tries again finds its log free.
    ///
    /// # Errors
    /// When the replica has stopped, or the disk has no space for the first entries.
    pub(crate) async fn begin_at_open(&self, first_voters: &[NodeId]) -> Result<(), ReplicaError> {
        let begins = !first_voters.is_empty() && !self.is_recovering() && !self.is_initialized().await?;
        if begins && let Err(error) = self.initialize(first_voters).await {
            self.shutdown().await;
            return Err(error);
        }
        Ok(())
    }

    /// Gives the group its first members, unless it has some.
    ///
    /// # Errors
    /// When the replica has stopped, or the disk has no space for the first entries.
    pub async fn begin_unless_begun(&self, voters: &[NodeId]) -> Result<(), ReplicaError> {
        if self.is_recovering() || self.is_initialized().await? {
            return Ok(());
        }
        match self.initialize(voters).await {
            // A leader came in between; that is as good.
            Err(_) if self.is_initialized().await? => Ok(()),
            begun => begun,
        }
    }

    /// Makes exactly `voters` the members of the group. Newcomers get the whole log first.
    ///
    /// May take as long as that copy; what was reached stays, so a call that failed is made again, here or at the next
    /// leader. A leader that is not among the new voters hands over when it is done.
    ///
    /// # Errors
    /// [`MembershipError`].
    pub async fn change_members(&self, voters: &BTreeSet<NodeId>) -> Result<(), MembershipError> {
        self.set_members(voters, &BTreeSet::new()).await
    }

    /// Makes exactly `learners` those who get every entry without counting. Voters stay as they are.
    ///
    /// # Errors
    /// [`MembershipError`].
    pub async fn set_learners(&self, learners: &BTreeSet<NodeId>) -> Result<(), MembershipError> {
        let members = self.lead_and_look()?;
        let voters = members.incoming.unwrap_or(members.voters);
        self.set_members(&voters, learners).await
    }

    /// Makes exactly these the voters and the learners of the group; who is named in both is a voter.
    ///
    /// # Errors
    /// [`MembershipError`].
    pub async fn set_members(
        &self,
        voters: &BTreeSet<NodeId>,
        learners: &BTreeSet<NodeId>,
    ) -> Result<(), MembershipError> {
        if voters.is_empty() {
            return Err(MembershipError::NoVoters);
        }
        let wanted: BTreeSet<NodeId> = voters.union(learners).copied().collect();
        let _changing = self.begin_change().ok_or(MembershipError::UnderWay)?;
        if self.lead_and_look()?.incoming.is_some() {
            // Adding nobody ends a joint configuration.
            self.commit(ChangeMembers::AddVoterIds(BTreeSet::new()), true).await?;
        }
        let present = self.lead_and_look()?.all();
        for newcomer in wanted.difference(&present) {
            self.commit(ChangeMembers::AddNodes([(raft_node(*newcomer), ())].into()), true).await?;
        }
        let members = self.lead_and_look()?;
        if members.voters != *voters {
            for newcomer in voters.difference(&members.voters) {
                self.wait_until_caught_up(*newcomer).await?;
            }
            // Who was a voter stays as a learner for now: it is told of the change that way.
            let ids = voters.iter().copied().map(raft_node).collect();
            self.commit(ChangeMembers::ReplaceAllVoters(ids), true).await?;
        }
        let superfluous: BTreeSet<u64> =
            self.lead_and_look()?.learners.difference(learners).copied().map(raft_node).collect();
        if !superfluous.is_empty() {
            self.commit(ChangeMembers::RemoveNodes(superfluous), false).await?;
        }
        Ok(())
    }

    /// The members at this moment, if this replica leads.
    fn lead_and_look(&self) -> Result<Members, MembershipError> {
        let led = *self.leadership().borrow();
        if !led.is_leader {
            return Err(MembershipError::NotLeader { leader: led.leader });
        }
        Ok(Members::of(&self.raft().metrics().borrow_watched().membership_config))
    }

    /// One step, committed.
    async fn commit(&self, change: ChangeMembers<u64, ()>, retain: bool) -> Result<(), MembershipError> {
        self.make_room_for_own().map_err(|no_space| MembershipError::NoSpace { reason: no_space.to_string() })?;
        self.wake().await;
        let done = tokio::time::timeout(COMMIT_PATIENCE, self.raft().change_membership(change, retain)).await;
        match done {
            Err(_) => Err(MembershipError::TimedOut),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::Fatal(_))) => Err(MembershipError::Stopped),
            Ok(Err(RaftError::APIError(error))) => Err(refusal(&error)),
        }
    }

    /// Waits until a newcomer has nearly the whole log, as long as it gets on.
    async fn wait_until_caught_up(&self, node: NodeId) -> Result<(), MembershipError> {
        let mut at = self.progress_of(node)?;
        let gets_on = async {
            let mut metrics = self.raft().metrics();
            while !at.is_near() {
                let before = at;
                let moves = async {
                    while at.matched <= before.matched {
                        metrics.changed().await.map_err(|_| MembershipError::Stopped)?;
                        at = self.progress_of(node)?;
                    }
                    Ok(())
                };
                match tokio::time::timeout(PROGRESS_PATIENCE, moves).await {
                    Ok(moved) => moved?,
                    Err(_) => return Ok(()),
                }
            }
            Ok(())
        };
        if let Ok(Err(error)) = tokio::time::timeout(CATCH_UP_PATIENCE, gets_on).await {
            return Err(error);
        }
        let At { matched, end } = self.progress_of(node)?;
        if at.is_near() {
            return Ok(());
        }
        Err(MembershipError::NotCaughtUp { node, matched: matched.map(LogIndex::new), end: LogIndex::new(end) })
    }

    fn progress_of(&self, node: NodeId) -> Result<At, MembershipError> {
        let metrics = self.raft().metrics();
        let now = metrics.borrow_watched();
        let replication = now.replication.as_ref().ok_or(MembershipError::NotLeader { leader: None })?;
        let matched = replication.get(&raft_node(node)).and_then(|id| id.as_ref().map(|id| id.index));
        Ok(At { matched, end: now.last_log_index.unwrap_or_default() })
    }
}

/// How far a newcomer is, and where the log ends.
#[derive(Clone, Copy)]
struct At {
    matched: Option<u64>,
    end: u64,
}

impl At {
    fn is_near(self) -> bool {
        self.matched.is_some_and(|matched| matched.saturating_add(LAG_MAX) >= self.end)
    }
}

fn refusal(error: &ClientWriteError<TypeConfig>) -> MembershipError {
    match error {
        ClientWriteError::ForwardToLeader(forward) | ClientWriteError::LogEntryDiscarded(forward) => {
            MembershipError::NotLeader { leader: forward.leader_id.map(NodeId::new) }
        }
        ClientWriteError::ChangeMembershipError(openraft::errors::ChangeMembershipError::InProgress(_)) => {
            MembershipError::UnderWay
        }
        other => MembershipError::Refused { reason: other.to_string() },
    }
}
