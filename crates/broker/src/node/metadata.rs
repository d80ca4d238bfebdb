//! The metadata group on this node: opened first, because it says what else there is.
//!
//! Owns: the order of the first start. The identity is durable before the group has an entry, and the cluster is
//! formed in the metadata before anything else is. So a first start that was cut short is simply done again, and a
//! directory with logs but without metadata is one that lost it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use highwater_metadata::{Command, MetadataImage, NodeRegistration, Policy};
use highwater_storage::{DataDir, Identity, Log, LogKey, LogOptions};
use highwater_types::NodeId;
use tokio::sync::watch;

use super::error::{GroupName, StartError};
use super::open_log;
use super::supervise::Failures;
use crate::clock::Clock;
use crate::controller::{ControllerHandle, METADATA_LOG, MetadataState};
use crate::raft::{PeerNetwork, Replica, ReplicaError, ReplicaSpec};
use crate::shutdown::Shutdown;

/// How long a start waits until the metadata group has a leader that serves.
const LEADER_PATIENCE: Duration = Duration::from_secs(60);

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
}

impl Metadata {
    /// Opens the group, and makes it on the first start. `logs` are those that were there when the node started.
    pub(super) async fn open(
        data: &Arc<DataDir>,
        node: NodeId,
        logs: &[LogKey],
        policy: Policy,
        clock: &Clock,
        failures: &Failures,
    ) -> Result<Self, StartError> {
        if !logs.contains(&METADATA_LOG) && data.votes().get(METADATA_LOG).is_some() {
            return Err(StartError::LogMissing { of: GroupName::Metadata, folder: data.log_path(METADATA_LOG) });
        }
        let (state, image) = MetadataState::new();
        let options = LogOptions { segment_bytes_max: SEGMENT_BYTES, ..LogOptions::default() };
        let log = open_log(data, METADATA_LOG, options, GroupName::Metadata).await?;
        let replica = Replica::open(ReplicaSpec {
            group: GroupName::Metadata.to_string(),
            key: METADATA_LOG,
            log: log.clone(),
            votes: Arc::clone(data.votes()),
            node,
            network: PeerNetwork::alone(),
            clock: clock.clone(),
            state,
        });
        let replica = replica.await.map_err(group_failed)?;
        if let Err(error) = until_it_serves(&replica, node, failures).await {
            replica.shutdown().await;
            return Err(error);
        }
        let task = Shutdown::new();
        let controller =
            ControllerHandle::start(replica.clone(), log.clone(), image.clone(), policy, clock.clone(), &task);
        Ok(Self { replica, log, image, controller, task, folder: data.log_path(METADATA_LOG) })
    }

    /// Makes the cluster or finds it, and tells it where this node is.
    pub(super) async fn join(&self, identity: Identity, address: String, logs: &[LogKey]) -> Result<(), StartError> {
        let Identity { cluster, node, uuid } = identity;
        let registration = NodeRegistration { node, uuid, address, peer_address: String::new(), rack: String::new() };
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

/// Gives a new group its first member, and waits until the group can be asked.
async fn until_it_serves(replica: &Replica, node: NodeId, failures: &Failures) -> Result<(), StartError> {
    if !replica.is_initialized().await.map_err(group_failed)? {
        replica.initialize(&[node]).await.map_err(group_failed)?;
    }
    tokio::select! {
        served = replica.wait_until_serving() => served.map_err(group_failed),
        // A disk that fails now would only be noticed by the silence.
        failure = failures.first() => Err(StartError::Failed(failure)),
        () = tokio::time::sleep(LEADER_PATIENCE) => Err(StartError::NoController { seconds: LEADER_PATIENCE.as_secs() }),
    }
}

fn group_failed(cause: ReplicaError) -> StartError {
    StartError::Group { of: GroupName::Metadata, cause: Box::new(cause) }
}
