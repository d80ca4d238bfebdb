//! A partition with three replicas, whose leader is cut off: nothing is lost, stored twice, out of order, or answered for
//! sure when it is not.

use std::collections::BTreeMap;

use highwater_types::{ClusterId, NodeUuid};
use tokio::time::timeout;

use super::*;
use crate::peer::{Hello, MemoryNetwork, Peers};

const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Member {
    pub(super) node: NodeId,
    address: String,
    peers: Peers,
    pub(super) run: Running,
}

pub(super) struct Three {
    network: MemoryNetwork,
    pub(super) members: Vec<Member>,
}

fn address(node: NodeId) -> String {
    format!("node-{node}")
}

impl Three {
    pub(super) async fn start() -> Self {
        let network = MemoryNetwork::new(Clock::system());
        let nodes: Vec<_> = (1..=3).map(NodeId::new).collect();
        let mut members = Vec::new();
        for node in nodes.iter().copied() {
            let rig = Rig::new();
            let uuid = NodeUuid::from_bytes([u8::try_from(node.get()).unwrap(); 16]);
            let me = Hello { cluster: Some(ClusterId::from_bytes([1; 16])), node: Some(node), uuid };
            let address = address(node);
            let peers = Peers::new(Arc::new(network.transport(&address)), me, rig.clock.clone());
            network.listen(&address, Arc::new(peers.clone()));
            peers.set_addresses(nodes.iter().map(|node| (*node, self::address(*node))).collect::<BTreeMap<_, _>>());
            let peer_network = PeerNetwork::new(peers.clone());
            tokio::spawn(peer_network.clone().keep_pulse(rig.clock.clone(), std::future::pending()));
            let spec = PartitionSpec {
                name: "orders-0".to_owned(),
                key: KEY,
                log: rig.log(),
                votes: Arc::clone(rig.data.votes()),
                node,
                first_voters: if node == NODE { nodes.clone() } else { Vec::new() },
                network: peer_network,
                clock: rig.clock.clone(),
                producers: ProducerLimits::default(),
                cold_reads: ColdReads::new(2),
            };
            let partition = Partition::open(spec).await.unwrap();
            let handle = partition.handle();
            let run = Running { rig, partition, handle, budget: ByteBudget::new(64 << 20) };
            members.push(Member { node, address, peers, run });
        }
        Self { network, members }
    }

