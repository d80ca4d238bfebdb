//! A proposal, and the ticket that says what became of it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use highwater_storage::EntryKind;
use highwater_types::{EntryId, NodeId, Offset, Term};
use openraft::errors::ClientWriteError;
use openraft::raft::ClientWriteResult;
use tokio::sync::oneshot;

use super::fence::Fence;
use super::types::{Appended, TypeConfig, entry_id};

/// An entry that is to be appended to the group's log.
#[derive(Debug)]
pub struct Proposal {
    /// What it is; not [`EntryKind::Blank`] or [`EntryKind::Membership`], which the group writes by itself.
    pub kind: EntryKind,
    /// Its bytes. For [`EntryKind::Data`] one record batch. Not copied before they are written.
    pub payload: Bytes,
    /// Append it only while this node leads in this term: what it was checked against is true in this term only.
    pub term: Option<Term>,
    /// Told when the entry is in the leader's log and readable there, before it is durable or committed. Dropped
    /// without a word when that never happens.
    pub on_append: Option<oneshot::Sender<Appended>>,
    /// What it was checked together with: stored only if nothing before it inside was refused.
    pub fence: Option<Fence>,
}

/// An entry that a majority has made durable, and that is applied here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its identity.
    pub id: EntryId,
    /// The offset of its first record; for an entry without records, of the next record after it.
    pub base_offset: Offset,
}

/// Why a proposal was not committed, or is not known to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// This replica does not lead the group (in that term), or refused another inside the same fence before. Nothing
    /// was appended.
    #[error("this node does not lead the group")]
    NotLeader {
        /// Who does, if that is known.
        leader: Option<NodeId>,
    },
    /// The replica stopped before it took the proposal. Nothing was appended.
    #[error("the replica has stopped")]
    Stopped,
    /// It was appended here and then lost its leader, or the replica stopped meanwhile: it may be committed or not.
    #[error("the leader changed or the replica stopped before the entry was committed; it may be committed or not")]
    OutcomeUnknown,
}

impl ProposeError {
    /// Whether nothing was appended for sure.
    #[must_use]
    pub const fn is_definite(&self) -> bool {
        !matches!(self, Self::OutcomeUnknown)
    }
}

type Answer = ClientWriteResult<TypeConfig>;
pub(super) type AnswerReceiver = oneshot::Receiver<Answer>;

/// Resolves when the entry is committed and applied here, or when that can no longer be known to happen. Tickets of
/// one group resolve in the order of their proposals, but for those that were refused.
#[derive(Debug)]
#[must_use = "a ticket says whether the entry was committed"]
pub struct ProposeTicket(State);

#[derive(Debug)]
enum State {
    Waiting(AnswerReceiver),
    Refused(ProposeError),
}

impl ProposeTicket {
    pub(super) const fn waiting(answer: AnswerReceiver) -> Self {
        Self(State::Waiting(answer))
    }

    pub(crate) const fn refused(error: ProposeError) -> Self {
        Self(State::Refused(error))
    }
}

impl Future for ProposeTicket {
    type Output = Result<Committed, ProposeError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = match &mut self.0 {
            State::Refused(error) => return Poll::Ready(Err(error.clone())),
            State::Waiting(answer) => ready!(Pin::new(answer).poll(cx)),
        };
        Poll::Ready(match answer {
            Ok(Ok(done)) if done.data.is_blank => Err(ProposeError::NotLeader { leader: None }),
            Ok(Ok(done)) => Ok(Committed { id: entry_id(&done.log_id), base_offset: done.data.base_offset }),
            Ok(Err(ClientWriteError::ForwardToLeader(forward))) => {
                Err(ProposeError::NotLeader { leader: forward.leader_id.map(NodeId::new) })
            }
            // Discarded, or the core went away while it held the proposal.
            Ok(Err(_)) | Err(_) => Err(ProposeError::OutcomeUnknown),
        })
    }
}
