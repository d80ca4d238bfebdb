//! The metadata group on this node: opened first, because it says what else there is.
//!
//! Owns: the order of the first start, this node's word in the metadata, and the proof that the image is current.
//!
//! The identity is durable before the group has an entry, and the cluster is formed in the metadata before anything
//! else is. So a first start that was cut short is simply done again, and a directory with logs but without metadata is
//! one that lost it.
//!
//! Invariant: a group of several is begun by the founder alone, after every first voter has its place on disk, and
//! never when one of them says that the cluster was formed already.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use highwater_metadata::{Command, MetadataImage, NodeRegistration, Policy};
use highwater_proto::internal::v1::control_request::Kind as Ask;
use highwater_proto::internal::v1::control_response::Kind as Answer;
use highwater_proto::internal::v1::{ConfirmRevision, ControlRequest};
use highwater_storage::{DataDir, Identity, Log, LogKey, LogOptions};
use highwater_types::{LogIndex, NodeId};
use tokio::sync::watch;

use super::desk::Desk;
use super::error::{GroupName, StartError};
use super::formation::{FOUNDER, Role, offer_places, role};
use super::open_log;
use super::supervise::Failures;
use crate::clock::Clock;
use crate::controller::{ControllerError, ControllerHandle, METADATA_LOG, MetadataState};
use crate::peer::Peers;
use crate::raft::{PeerNetwork, Replica, ReplicaError, ReplicaSpec};
use crate::shutdown::Shutdown;

/// How long the start of a cluster of one waits until its metadata group serves: nobody else could help.
const LEADER_PATIENCE: Duration = Duration::from_secs(60);

/// How long until what other nodes have to answer is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// How often a long wait says what it waits for.
const PROGRESS: Duration = Duration::from_secs(10);

/// Metadata is small; so are its segments.
const SEGMENT_BYTES: u64 = 8 << 20;

/// The metadata group of this node.
#[derive(Debug)]
pub(super) struct Metadata {
    pub(super) replica: Replica,
    pub(super) log: Log,
    pub(super) image: watch::Receiver<Arc<MetadataImage>>,
    pub(super) controller: ControllerHandle,
    /// The controller's task.
    task: Shutdown,
    /// Where its log is.
    folder: PathBuf,
    clock: Clock,
    peers: Peers,
}

/// What the metadata group is opened with.
pub(super) struct MetadataSpec<'a> {
    pub(super) data: &'a Arc<DataDir>,
    pub(super) node: NodeId,
    /// Whether other nodes have the metadata too, so that a damaged log of it can be filled again.
    pub(super) has_peers: bool,
    /// The logs that were there when the node started.
    pub(super) logs: &'a [LogKey],
    pub(super) policy: Policy,
    pub(super) clock: &'a Clock,
    pub(super) peers: &'a Peers,
    pub(super) network: PeerNetwork,
}

impl Metadata {
    /// Opens the group.
    pub(super) async fn open(spec: MetadataSpec<'_>) -> Result<Self, StartError> {
        let MetadataSpec { data, node, has_peers, logs, policy, clock, peers, network } = spec;
        if !has_peers && !logs.contains(&METADATA_LOG) && data.votes().get(METADATA_LOG).is_some() {
            return Err(StartError::LogMissing { of: GroupName::Metadata, folder: data.log_path(METADATA_LOG) });
        }
        let (state, image) = MetadataState::new();
        let options = LogOptions { segment_bytes_max: SEGMENT_BYTES, ..LogOptions::default() };
        let log = open_log(data, METADATA_LOG, options, GroupName::Metadata, has_peers).await?;
        let replica = Replica::open(ReplicaSpec {
            group: GroupName::Metadata.to_string(),
            key: METADATA_LOG,
            log: log.clone(),
            votes: Arc::clone(data.votes()),
            node,
            clock: clock.clone(),
            state,
            network,
        });
        let replica = replica.await.map_err(group_failed)?;
        let task = Shutdown::new();
        let controller =
            ControllerHandle::start(replica.clone(), log.clone(), image.clone(), policy, clock.clone(), &task);
        controller.connect(peers.clone());
        let (folder, clock, peers) = (data.log_path(METADATA_LOG), clock.clone(), peers.clone());
        Ok(Self { replica, log, image, controller, task, folder, clock, peers })
    }

