//! The shepherd: what the leader of a group does so that the group becomes what the image says.
//!
//! Owns: one task a node. For every partition that this node leads: make the nodes that shall hold it the members of its
//! group, tell the controller when that is done, and hand the leadership to a node that should have it. On the way down:
//! hand over everything.
//!
//! Never: decides where a partition should be; the image says so. Never: changes members by an image that is not the
//! newest, because a node may by now have deleted what an older image gave it.
//!
//! ```text
//!   image: 1,2,3 > 1,2,4     members 1,2,3 ─► 4 learns ─► joint change ─► members 1,2,4 ─► FinishMove ─► image: 1,2,4
//! ```
//!
//! Invariants:
//! - `FinishMove` is sent only after the members were committed as exactly the target, and names the generation of the
//!   assignment that was carried out.
//! - A bounded number of groups is worked on at a time; each by one errand.

mod errands;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, stream};
use highwater_metadata::{Assignment, Command, Leading, Member, MetadataImage, NodeState, better_leader};
use highwater_types::{NodeId, TopicPartition};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::controller::ControllerHandle;
use crate::raft::{Replica, ReplicaStatus};
use crate::router::OpenPartitions;

use errands::{Errand, Memory};

/// The pause between two looks at all groups, unless something changes before.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The least pause between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// How many groups are worked on at a time.
const ERRANDS_MAX: usize = 8;

/// How many groups are handed over at a time when the node stops.
const HAND_OVERS_MAX: usize = 32;

/// How long the controller is asked whether the image is the newest.
const CONFIRM_PATIENCE: Duration = Duration::from_secs(2);

/// A replica that lacks no more entries than this is in sync.
pub(crate) const IN_SYNC_ENTRIES: u64 = 1_024;

/// A replica that answered no longer ago than this is in sync.
pub(crate) const IN_SYNC_MS: u64 = 2_000;

/// Looks after the groups that this node leads.
#[derive(Debug)]
pub(crate) struct Shepherd {
    node: NodeId,
    controller: ControllerHandle,
    /// The metadata group.
    metadata: Replica,
    partitions: watch::Receiver<OpenPartitions>,
    clock: Clock,
    is_stopping: AtomicBool,
}

impl Shepherd {
    pub(crate) fn new(
        controller: ControllerHandle,
        metadata: Replica,
        partitions: watch::Receiver<OpenPartitions>,
        clock: Clock,
    ) -> Arc<Self> {
        let (node, is_stopping) = (metadata.node(), AtomicBool::new(false));
        Arc::new(Self { node, controller, metadata, partitions, clock, is_stopping })
    }

    /// Looks after the groups until `stop`.
    pub(crate) async fn run(self: Arc<Self>, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let (mut images, mut partitions) = (self.controller.image(), self.partitions.clone());
        let (mut memory, mut busy) = (Memory::default(), BTreeSet::new());
        let mut under_way = FuturesUnordered::new();
        loop {
            let image = Arc::clone(&images.borrow_and_update());
            partitions.mark_unchanged();
            for errand in errands::look(&self, &image, &mut memory, &busy, ERRANDS_MAX - under_way.len()) {
                busy.insert(errand.partition);
                under_way.push(self.carry_out(errand));
            }
            let news = async {
                tokio::time::sleep(LOOK_PAUSE).await;
                // A sender that is gone is a node that stops, and `stop` says so.
                tokio::select! {
                    _ = images.changed() => {}
                    _ = partitions.changed() => {}
                    () = tokio::time::sleep(LOOK_INTERVAL) => {}
                }
            };
            tokio::pin!(news);
            loop {
                tokio::select! {
                    biased;
                    () = &mut stop => return,
                    Some(done) = under_way.next(), if !under_way.is_empty() => drop(busy.remove(&done)),
                    () = &mut news => break,
                }
            }
        }
    }

