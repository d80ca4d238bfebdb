//! The desk: where the requests of other nodes are answered, before this node has a place in a cluster and after.
//!
//! Owns: what a node without a place may be asked, and the way of every other request to the part that answers it.
//! Never: decides anything about the cluster; `formation` and the controller do.

use std::pin::Pin;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use highwater_metadata::{Command, JoinNode, MetadataImage, Reply};
use highwater_proto::internal::v1::control_request::Kind as Ask;
use highwater_proto::internal::v1::control_response::Kind as Answer;
use highwater_proto::internal::v1::error::Reason;
use highwater_proto::internal::v1::{
    ControlRequest, ControlResponse, Error, Found, Join, Joined, NodeAddress, RevisionConfirmed,
};
use highwater_storage::{DataDir, Identity};
use highwater_types::{ErrorCode, LogIndex, NodeId, NodeUuid};
use tokio::sync::watch;

use super::duties::Duties;
use super::formation::{ClusterOptions, Stance, take, wire};
use super::{StartError, on_disk};
use crate::controller::{ControllerError, ControllerHandle};
use crate::peer::{ControlService, Hello, Refusal};
use crate::raft::Replica;
use crate::survey::Survey;

/// How long a question about the newest metadata may take.
const CONFIRM_PATIENCE: Duration = Duration::from_secs(2);

/// Answers other nodes.
#[derive(Debug)]
pub(super) struct Desk {
    data: Arc<DataDir>,
    options: ClusterOptions,
    /// Where clients reach this node.
    address: String,
    /// The UUID of the directory, if it gets its place by an offer.
    new_uuid: NodeUuid,
    identity: watch::Sender<Option<Identity>>,
    running: OnceLock<Running>,
    survey: OnceLock<Survey>,
}

/// The desk as the links know it. They do not keep it, and so the data directory, from going.
pub(super) struct DeskService(Weak<Desk>);

impl DeskService {
    pub(super) fn new(desk: &Arc<Desk>) -> Self {
        Self(Arc::downgrade(desk))
    }
}

impl ControlService for DeskService {
    fn answer(
        &self,
        from: Option<NodeId>,
        request: ControlRequest,
    ) -> Pin<Box<dyn Future<Output = ControlResponse> + Send>> {
        let desk = self.0.upgrade();
        Box::pin(async move {
            match desk {
                Some(desk) => desk.answer(from, request).await,
                None => ControlResponse { kind: Some(error(Reason::Unavailable, "this node has stopped")) },
            }
        })
    }
}

/// What answers once the node has its place and its metadata.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) replica: Replica,
    pub(super) image: watch::Receiver<Arc<MetadataImage>>,
    pub(super) controller: ControllerHandle,
    pub(super) duties: Duties,
}

impl Desk {
    pub(super) fn new(data: Arc<DataDir>, options: ClusterOptions, address: String, new_uuid: NodeUuid) -> Self {
        let identity = watch::Sender::new(data.identity());
        Self { data, options, address, new_uuid, identity, running: OnceLock::new(), survey: OnceLock::new() }
    }

    pub(super) fn options(&self) -> &ClusterOptions {
        &self.options
    }