    pub(super) async fn leader(&self, except: &[NodeId]) -> &Member {
        let search = async {
            loop {
                let serves = |member: &&Member| member.run.handle.leadership().serves_writes;
                match self.members.iter().filter(|member| !except.contains(&member.node)).find(serves) {
                    Some(member) => return member,
                    None => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        timeout(PATIENCE, search).await.expect("a leader in time")
    }

    fn cut_off(&self, member: &Member) {
        for other in self.members.iter().filter(|other| other.node != member.node) {
            self.network.cut(&member.address, &other.address);
        }
    }

    pub(super) async fn until_committed(&self, end: u64) {
        for member in &self.members {
            let mut committed = member.run.handle.committed();
            timeout(PATIENCE, committed.wait_for(|at| at.get() >= end)).await.expect("in time").unwrap();
        }
    }

    pub(super) async fn shutdown(self) {
        for Member { peers, run, .. } in self.members {
            drop(run.handle);
            timeout(PATIENCE, run.partition.shutdown()).await.expect("it stops");
            peers.shutdown().await;
        }
    }
}

/// The first sequence of each batch that a follower has, too.
async fn sequences(member: &Member) -> Vec<i32> {
    let all = ReadFrom { bytes_max: 8 << 20, may_follow: true, ..from_offset(0) };
    let result = member.run.handle.read(all).await.unwrap();
    let first = |bytes: &Bytes| BatchHeader::read(bytes).unwrap().producer.unwrap().first_sequence.get();
    result.batches.iter().map(first).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_cut_off_leaves_no_producer_waiting() {
    let three = Three::start().await;
    let old = three.leader(&[]).await;
    for n in 0..3 {
        old.run.append(stamped(5, 0, n, 1)).await.unwrap();
    }
    three.cut_off(old);
    let mut lost = Vec::new();
    for n in 3..8 {
        lost.push(old.run.send(stamped(5, 0, n, 1), Acks::Quorum).await);
    }
    let wait = Duration::from_secs(5);
    for ticket in lost {
        let error = timeout(wait, ticket).await.expect("in bounded time").unwrap_err();
        assert!(matches!(error, AppendError::OutcomeUnknown), "they are in its log: {error}");
    }
    let later = timeout(wait, old.run.append(stamped(5, 0, 8, 1))).await.expect("in bounded time").unwrap_err();
    assert!(matches!(later, AppendError::NotLeader { .. }), "definite: {later}");

    // The producer goes on at the new leader with what it does not know to be stored.
    let new = three.leader(&[old.node]).await;
    let mut retried = Vec::new();
    for n in 3..8 {
        retried.push(new.run.send(stamped(5, 0, n, 1), Acks::Quorum).await);
    }
    for (n, ticket) in (3..).zip(retried) {
        assert_eq!(base(&timeout(wait, ticket).await.unwrap().unwrap()), n);
    }
    let ended = old.run.handle.resolve(Position::End).await;
    assert!(matches!(ended, Err(ReadError::NotLeader { .. })), "it does not know the end: {ended:?}");
    assert!(old.run.read(3).await.is_err(), "nor whether there is more");
    assert_eq!(new.run.handle.resolve(Position::End).await.unwrap().offset, offset(8));

    three.network.heal_all();
    three.until_committed(8).await;
    for member in &three.members {
        assert_eq!(sequences(member).await, (0..8).collect::<Vec<_>>(), "once each and in order, on {}", member.node);
    }
    let again = three.leader(&[]).await;
    let ack = again.run.append(stamped(5, 0, 7, 1)).await.unwrap();
    assert!(ack.duplicate && base(&ack) == 7, "the new leader knows what was stored under the old: {ack:?}");
    three.shutdown().await;
}

/// Cuts so short that the leader only lost its lease for a moment, again and again: whatever is refused, what follows it is
/// not stored before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_flickers_keeps_the_order() {
    let three = Three::start().await;
    three.leader(&[]).await;
    let flicker = async {
        for round in 0..6_u64 {
            tokio::time::sleep(Duration::from_millis(150)).await;
            let leader = three.leader(&[]).await;
            three.cut_off(leader);
            tokio::time::sleep(Duration::from_millis(500 + 200 * (round % 4))).await;
            three.network.heal_all();
        }
    };
    let produce = async {
        let mut next = 0_i32;
        while next < 200 {
            let Ok(leader) = timeout(PATIENCE, three.leader(&[])).await else { panic!("no leader") };
            // Five in flight, to whoever seems to lead; what was not acknowledged is sent again.
            let mut sent = Vec::new();
            for n in next..next + 5 {
                sent.push(leader.run.send(stamped(7, 0, n, 1), Acks::Quorum).await);
            }
            for ticket in sent {
                match timeout(PATIENCE, ticket).await.expect("in bounded time") {
                    Ok(_) => next += 1,
                    Err(error) => {
                        assert!(error.is_retryable() || error.code() == ErrorCode::OutcomeUnknown, "{error}");
                        tokio::time::sleep(Duration::from_millis(20)).await;
                        break;
                    }
                }
            }
        }
    };
    tokio::join!(flicker, produce);
    let leader = three.leader(&[]).await;
    let end = leader.run.handle.resolve(Position::End).await.unwrap().offset.get();
    three.until_committed(end).await;
    for member in &three.members {
        let stored = sequences(member).await;
        let expected: Vec<i32> = (0..i32::try_from(stored.len()).unwrap()).collect();
        assert_eq!(stored, expected, "once each and in order, on {}", member.node);
        assert!(stored.len() >= 200);
    }
    three.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_answers_only_who_may_follow() {
    let three = Three::start().await;
    let leader = three.leader(&[]).await;
    leader.run.append(batch(4, 20, None)).await.unwrap();
    three.until_committed(4).await;
    let follower = three.members.iter().find(|member| member.node != leader.node).unwrap();
    assert!(matches!(follower.run.read(0).await, Err(ReadError::NotLeader { leader: Some(at) }) if at == leader.node));
    let waiting = ReadFrom { wait: Duration::from_secs(20), may_follow: true, ..from_offset(4) };
    let (result, _) = tokio::join!(follower.run.handle.read(waiting), leader.run.append(batch(1, 20, None)));
    assert_eq!(result.unwrap().next_offset, offset(5), "it hears of new records as they are committed");
    three.shutdown().await;
}