    /// Hands over the leadership of every group that another node can lead, and takes none again. Returns how many
    /// groups this node still leads although others could have taken them.
    pub(crate) async fn hand_over_all(&self, patience: Duration) -> usize {
        self.is_stopping.store(true, Ordering::Relaxed);
        let deadline = self.clock.instant() + patience;
        loop {
            let image = Arc::clone(&self.controller.image().borrow());
            let left = self.to_hand_over(&image);
            if left.is_empty() || self.clock.instant() >= deadline {
                return left.len();
            }
            stream::iter(left)
                .for_each_concurrent(HAND_OVERS_MAX, |(replica, to)| async move {
                    if let Err(error) = replica.transfer_leader(to).await {
                        tracing::debug!(group = replica.group(), %to, %error, "not handed over");
                    }
                })
                .await;
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// The groups that this node leads and another could, the metadata group last: the others' moves need it.
    fn to_hand_over(&self, image: &MetadataImage) -> Vec<(Replica, NodeId)> {
        let mut left = Vec::new();
        for (id, handle) in self.partitions.borrow().iter() {
            let replica = handle.replica();
            if let Some(held) = image.assignment(*id).filter(|_| replica.leadership().borrow().is_leader)
                && let Some(to) = self.better(image, held, &replica.status())
            {
                left.push((replica.clone(), to));
            }
        }
        left.extend(self.better_controller(image).map(|to| (self.metadata.clone(), to)));
        left
    }

    /// Who should lead the partition instead of this node.
    fn better(&self, image: &MetadataImage, held: &Assignment, status: &ReplicaStatus) -> Option<NodeId> {
        let in_sync = in_sync(status);
        let is_stopping = self.is_stopping.load(Ordering::Relaxed);
        better_leader(image, held, Leading { leader: self.node, in_sync: &in_sync, is_stopping })
    }

    /// Who should lead the metadata group instead of this node, which leads it and is to be spared, or stops.
    fn better_controller(&self, image: &MetadataImage) -> Option<NodeId> {
        if !self.metadata.leadership().borrow().is_leader {
            return None;
        }
        let is_spared = image.member(self.node).is_some_and(|member| member.state != NodeState::Active);
        if !is_spared && !self.is_stopping.load(Ordering::Relaxed) {
            return None;
        }
        let is_ready = |node: &NodeId| *node != self.node && image.member(*node).is_some_and(Member::is_ready);
        in_sync(&self.metadata.status()).into_iter().find(is_ready)
    }

    /// Does one errand; returns whose it was.
    async fn carry_out(&self, errand: Errand) -> TopicPartition {
        let Errand { partition, replica, generation, what } = errand;
        let group = replica.group().to_owned();
        match what {
            errands::What::Lead { to } => match replica.transfer_leader(to).await {
                Ok(()) => tracing::info!(group, %to, "handed over the leadership"),
                Err(error) => tracing::debug!(group, %to, %error, "the leadership was not handed over; trying again"),
            },
            errands::What::Members { voters, is_move } => {
                if !self.controller.has_newest_image(CONFIRM_PATIENCE).await {
                    tracing::debug!(group, "the controller does not confirm the image; trying again");
                    return partition;
                }
                let mut images = self.controller.image();
                let of = |image: &MetadataImage| image.assignment(partition).map(|held| held.generation);
                if of(&images.borrow()) != Some(generation) {
                    return partition;
                }
                let changed = tokio::select! {
                    changed = replica.change_members(&voters) => changed,
                    _ = images.wait_for(|image| of(image) != Some(generation)) => return partition,
                };
                match changed {
                    Ok(()) if is_move => self.finish(partition, generation, &group).await,
                    Ok(()) => tracing::info!(group, ?voters, "changed the members"),
                    Err(error) => tracing::info!(group, ?voters, %error, "the members are not changed yet"),
                }
            }
            errands::What::Finish => self.finish(partition, generation, &group).await,
        }
        partition
    }

    async fn finish(&self, partition: TopicPartition, generation: u32, group: &str) {
        match self.controller.submit(Command::FinishMove { partition, generation }).await {
            Ok(_) => tracing::info!(group, "moved"),
            Err(error) => tracing::info!(group, %error, "the controller does not know yet that the move is done"),
        }
    }
}

/// The voters that have nearly everything and answered lately, without the leader itself.
pub(crate) fn in_sync(status: &ReplicaStatus) -> BTreeSet<NodeId> {
    let is_in_sync = |peer: &&crate::raft::PeerProgress| {
        peer.is_voter
            && status.lag_of(peer).is_some_and(|lag| lag <= IN_SYNC_ENTRIES)
            && peer.heard_ms.is_some_and(|heard| heard <= IN_SYNC_MS)
    };
    status.peers.iter().filter(is_in_sync).map(|peer| peer.node).collect()
}

/// The groups that are open here, by id.
fn by_id(partitions: &OpenPartitions) -> BTreeMap<TopicPartition, Replica> {
    partitions.iter().map(|(id, handle)| (*id, handle.replica().clone())).collect()
}
