//! The way of a command from the node that is asked to the node that leads the metadata group, and of its answer back.
//!
//! Owns: how long a command is tried, what may be tried again, and what an answer says about the outcome.
//!
//! Invariant: a failure is told as definite only when no attempt may have been carried out. A command is sent again
//! after an answer was lost only when doing it twice is as doing it once.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use highwater_metadata::{Command, MetadataImage, Reply};
use highwater_proto::internal::v1::control_request::Kind as Ask;
use highwater_proto::internal::v1::control_response::Kind as Answer;
use highwater_proto::internal::v1::error::Reason;
use highwater_proto::internal::v1::{CommandSubmitted, ConfirmRevision, ControlRequest, Error, SubmitCommand};
use highwater_types::{ErrorCode, LogIndex, NodeId};
use tokio::sync::watch;

use super::ControllerError;
use crate::clock::Clock;
use crate::peer::Peers;
use crate::raft::{Leadership, Replica};

/// How long a command is tried while there is no controller.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pause between two attempts, unless the leader changes before.
const RETRY: Duration = Duration::from_millis(100);

/// How long an answer waits until this node has the image that it speaks of. Whoever asked may look at it then.
const IMAGE_PATIENCE: Duration = Duration::from_secs(2);

/// The way to the node that leads the metadata group.
#[derive(Clone, Debug)]
pub(super) struct Forward {
    peers: Arc<OnceLock<Peers>>,
    leadership: watch::Receiver<Leadership>,
    image: watch::Receiver<Arc<MetadataImage>>,
    clock: Clock,
}

impl Forward {
    pub(super) fn new(
        leadership: watch::Receiver<Leadership>,
        image: watch::Receiver<Arc<MetadataImage>>,
        clock: Clock,
    ) -> Self {
        Self { peers: Arc::default(), leadership, image, clock }
    }