    /// Whether no other node has a say in the group.
    pub(super) async fn is_alone(&self, desk: &Desk, identity: Identity) -> Result<bool, StartError> {
        if self.replica.is_recovering() {
            return Ok(false);
        }
        if self.replica.is_initialized().await.map_err(group_failed)? {
            return Ok(self.replica.status().members.all() == BTreeSet::from([identity.node]));
        }
        Ok(identity.node == FOUNDER && role(desk.options())? == Role::Alone)
    }

    /// The start of a cluster of one: makes it or finds it, and tells it where this node is.
    pub(super) async fn enter_alone(
        &self,
        desk: &Desk,
        identity: Identity,
        logs: &[LogKey],
        failures: &Failures,
    ) -> Result<(), StartError> {
        let Identity { cluster, node, .. } = identity;
        if !self.replica.is_initialized().await.map_err(group_failed)? {
            self.begin(&[node]).await?;
        }
        tokio::select! {
            served = self.replica.wait_until_serving() => served.map_err(group_failed)?,
            // A disk that fails now would only be noticed by the silence.
            failure = failures.first() => return Err(StartError::Failed(failure)),
            () = tokio::time::sleep(LEADER_PATIENCE) => {
                return Err(StartError::NoController { seconds: LEADER_PATIENCE.as_secs() });
            }
        }
        let registration = registration(desk, identity);
        let found = self.image.borrow().cluster();
        let command = match found {
            Some(found) if found == cluster => Command::RegisterNode(registration),
            Some(found) => return Err(StartError::WrongCluster { expected: cluster, found }),
            None => match logs.iter().filter(|key| **key != METADATA_LOG).count() {
                0 => Command::FormCluster { cluster, nodes: vec![registration] },
                logs => return Err(StartError::MetadataLost { logs, folder: self.folder.clone() }),
            },
        };
        self.controller.submit(command).await.map(drop).map_err(StartError::Register)
    }

    /// Takes this node's place among the others, as soon as they let it: forms the cluster if that is its task, tells
    /// where it is, and waits until the image holds that and is current. Tries for as long as it takes.
    pub(super) async fn enter(&self, desk: &Desk, identity: Identity) -> Result<(), StartError> {
        if identity.node == FOUNDER
            && let Role::Founder { others } = role(desk.options())?
        {
            self.form(desk, identity, &others).await?;
        }
        let mut image = self.image.clone();
        let formed = self.told_slowly("for the cluster's metadata", image.wait_for(|image| image.cluster().is_some()));
        let found = match formed.await {
            Ok(image) => image.cluster(),
            Err(_) => return Err(StartError::Interrupted),
        };
        if let Some(found) = found.filter(|found| *found != identity.cluster) {
            return Err(StartError::WrongCluster { expected: identity.cluster, found });
        }
        self.told_slowly("for a leader of the metadata group", self.until_current()).await;
        self.register(desk, identity).await
    }

    /// Makes the cluster with the other first voters, unless that was done.
    async fn form(&self, desk: &Desk, identity: Identity, others: &[(NodeId, String)]) -> Result<(), StartError> {
        let is_formed = |metadata: &Self| metadata.image.borrow().cluster().is_some();
        if is_formed(self) {
            return Ok(());
        }
        let mut image = self.image.clone();
        let offered = tokio::select! {
            biased;
            // After a restart the image is empty until a leader commits, which does not take all first voters.
            formed = image.wait_for(|image| image.cluster().is_some()) => {
                return formed.map(drop).map_err(|_| StartError::Interrupted);
            }
            offered = offer_places(desk.options(), &self.peers, identity.cluster, others, &self.clock) => offered?,
        };
        let Some(taken) = offered else { return Ok(()) };
        let mut nodes = vec![registration(desk, identity)];
        nodes.extend(taken);
        let voters: Vec<NodeId> = nodes.iter().map(|node| node.node).collect();
        if !self.replica.is_initialized().await.map_err(group_failed)? {
            self.begin(&voters).await?;
        }
        let form = Command::FormCluster { cluster: identity.cluster, nodes };
        while !is_formed(self) {
            match self.controller.submit(form.clone()).await {
                Ok(_) => break,
                Err(error) => tracing::debug!(%error, "the cluster is not formed yet"),
            }
            tokio::time::sleep(RETRY).await;
        }
        Ok(())
    }

