//! What an append resolves to, and when: the acknowledgement that the producer asked for.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use highwater_types::{LeaderEpoch, Offset, Timestamp};
use tokio::sync::oneshot;

use super::error::AppendError;
use super::pending::{Answer, Placed};
use crate::admission::BytePermit;
use crate::raft::Appended;

/// What has to happen before an append is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Acks {
    /// Nothing: it was taken in. It may be lost without a word.
    None,
    /// It is in the log of the leader, on disk or not. Lost if that node loses power or its leadership before a majority
    /// has it on disk; the offset may then become another record's. Readers see it only from then on.
    Leader,
    /// A majority of the replicas has it on disk. Never lost.
    #[default]
    Quorum,
}

/// An acknowledged append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendAck {
    /// The offset of the first record; `None` for [`Acks::None`], which knows no offset.
    pub base_offset: Option<Offset>,
    /// The broker's clock when it took the batch in.
    pub timestamp: Timestamp,
    /// How many records the batch holds.
    pub record_count: u32,
    /// Whether an earlier attempt of an idempotent producer stored it.
    pub duplicate: bool,
    /// What has happened to it.
    pub acks: Acks,
    /// The epoch of the leader that took it in.
    pub leader_epoch: LeaderEpoch,
}

/// Resolves when the batch is acknowledged as its [`Acks`] ask, or is refused. Dropping it takes nothing back.
///
/// Those of one partition and one kind of acks resolve in the order of their appends.
#[derive(Debug)]
#[must_use = "a ticket says whether the batch was stored"]
pub struct AppendTicket {
    ack: AppendAck,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Nothing to wait for.
    Taken,
    /// In the leader's log is enough. When that does not happen, the answer says why.
    Appended(oneshot::Receiver<Appended>, oneshot::Receiver<Answered>),
    /// Committed, repeated or refused.
    Answered(oneshot::Receiver<Answered>),
}

/// The answer of the partition's writer, and the epoch in which it was found.
pub(super) type Answered = (Answer, LeaderEpoch);

/// The writer's end of a ticket. Holds the bytes' permit until the batch is decided.
#[derive(Debug)]
pub(super) struct Reply {
    answered: oneshot::Sender<Answered>,
    permit: BytePermit,
}

impl Reply {
    pub(super) fn give(self, answer: Answer, epoch: LeaderEpoch) {
        let Self { answered, permit } = self;
        // First the bytes, so that who has the answer has their room too.
        drop(permit);
        // The producer may have gone, or not have wanted to know.
        let _ = answered.send((answer, epoch));
    }
}

/// Makes both ends, and the third one that the log tells when the batch is appended, if the producer waits for that.
pub(super) fn ticket(
    acks: Acks,
    timestamp: Timestamp,
    record_count: u32,
    epoch: LeaderEpoch,
    permit: BytePermit,
) -> (AppendTicket, Reply, Option<oneshot::Sender<Appended>>) {
    let (answered, is_answered) = oneshot::channel();
    let (stage, on_append) = match acks {
        Acks::None => (Stage::Taken, None),
        Acks::Leader => {
            let (appended, is_appended) = oneshot::channel();
            (Stage::Appended(is_appended, is_answered), Some(appended))
        }
        Acks::Quorum => (Stage::Answered(is_answered), None),
    };
    let ack = AppendAck { base_offset: None, timestamp, record_count, duplicate: false, acks, leader_epoch: epoch };
    (AppendTicket { ack, stage }, Reply { answered, permit }, on_append)
}

impl Future for AppendTicket {
    type Output = Result<AppendAck, AppendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ticket = &mut *self;
        if let Stage::Appended(appended, _) = &mut ticket.stage {
            match ready!(Pin::new(appended).poll(cx)) {
                Ok(Appended { id, base_offset }) => {
                    let ack = AppendAck { base_offset: Some(base_offset), leader_epoch: id.term.into(), ..ticket.ack };
                    return Poll::Ready(Ok(ack));
                }
                // It will not be appended: it was refused, or is a repeat. The answer says which.
                Err(_) => ticket.stage.fall_back(),
            }
        }
        match &mut ticket.stage {
            Stage::Taken => Poll::Ready(Ok(ticket.ack)),
            Stage::Answered(answered) | Stage::Appended(_, answered) => {
                Poll::Ready(match ready!(Pin::new(answered).poll(cx)) {
                    Ok((Ok(Placed { base_offset, duplicate }), leader_epoch)) => {
                        Ok(AppendAck { base_offset: Some(base_offset), duplicate, leader_epoch, ..ticket.ack })
                    }
                    Ok((Err(error), _)) => Err(error),
                    Err(_) => Err(AppendError::OutcomeUnknown),
                })
            }
        }
    }
}

impl Stage {
    fn fall_back(&mut self) {
        *self = match std::mem::replace(self, Self::Taken) {
            Self::Appended(_, answered) => Self::Answered(answered),
            other => other,
        };
    }
}
