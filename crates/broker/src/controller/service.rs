//! What other nodes ask of the controller: to decide a command, and to note that they live.

use highwater_metadata::{Command, Reply};
use highwater_proto::internal::v1::control_response::Kind as Answer;
use highwater_proto::internal::v1::error::Reason;
use highwater_proto::internal::v1::{CommandSubmitted, Error, NodeHeartbeat, NodeHeartbeatTaken, SubmitCommand};
use highwater_types::{ErrorCode, LogIndex, NodeId};

use super::forward::to_error;
use super::{ControllerError, ControllerHandle};

impl ControllerHandle {
    /// Decides a command that another node was given, if this node leads the metadata group.
    pub(crate) async fn answer_command(&self, request: SubmitCommand) -> Answer {
        let command = match Command::from_bytes(&request.command) {
            Ok(command) => command,
            Err(error) => return refuse(Reason::Invalid, ErrorCode::Unsupported, &error.to_string()),
        };
        let answered: Result<Reply, ControllerError> = self.submit_here(command).await;
        match answered {
            Ok(reply) => {
                let revision = self.image.borrow().revision().map_or(0, LogIndex::get);
                Answer::CommandSubmitted(CommandSubmitted { reply: reply.to_bytes(), revision })
            }
            Err(error) => Answer::Error(to_error(&error)),
        }
    }

    /// Notes that a node lives, if this node leads the metadata group.
    pub(crate) fn answer_heartbeat(&self, beat: NodeHeartbeat) -> Answer {
        let led = *self.replica.leadership().borrow();
        if !led.is_leader {
            return Answer::Error(to_error(&ControllerError::NotController { leader: led.leader }));
        }
        let node = NodeId::new(beat.node);
        let known = self.image.borrow().node(node).map(|known| known.uuid.to_bytes());
        if known.is_none_or(|uuid| beat.uuid[..] != uuid[..]) {
            let words = format!("node {node} with that data directory is no part of the cluster");
            return refuse(Reason::Refused, ErrorCode::InvalidRequest, &words);
        }
        self.beats.note(node, beat, self.forward.clock().instant());
        Answer::NodeHeartbeatTaken(NodeHeartbeatTaken {})
    }
}

fn refuse(reason: Reason, code: ErrorCode, message: &str) -> Answer {
    Answer::Error(Error { reason: reason.into(), message: message.to_owned(), node: 0, code: code.number() })
}