    pub(super) fn connect(&self, peers: Peers) {
        let _again = self.peers.set(peers);
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Asks another node; definite when it was not asked.
    pub(super) async fn ask(&self, node: NodeId, kind: Ask) -> Result<Option<Answer>, ControllerError> {
        let Some(peers) = self.peers.get() else {
            return Err(ControllerError::NotController { leader: Some(node) });
        };
        let answer = peers.ask(node, ControlRequest { kind: Some(kind) }).await;
        answer.map(|response| response.kind).map_err(|error| match error.is_definite() {
            true => ControllerError::Unreachable { node, reason: error.to_string() },
            false => ControllerError::OutcomeUnknown,
        })
    }

    /// Whether the image here holds everything that was committed before the question.
    pub(super) async fn confirm(&self, replica: &Replica) -> bool {
        let led = *self.leadership.borrow();
        match led.leader {
            _ if led.is_leader => replica.read_barrier().await.is_ok(),
            Some(leader) => match self.ask(leader, Ask::ConfirmRevision(ConfirmRevision {})).await {
                Ok(Some(Answer::RevisionConfirmed(confirmed))) => {
                    let mut image = self.image.clone();
                    let is_there = image.wait_for(|image| revision_of(image) >= confirmed.revision);
                    is_there.await.is_ok()
                }
                _ => false,
            },
            None => false,
        }
    }

    /// Tries a command until it is answered or patience ends. `here` tries it on this node, which leads the group.
    pub(super) async fn submit<F>(&self, command: &Command, here: impl Fn() -> F) -> Result<Reply, ControllerError>
    where
        F: Future<Output = Result<Reply, ControllerError>>,
    {
        let deadline = self.clock.instant() + PATIENCE;
        let mut may_be_done = false;
        loop {
            let mut leadership = self.leadership.clone();
            let led = *leadership.borrow_and_update();
            let tried = match led.leader {
                _ if led.is_leader => here().await,
                Some(leader) => self.send(leader, command).await,
                None => Err(ControllerError::NotController { leader: None }),
            };
            let error = match tried {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            let is_open = error.code() == ErrorCode::OutcomeUnknown;
            may_be_done |= is_open;
            let may_repeat = match is_open {
                true => command.is_idempotent(),
                false => matches!(error, ControllerError::NotController { .. } | ControllerError::Unreachable { .. }),
            };
            if !may_repeat || self.clock.instant() >= deadline {
                return Err(if may_be_done { ControllerError::OutcomeUnknown } else { error });
            }
            let changed = tokio::time::timeout(RETRY, leadership.changed()).await;
            if matches!(changed, Ok(Err(_))) {
                // The group has stopped here: nobody leads it any more as far as this node will ever know.
                return Err(if may_be_done { ControllerError::OutcomeUnknown } else { ControllerError::Stopped });
            }
        }
    }

    async fn send(&self, leader: NodeId, command: &Command) -> Result<Reply, ControllerError> {
        let kind = Ask::SubmitCommand(SubmitCommand { command: command.to_bytes() });
        match self.ask(leader, kind).await? {
            Some(Answer::CommandSubmitted(CommandSubmitted { reply, revision })) => {
                self.wait_for_image(revision).await;
                Reply::from_bytes(&reply).map_err(|_| ControllerError::WrongReply)
            }
            Some(Answer::Error(error)) => Err(from_error(error)),
            _ => Err(ControllerError::OutcomeUnknown),
        }
    }

    async fn wait_for_image(&self, revision: u64) {
        let mut image = self.image.clone();
        let is_there = image.wait_for(|image| revision_of(image) >= revision);
        // The command is done in any case; this node only does not see it yet.
        let _late = tokio::time::timeout(IMAGE_PATIENCE, is_there).await;
    }
}

fn revision_of(image: &MetadataImage) -> u64 {
    image.revision().map_or(0, LogIndex::get)
}

/// A failure, for the node that asked.
pub(super) fn to_error(error: &ControllerError) -> Error {
    let (reason, node) = match error {
        ControllerError::NotController { leader } => (Reason::NotLeader, leader.map_or(0, NodeId::get)),
        ControllerError::Stopped | ControllerError::Unreachable { .. } => (Reason::Unavailable, 0),
        ControllerError::OutcomeUnknown | ControllerError::StorageFailed { .. } => (Reason::OutcomeUnknown, 0),
        ControllerError::Refused(_)
        | ControllerError::RefusedThere { .. }
        | ControllerError::DiskFull { .. }
        | ControllerError::WrongReply => (Reason::Refused, 0),
    };
    let code = error.code().number();
    Error { reason: reason.into(), message: error.to_string(), node, code }
}

fn from_error(error: Error) -> ControllerError {
    let leader = Some(error.node).filter(|node| *node != 0).map(NodeId::new);
    match error.reason() {
        Reason::NotLeader | Reason::Unavailable => ControllerError::NotController { leader },
        Reason::Refused | Reason::Invalid => {
            let code = ErrorCode::from_number(error.code).unwrap_or(ErrorCode::InvalidRequest);
            ControllerError::RefusedThere { code, message: error.message }
        }
        Reason::OutcomeUnknown | Reason::Unspecified => ControllerError::OutcomeUnknown,
    }
}

#[cfg(test)]
mod tests {
    use highwater_metadata::CommandError;

    use super::*;

    #[test]
    fn a_failure_keeps_its_code_and_its_definiteness_on_the_way() {
        let failures = [
            ControllerError::Refused(CommandError::UnknownNode { node: NodeId::new(7) }),
            ControllerError::NotController { leader: None },
            ControllerError::OutcomeUnknown,
            ControllerError::DiskFull { reason: "full".to_owned() },
            ControllerError::WrongReply,
        ];
        for failure in failures {
            let arrived = from_error(to_error(&failure));
            assert_eq!(arrived.code(), failure.code(), "{failure}");
        }
        let refused =
            from_error(to_error(&ControllerError::Refused(CommandError::UnknownNode { node: NodeId::new(7) })));
        assert_eq!(refused.to_string(), "the cluster has no node 7");
    }
}
