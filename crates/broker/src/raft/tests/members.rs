//! Changing who belongs to a group and who leads it, and reads that no deposed leader may answer.

use std::collections::BTreeSet;
use std::time::Duration;

use highwater_storage::EntryKind;
use highwater_types::NodeId;
use tokio::time::timeout;

use super::cluster::{Cluster, PATIENCE, write};
use super::rig::batch;
use crate::raft::{MembershipError, ReadBarrierError, TransferError};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_takes_the_place_of_the_leader() {
    let cluster = Cluster::start_with_spare(1).await;
    let old = cluster.leader(&[]).await;
    let newcomer = NodeId::new(4);
    let end = write(old, 30).await;
    let mut voters: BTreeSet<NodeId> = (1..=4).map(NodeId::new).collect();
    voters.remove(&old.node);
    let others: Vec<_> = voters.iter().copied().collect();
    old.replica.change_members(&voters).await.unwrap();
    cluster.until_committed(end, others.clone()).await;
    let new = timeout(PATIENCE, cluster.leader(&[old.node])).await.unwrap();
    assert_eq!(new.replica.status().members.voters, voters);
    new.replica.change_members(&voters).await.expect("the same again is done already");
    let end = write(new, 5).await;
    assert_eq!(end, 70);
    cluster.until_committed(end, others).await;
    let status = new.replica.status();
    assert_eq!(status.members.all(), voters, "nobody is left over: {status:?}");
    assert_eq!(status.peers.len(), 2);
    assert_eq!(cluster.member(newcomer).seen.entries(), new.seen.entries());
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn learners_get_everything_and_count_for_nothing() {
    let cluster = Cluster::start_with_spare(1).await;
    let leader = cluster.leader(&[]).await;
    let learners: BTreeSet<_> = [NodeId::new(4)].into();
    leader.replica.set_learners(&learners).await.unwrap();
    let end = write(leader, 10).await;
    cluster.until_committed(end, [NodeId::new(4)]).await;
    let members = leader.replica.status().members;
    assert_eq!((members.voters.len(), members.learners), (3, learners));
    leader.replica.set_learners(&BTreeSet::new()).await.unwrap();
    assert!(leader.replica.status().members.learners.is_empty());
    let follower = cluster.members.iter().find(|member| member.node != leader.node).unwrap();
    let refused = follower.replica.set_learners(&BTreeSet::new()).await.unwrap_err();
    assert_eq!(refused, MembershipError::NotLeader { leader: Some(leader.node) });
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_over_while_records_come() {
    let cluster = Cluster::start().await;
    let old = cluster.leader(&[]).await;
    write(old, 5).await;
    let to = cluster.nodes().into_iter().find(|node| *node != old.node).unwrap();
    let follower = cluster.member(to);
    assert_eq!(
        follower.replica.transfer_leader(old.node).await,
        Err(TransferError::NotLeader { leader: Some(old.node) })
    );
    assert_eq!(old.replica.transfer_leader(NodeId::new(9)).await, Err(TransferError::NotAVoter { to: NodeId::new(9) }));
    let writes = async {
        let mut acknowledged = 0_usize;
        while let Ok(_stored) = old.replica.propose(EntryKind::Data, batch(1, 100, None)).await {
            acknowledged += 1;
        }
        acknowledged
    };
    let hand_over = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        old.replica.transfer_leader(to).await
    };
    let (acknowledged, handed_over) = tokio::join!(writes, hand_over);
    handed_over.unwrap();
    let new = cluster.leader(&[old.node]).await;
    assert_eq!(new.node, to);
    let end = new.replica.read_barrier().await.unwrap().get();
    assert!(end >= 10 + acknowledged as u64, "{end} records of {acknowledged}");
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_confirms_no_end() {
    let cluster = Cluster::start().await;
    let old = cluster.leader(&[]).await;
    let end = write(old, 5).await;
    assert_eq!(old.replica.read_barrier().await.unwrap().get(), end);
    for other in cluster.members.iter().filter(|member| member.node != old.node) {
        cluster.network.cut(&old.address, &other.address);
    }
    let refused = timeout(Duration::from_secs(5), old.replica.read_barrier()).await.expect("in bounded time");
    assert_eq!(refused, Err(ReadBarrierError::NoQuorum));
    let new = cluster.leader(&[old.node]).await;
    let end = write(new, 5).await;
    assert_eq!(new.replica.read_barrier().await.unwrap().get(), end);
    assert!(old.replica.read_barrier().await.is_err(), "it still takes itself for the leader");
    cluster.network.heal_all();
    cluster.until_committed(end, [old.node]).await;
    cluster.shutdown().await;
}
