//! Three replicas of one group over the network in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use highwater_storage::{EntryKind, Log, LogOptions, RetentionPolicy};
use highwater_types::{ClusterId, NodeId, NodeUuid, Offset};
use tokio::time::timeout;

use super::rig::{KEY, Rig, Seen, batch};
use crate::peer::{Hello, MemoryNetwork, Peers};
use crate::raft::{PeerNetwork, Replica, ReplicaSpec};

pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// One node with one replica.
pub(super) struct Member {
    pub(super) address: String,
    pub(super) node: NodeId,
    pub(super) rig: Rig,
    pub(super) log: Log,
    pub(super) seen: Seen,
    pub(super) peers: Peers,
    pub(super) replica: Replica,
}

pub(super) struct Cluster {
    pub(super) network: MemoryNetwork,
    pub(super) members: Vec<Member>,
}

fn address(node: u64) -> String {
    format!("node-{node}:7401")
}

async fn member(network: &MemoryNetwork, number: u64) -> Member {
    let mut rig = Rig::new();
    rig.options = LogOptions { segment_bytes_max: 4_096, ..LogOptions::default() };
    member_on(rig, network, number).await
}

/// A node that goes on with what is on its disk.
async fn member_on(rig: Rig, network: &MemoryNetwork, number: u64) -> Member {
    let node = NodeId::new(number);
    let uuid = NodeUuid::from_bytes([u8::try_from(number).unwrap(); 16]);
    let me = Hello { cluster: Some(ClusterId::from_bytes([1; 16])), node: Some(node), uuid };
    let address = address(number);
    let peers = Peers::new(Arc::new(network.transport(&address)), me, rig.clock.clone());
    network.listen(&address, Arc::new(peers.clone()));
    let (log, _) = crate::raft::open_log(&rig.data, KEY, &rig.options, "test", true).unwrap();
    let seen = Seen::default();
    let spec = rig.spec(log.clone(), seen.clone());
    let network = PeerNetwork::new(peers.clone());
    tokio::spawn(network.clone().keep_pulse(rig.clock.clone(), std::future::pending()));
    let replica = Replica::open(ReplicaSpec { node, network, ..spec }).await.unwrap();
    Member { address, node, rig, log, seen, peers, replica }
}

impl Cluster {
    pub(super) async fn start() -> Self {
        Self::start_with_spare(0).await
    }

    /// Three members, and so many nodes that are ready to become some.
    pub(super) async fn start_with_spare(spare: u64) -> Self {
        let network = MemoryNetwork::new(crate::clock::Clock::system());
        let mut cluster = Self { network, members: Vec::new() };
        for number in 1..=3 + spare {
            let member = member(&cluster.network, number).await;
            cluster.members.push(member);
        }
        cluster.introduce();
        let voters: Vec<_> = (1..=3).map(NodeId::new).collect();
        cluster.members[0].replica.initialize(&voters).await.unwrap();
        cluster
    }

    fn introduce(&self) {
        let addresses: BTreeMap<_, _> = self.members.iter().map(|m| (m.node, m.address.clone())).collect();
        self.members.iter().for_each(|member| member.peers.set_addresses(addresses.clone()));
    }

    pub(super) fn member(&self, node: NodeId) -> &Member {
        self.members.iter().find(|member| member.node == node).unwrap()
    }

    /// Stops a node; the others find nobody there. What it had on disk is what a crash leaves, or an orderly end.
    pub(super) async fn stop(&mut self, node: NodeId, is_crash: bool) -> Rig {
        let index = self.members.iter().position(|member| member.node == node).unwrap();
        let Member { address, rig, log, peers, replica, .. } = self.members.remove(index);
        self.network.vanish(&address);
        if is_crash {
            replica.stop_abruptly().await
        } else {
            replica.shutdown().await
        }
        peers.shutdown().await;
        drop((log, replica));
        if is_crash { rig.crash() } else { rig.restart() }
    }

    pub(super) async fn restart(&mut self, rig: Rig, node: NodeId) {
        let member = member_on(rig, &self.network, node.get()).await;
        self.members.push(member);
        self.introduce();
    }