    /// Tells the cluster where this node is, if it does not know.
    async fn register(&self, desk: &Desk, identity: Identity) -> Result<(), StartError> {
        let registration = registration(desk, identity);
        loop {
            if self.image.borrow().node(identity.node) == Some(&registration) {
                return Ok(());
            }
            match self.controller.submit(Command::RegisterNode(registration.clone())).await {
                Ok(_) => {}
                Err(error @ (ControllerError::Refused(_) | ControllerError::RefusedThere { .. }))
                    if !error.is_retryable() =>
                {
                    return Err(StartError::Register(error));
                }
                Err(error) => tracing::debug!(%error, "this node is not registered yet"),
            }
            let mut image = self.image.clone();
            let is_known = image.wait_for(|image| image.node(identity.node) == Some(&registration));
            if let Ok(Err(_stopped)) = tokio::time::timeout(RETRY, is_known).await {
                return Err(StartError::Interrupted);
            }
        }
    }

    /// Waits until the image here holds everything that was committed when this was called: until then a log that the
    /// image does not know may be one that it does not know **yet**.
    async fn until_current(&self) {
        loop {
            if let Some(revision) = self.newest_revision().await {
                let mut image = self.image.clone();
                let caught_up = image.wait_for(|image| image.revision() >= Some(revision));
                if let Ok(Ok(_)) = tokio::time::timeout(PROGRESS, caught_up).await {
                    return;
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// The newest entry of the metadata that anybody may have seen, confirmed by its leader.
    async fn newest_revision(&self) -> Option<LogIndex> {
        let leader = self.replica.leadership().borrow().leader?;
        let request = ControlRequest { kind: Some(Ask::ConfirmRevision(ConfirmRevision {})) };
        match self.peers.ask(leader, request).await {
            Ok(answer) => match answer.kind {
                Some(Answer::RevisionConfirmed(confirmed)) => Some(LogIndex::new(confirmed.revision)),
                other => {
                    tracing::debug!(?other, "the metadata's leader did not confirm");
                    None
                }
            },
            Err(error) => {
                tracing::debug!(%error, "the metadata's leader did not answer");
                None
            }
        }
    }

    async fn begin(&self, voters: &[NodeId]) -> Result<(), StartError> {
        if self.replica.is_recovering() {
            // The group has begun long ago, and those who have its log bring it.
            return Ok(());
        }
        self.replica.initialize(voters).await.map_err(group_failed)
    }

    /// Waits, and says now and then what for.
    async fn told_slowly<T>(&self, what: &'static str, wait: impl Future<Output = T>) -> T {
        tokio::pin!(wait);
        loop {
            match tokio::time::timeout(PROGRESS, &mut wait).await {
                Ok(done) => return done,
                Err(_) => tracing::warn!("waiting {what}; are most of the cluster's nodes running?"),
            }
        }
    }

    /// Stops the controller, then the group.
    pub(super) async fn close(&self, grace: Duration) {
        if let Err(still_running) = self.task.finish(grace).await {
            tracing::warn!(%still_running, "stopping without waiting longer for the controller");
        }
        if tokio::time::timeout(grace, self.replica.shutdown()).await.is_err() {
            tracing::warn!("stopping without waiting longer for the metadata group; the next start recovers it");
        }
    }
}

/// What this node says of itself.
fn registration(desk: &Desk, identity: Identity) -> NodeRegistration {
    NodeRegistration {
        node: identity.node,
        uuid: identity.uuid,
        address: desk.address().to_owned(),
        peer_address: desk.options().peer_address.clone(),
        rack: desk.options().rack.clone(),
        kafka_address: desk.options().kafka_address.clone(),
        kafka_listeners: desk.options().kafka_listeners.clone(),
    }
}

fn group_failed(cause: ReplicaError) -> StartError {
    StartError::Group { of: GroupName::Metadata, cause: Box::new(cause) }
}