    /// Where clients reach this node.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn data(&self) -> Arc<DataDir> {
        Arc::clone(&self.data)
    }

    pub(super) fn identity(&self) -> Option<Identity> {
        *self.identity.borrow()
    }

    /// What this node says of itself to others.
    pub(super) fn hello(&self) -> Hello {
        match self.identity() {
            Some(Identity { cluster, node, uuid }) => Hello { cluster: Some(cluster), node: Some(node), uuid },
            None => Hello { cluster: None, node: None, uuid: self.new_uuid },
        }
    }

    /// Waits until this node has its place.
    pub(super) async fn until_somebody(&self) -> Identity {
        let mut identities = self.identity.subscribe();
        match identities.wait_for(Option::is_some).await.map(|identity| *identity) {
            Ok(Some(identity)) => identity,
            // Only when the sender is gone, and this holds it.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    /// Takes a place, durably.
    pub(super) async fn become_node(&self, identity: Identity) -> Result<Identity, StartError> {
        let data = self.data();
        on_disk(move || Ok(data.set_identity(identity)?)).await?;
        self.identity.send_replace(Some(identity));
        Ok(identity)
    }

    /// From now on the running node answers.
    pub(super) fn open(&self, running: Running) {
        // Opened once, by the start.
        let _again = self.running.set(running);
    }

    /// From now on this node says what it holds, and how its replicas stand.
    pub(super) fn open_survey(&self, survey: Survey) {
        // Opened once, by the start.
        let _again = self.survey.set(survey);
    }

    /// Answers one request. A node that was removed may still have a connection from before.
    pub(super) async fn answer(&self, from: Option<NodeId>, request: ControlRequest) -> ControlResponse {
        let is_removed =
            |node: &NodeId| self.running.get().is_some_and(|running| running.image.borrow().is_removed(*node));
        if let Some(node) = from.filter(is_removed) {
            let refusal = Refusal::Removed { node }.to_string();
            return ControlResponse { kind: Some(error(Reason::Refused, &refusal)) };
        }
        let kind = match request.kind {
            Some(Ask::WhoAreYou(_)) => Answer::Identified(wire::identified(&self.stance())),
            Some(Ask::Found(found)) => self.take_place(found).await,
            Some(Ask::Join(join)) => self.let_in(join).await,
            Some(Ask::ConfirmRevision(_)) => self.confirm_revision().await,
            Some(Ask::DescribeReplicas(request)) => match self.survey.get() {
                Some(survey) => Answer::ReplicasDescribed(survey.answer(&request)),
                None => error(Reason::Unavailable, "this node is starting; try again"),
            },
            Some(other) => self.hand_on(other).await,
            None => error(Reason::Invalid, "this version does not know that request; start the newer one on all nodes"),
        };
        ControlResponse { kind: Some(kind) }
    }

    fn stance(&self) -> Stance {
        let identity = self.identity();
        let formed = self.running.get().map(|running| Arc::clone(&running.image.borrow()));
        let formed = formed.filter(|image| image.cluster().is_some());
        let nodes = |image: Arc<MetadataImage>| image.nodes().map(|node| (node.node, node.uuid)).collect();
        Stance { identity, formed: formed.map(nodes), first_voters: self.options.first_voters.clone() }
    }

    /// Takes the place that the founder offers.
    async fn take_place(&self, found: Found) -> Answer {
        let Some(offer) = wire::offer(found) else { return error(Reason::Invalid, "the offer is not whole") };
        let taken = match take(&self.options, self.identity(), &offer, self.new_uuid) {
            Ok(identity) => self.become_node(identity).await,
            Err(refused) => Err(refused.into()),
        };
        match taken {
            Ok(identity) => Answer::Founded(wire::founded(identity, &self.stance(), &self.options, &self.address)),
            Err(StartError::Formation(refused)) => {
                tracing::warn!(%refused, "refused the offer of a place in a cluster");
                error(Reason::Refused, &refused.to_string())
            }
            Err(failed) => error(Reason::Unavailable, &failed.to_string()),
        }
    }

    /// Asks the controller for a place for another node.
    async fn let_in(&self, join: Join) -> Answer {
        let (Some(identity), Some(running)) = (self.identity(), self.running.get()) else {
            return error(Reason::Unavailable, "this node has no place in a cluster yet itself");
        };
        let Ok(uuid) = <[u8; 16]>::try_from(&join.uuid[..]) else {
            return error(Reason::Invalid, "the UUID of the data directory has not 16 bytes");
        };
        let Join { peer_address, grpc_address: address, rack, .. } = join;
        let join = JoinNode { uuid: NodeUuid::from_bytes(uuid), address, peer_address, rack };
        match running.controller.submit(Command::JoinNode(join)).await {
            Ok(Reply::Node { node }) => {
                let image = Arc::clone(&running.image.borrow());
                let peers = image.nodes().map(|peer| NodeAddress {
                    node: peer.node.get(),
                    address: peer.peer_address.clone(),
                    uuid: wire::bytes(peer.uuid.to_bytes()),
                });
                let cluster = wire::bytes(identity.cluster.to_bytes());
                Answer::Joined(Joined { cluster, node: node.get(), peers: peers.collect() })
            }
            Ok(_) => controller_error(&ControllerError::WrongReply),
            Err(failed) => controller_error(&failed),
        }
    }

    /// The newest entry of the metadata that anybody may have seen, if this node leads the metadata group.
    async fn confirm_revision(&self) -> Answer {
        let Some(running) = self.running.get() else {
            return error(Reason::Unavailable, "this node has no metadata yet");
        };
        match tokio::time::timeout(CONFIRM_PATIENCE, running.replica.read_barrier()).await {
            Ok(Ok(_)) => {
                let revision = running.image.borrow().revision().map_or(0, LogIndex::get);
                Answer::RevisionConfirmed(RevisionConfirmed { revision })
            }
            Ok(Err(not_now)) => error(Reason::NotLeader, &not_now.to_string()),
            Err(_) => error(Reason::Unavailable, "a majority did not answer in time"),
        }
    }

    /// What other parts of the running node answer.
    async fn hand_on(&self, request: Ask) -> Answer {
        match self.running.get() {
            Some(running) => running.duties.answer(request).await,
            None => error(Reason::Unavailable, "this node is starting; try again"),
        }
    }
}

fn error(reason: Reason, message: &str) -> Answer {
    Answer::Error(Error { reason: reason.into(), message: message.to_owned(), ..Error::default() })
}

fn controller_error(failed: &ControllerError) -> Answer {
    let reason = match failed.code() {
        ErrorCode::NotLeader => Reason::NotLeader,
        ErrorCode::OutcomeUnknown => Reason::OutcomeUnknown,
        _ if failed.is_retryable() => Reason::Unavailable,
        _ => Reason::Refused,
    };
    error(reason, &failed.to_string())
}