    /// The member that leads, which serves, and is not among `except`.
    pub(super) async fn leader(&self, except: &[NodeId]) -> &Member {
        let search = async {
            loop {
                let serves = |member: &&Member| member.replica.leadership().borrow().serves_writes;
                let found = self.members.iter().filter(|member| !except.contains(&member.node)).find(serves);
                match found {
                    Some(member) => return member,
                    None => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        timeout(PATIENCE, search).await.expect("a leader in time")
    }

    pub(super) async fn until_committed(&self, offset: u64, nodes: impl IntoIterator<Item = NodeId>) {
        for node in nodes {
            let member = self.members.iter().find(|member| member.node == node).unwrap();
            let mut committed = member.replica.committed();
            let reached = timeout(PATIENCE, committed.wait_for(|at| at.get() >= offset)).await;
            reached.unwrap_or_else(|_| panic!("node {node} is at {:?}", member.replica)).unwrap();
        }
    }

    pub(super) fn nodes(&self) -> Vec<NodeId> {
        self.members.iter().map(|member| member.node).collect()
    }

    pub(super) async fn shutdown(self) {
        for member in &self.members {
            member.replica.shutdown().await;
            member.peers.shutdown().await;
        }
    }
}

pub(super) async fn write(leader: &Member, batches: usize) -> u64 {
    let mut end = 0;
    for _ in 0..batches {
        let ack = leader.replica.propose(EntryKind::Data, batch(2, 250, None)).await.unwrap();
        end = ack.base_offset.get() + 2;
    }
    end
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_elect_and_replicate() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader(&[]).await;
    let end = write(leader, 20).await;
    assert_eq!(end, 40);
    cluster.until_committed(end, cluster.nodes()).await;
    let expected = leader.seen.entries();
    assert_eq!(expected.len(), 20);
    assert!(cluster.members.iter().all(|member| member.seen.entries() == expected), "the same entries everywhere");
    for member in &cluster.members {
        for other in cluster.nodes().into_iter().filter(|node| *node != member.node) {
            assert!(member.peers.heard(other).is_some_and(|ago| ago < Duration::from_secs(5)), "{other}");
        }
    }
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_leader_is_replaced_and_catches_up() {
    let cluster = Cluster::start().await;
    let old = cluster.leader(&[]).await;
    let end = write(old, 5).await;
    for other in cluster.members.iter().filter(|member| member.node != old.node) {
        cluster.network.cut(&old.address, &other.address);
    }
    let new = cluster.leader(&[old.node]).await;
    assert_ne!(new.node, old.node);
    let end = end.max(write(new, 5).await);
    assert_eq!(end, 20, "nothing acknowledged was lost, and nothing was counted twice");
    cluster.network.heal_all();
    cluster.until_committed(end, [old.node]).await;
    assert_eq!(old.seen.entries(), new.seen.entries());
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_far_behind_starts_from_a_snapshot() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader(&[]).await;
    let behind = cluster.members.iter().find(|member| member.node != leader.node).unwrap();
    let others: Vec<_> = cluster.nodes().into_iter().filter(|node| *node != behind.node).collect();
    cluster.network.vanish(&behind.address);
    for other in &others {
        cluster.network.cut(&behind.address, &address(other.get()));
    }
    let leader = cluster.leader(&[behind.node]).await;
    let end = write(leader, 60).await;
    cluster.until_committed(end, others).await;
    leader.replica.maintain().await.unwrap();
    let policy = RetentionPolicy { age_ms_max: None, bytes_max: Some(8_192) };
    let committed = *leader.replica.committed().borrow();
    let boundary = leader.log.retention_boundary(&policy, leader.rig.clock.now(), committed).unwrap();
    assert!(boundary.next_offset > Offset::ZERO);
    timeout(PATIENCE, leader.replica.trim(boundary.clone()))
        .await
        .expect("a peer that is away blocks no trim")
        .unwrap();

    cluster.network.listen(&behind.address, Arc::new(behind.peers.clone()));
    cluster.network.heal_all();
    cluster.until_committed(end, [behind.node]).await;
    assert!(behind.log.state().log_start >= boundary.next_offset, "it begins where the leader's log does");
    assert_eq!(behind.seen.entries(), leader.seen.entries(), "what the snapshot brought is in its state");
    let leader = cluster.leader(&[]).await;
    let end = write(leader, 3).await;
    cluster.until_committed(end, cluster.nodes()).await;
    cluster.shutdown().await;
}

/// To the leader a frozen peer looks as if it were only slow: nothing fails by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hanging_peer_blocks_no_trim() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader(&[]).await;
    let hanging = cluster.members.iter().find(|member| member.node != leader.node).unwrap();
    write(leader, 5).await;
    for other in cluster.members.iter().filter(|member| member.node != hanging.node) {
        cluster.network.cut(&hanging.address, &other.address);
    }
    let end = write(leader, 60).await;
    leader.replica.maintain().await.unwrap();
    let policy = RetentionPolicy { age_ms_max: None, bytes_max: Some(8_192) };
    let committed = *leader.replica.committed().borrow();
    let boundary = leader.log.retention_boundary(&policy, leader.rig.clock.now(), committed).unwrap();
    timeout(Duration::from_secs(8), leader.replica.trim(boundary)).await.expect("noticed by its silence").unwrap();
    cluster.network.heal_all();
    cluster.until_committed(end, [hanging.node]).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_over_between_nodes() {
    let cluster = Cluster::start().await;
    let old = cluster.leader(&[]).await;
    let end = write(old, 5).await;
    cluster.until_committed(end, cluster.nodes()).await;
    let to = cluster.members.iter().find(|member| member.node != old.node).unwrap();
    timeout(PATIENCE, old.replica.transfer_leader(to.node)).await.unwrap().unwrap();
    let serves = |leadership: &crate::raft::Leadership| leadership.serves_writes;
    timeout(PATIENCE, to.replica.leadership().wait_for(serves)).await.unwrap().unwrap();
    assert_eq!(write(to, 1).await, end + 2);
    cluster.shutdown().await;
}
