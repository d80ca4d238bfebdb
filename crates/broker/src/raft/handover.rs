//! Handing the leadership of a group to another replica, on purpose and without a gap.
//!
//! Never: asks a replica that lags. openraft's leader takes no more writes from the moment it asks, and the one asked
//! ignores it unless it has everything: so writes are held back first, then the other gets all of the log, and only
//! then is it asked. That takes about a round trip; when it does not succeed, writes go on here.

use std::time::Duration;

use highwater_types::{LogIndex, NodeId};
use openraft::async_runtime::watch::WatchReceiver;

use super::replica::Replica;

/// How far behind the other may be when its leader begins to hold back writes.
const LAG_MAX: u64 = 16 * 1024;

/// How long writes are held back until the other has everything.
const CATCH_UP_PATIENCE: Duration = Duration::from_millis(500);

/// How long the other may take to win its election once it was asked.
const ELECTION_PATIENCE: Duration = Duration::from_secs(3);

/// Why the leadership stayed, or may have stayed, where it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferError {
    /// This replica does not lead, so it has nothing to hand over.
    #[error("this node does not lead the group")]
    NotLeader {
        /// Who does, if that is known.
        leader: Option<NodeId>,
    },
    /// The other may not lead.
    #[error("node {to} is no voter of the group")]
    NotAVoter {
        /// Who was to lead.
        to: NodeId,
    },
    /// Another hand-over is under way.
    #[error("the leadership is being handed over already")]
    UnderWay,
    /// The other does not have everything that is committed.
    #[error("node {to} lags behind (it has {}); it has to catch up first", at(*matched))]
    Lagging {
        /// Who was to lead.
        to: NodeId,
        /// The last entry it is known to have.
        matched: Option<LogIndex>,
    },
    /// The other was asked and nobody leads in its place yet.
    #[error("node {to} was asked to lead and did not within {} s", ELECTION_PATIENCE.as_secs())]
    TimedOut {
        /// Who was to lead.
        to: NodeId,
    },
    /// The replica has stopped.
    #[error("the replica has stopped")]
    Stopped,
}

fn at(matched: Option<LogIndex>) -> String {
    matched.map_or_else(|| "answered nothing yet".to_owned(), |index| format!("entry {index}"))
}

impl Replica {
    /// Hands the leadership to `to`, and returns when another replica leads. Writes wait meanwhile.
    ///
    /// # Errors
    /// [`TransferError`]. When it was refused, or the other did not catch up, this replica leads as before.
    pub async fn transfer_leader(&self, to: NodeId) -> Result<(), TransferError> {
        let led = *self.leadership().borrow();
        if !led.is_leader {
            return Err(TransferError::NotLeader { leader: led.leader });
        }
        if to == self.node() {
            return Ok(());
        }
        let status = self.status();
        if !status.members.voters.contains(&to) {
            return Err(TransferError::NotAVoter { to });
        }
        let progress = status.peers.iter().find(|peer| peer.node == to);
        let lag = progress.and_then(|peer| status.lag_of(peer));
        if lag.is_none_or(|lag| lag > LAG_MAX) {
            return Err(TransferError::Lagging { to, matched: progress.and_then(|peer| peer.matched) });
        }
        let _held_back = self.hold_back_writes().ok_or(TransferError::UnderWay)?;
        self.wake().await;
        self.wait_until_complete(to).await?;
        self.raft().trigger().transfer_leader(to.get()).await.map_err(|_| TransferError::Stopped)?;
        let mut leadership = self.leadership();
        let gone = leadership.wait_for(|now| now.term > led.term && now.leader.is_some());
        match tokio::time::timeout(ELECTION_PATIENCE, gone).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(TransferError::Stopped),
            Err(_) => Err(TransferError::TimedOut { to }),
        }
    }

    /// Waits until `to` has every entry of this log. None is added meanwhile, but for what was on its way.
    async fn wait_until_complete(&self, to: NodeId) -> Result<(), TransferError> {
        let mut metrics = self.raft().metrics();
        let mut matched = None;
        let wait = async {
            loop {
                {
                    let now = metrics.borrow_watched();
                    let replication = now.replication.as_ref().ok_or(TransferError::NotLeader { leader: None })?;
                    matched = replication.get(&to.get()).and_then(|id| id.as_ref().map(|id| id.index));
                    if matched >= now.last_log_index {
                        return Ok(());
                    }
                }
                metrics.changed().await.map_err(|_| TransferError::Stopped)?;
            }
        };
        match tokio::time::timeout(CATCH_UP_PATIENCE, wait).await {
            Ok(done) => done,
            Err(_) => Err(TransferError::Lagging { to, matched: matched.map(LogIndex::new) }),
        }
    }
}
