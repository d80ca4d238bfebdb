//! What a node does for its cluster beside serving clients: it says that it lives, carries out what the image asks for
//! where it leads, answers other nodes, and hands its leaderships over before it stops.
//!
//! Owns: the tasks of the controller's steward and of the shepherd. Never: decides; the image does.

use std::sync::Arc;
use std::time::Duration;

use highwater_proto::internal::v1::control_request::Kind as Ask;
use highwater_proto::internal::v1::control_response::Kind as Answer;
use highwater_proto::internal::v1::error::Reason;
use highwater_proto::internal::v1::{Error, NodeHeartbeat, ReplicasDescribed};
use highwater_storage::Identity;
use tokio::sync::watch;

use super::inventory::Inventory;
use super::shepherd::Shepherd;
use super::supervise::Failures;
use crate::clock::Clock;
use crate::controller::{ControllerHandle, Facts};
use crate::disk_gate::DiskGate;
use crate::raft::{Members, Replica};
use crate::router::OpenPartitions;
use crate::shutdown::Shutdown;

/// The duties of this node. Clones are the same.
#[derive(Clone, Debug)]
pub struct Duties {
    controller: ControllerHandle,
    shepherd: Arc<Shepherd>,
    inventory: Inventory,
}

impl Duties {
    pub(super) fn new(
        controller: ControllerHandle,
        metadata: Replica,
        partitions: watch::Receiver<OpenPartitions>,
        clock: Clock,
    ) -> Self {
        let inventory = Inventory::new(metadata.clone(), partitions.clone());
        let shepherd = Shepherd::new(controller.clone(), metadata, partitions, clock);
        Self { controller, shepherd, inventory }
    }

    /// Starts what runs by itself, as part of `tasks`.
    pub(super) fn start(&self, identity: Identity, gate: DiskGate, tasks: &Shutdown, failures: &Failures) {
        let facts = facts(identity, gate, self.inventory.clone());
        failures.spawn_vital(tasks, "signs of life", self.controller.clone().beat(facts, tasks.requested()));
        failures.spawn_vital(tasks, "controller", self.controller.clone().tend(tasks.requested()));
        failures.spawn_vital(tasks, "shepherd", Arc::clone(&self.shepherd).run(tasks.requested()));
    }

    /// Hands over the leadership of every group that another node can lead, and takes none again. Returns how many are
    /// left of those.
    pub async fn hand_over_all(&self, patience: Duration) -> usize {
        self.shepherd.hand_over_all(patience).await
    }

    /// What this node has and how it stands: the replicas with these keys, or all.
    pub(crate) fn describe(&self, keys: &[bytes::Bytes]) -> ReplicasDescribed {
        self.inventory.describe(keys)
    }

    /// The members of the metadata group, as this node knows.
    pub(crate) fn metadata_members(&self) -> Members {
        self.inventory.metadata_members()
    }

    /// How many partitions this node leads.
    pub(crate) fn leader_count(&self) -> u32 {
        self.inventory.counts().1
    }

    /// Answers what another node asks of a running node.
    pub async fn answer(&self, request: Ask) -> Answer {
        match request {
            Ask::SubmitCommand(command) => self.controller.answer_command(command).await,
            Ask::NodeHeartbeat(beat) => self.controller.answer_heartbeat(beat),
            Ask::DescribeReplicas(asked) => Answer::ReplicasDescribed(self.inventory.describe(&asked.keys)),
            _ => {
                let message = "this node does not answer that; start the same version on all nodes".to_owned();
                Answer::Error(Error { reason: Reason::Invalid.into(), message, ..Error::default() })
            }
        }
    }
}

/// What the node tells of itself.
fn facts(identity: Identity, gate: DiskGate, inventory: Inventory) -> Facts {
    Arc::new(move || {
        let (replicas, leaders) = inventory.counts();
        NodeHeartbeat {
            node: identity.node.get(),
            uuid: bytes::Bytes::copy_from_slice(&identity.uuid.to_bytes()),
            free_bytes: gate.free_bytes(),
            total_bytes: gate.total_bytes(),
            is_disk_full: gate.check().is_err(),
            replicas,
            leaders,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    })
}
