//! A read that no older leader can answer: the group is asked whether this replica still leads it.
//!
//! Never: trusts a lease. A process that was paused wakes up believing in the time it slept through; a round of
//! heartbeats sent after the question does not.

use highwater_types::{NodeId, Offset};
use openraft::ReadPolicy;
use openraft::errors::{LinearizableReadError, RaftError};

use super::replica::Replica;

/// Why the end of a group could not be confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadBarrierError {
    /// This replica does not lead the group.
    #[error("this node does not lead the group")]
    NotLeader {
        /// Who does, if that is known.
        leader: Option<NodeId>,
    },
    /// A majority did not confirm in time that this replica leads.
    #[error("a majority of the replicas did not answer in time: nobody knows whether this node still leads")]
    NoQuorum,
    /// The replica has stopped.
    #[error("the replica has stopped")]
    Stopped,
}

impl Replica {
    /// The high watermark, not older than this call: every record that was acknowledged to anybody before the call lies
    /// below it. Costs one round of heartbeats, shared by all who ask meanwhile; nothing for a group of one.
    ///
    /// # Errors
    /// [`ReadBarrierError`]; the lease of a leader bounds how long it takes.
    pub async fn read_barrier(&self) -> Result<Offset, ReadBarrierError> {
        match self.raft().ensure_linearizable(ReadPolicy::ReadIndex).await {
            // What the group had committed is applied here by now, and the mark moved with it.
            Ok(_) => Ok(*self.committed().borrow()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                let leader = forward.leader_id.map(NodeId::new).filter(|leader| *leader != self.node());
                Err(ReadBarrierError::NotLeader { leader })
            }
            Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => Err(ReadBarrierError::NoQuorum),
            Err(RaftError::Fatal(_)) => Err(ReadBarrierError::Stopped),
        }
    }
}
