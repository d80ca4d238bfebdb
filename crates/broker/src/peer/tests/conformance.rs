//! Both transports, the same tests.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use highwater_types::{NodeId, NodeUuid};
use tokio::time::timeout;

use super::rig::{Net, Node, PATIENCE, heartbeat, hello, two};
use crate::peer::{Frame, Hello, Lane, PeerError, Timing};

macro_rules! on_both {
    ($($test:ident)*) => {
        mod over_memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() { super::$test(super::Net::memory()).await; })*
        }
        mod over_grpc {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() { super::$test(super::Net::Grpc).await; })*
        }
    };
}

on_both! {
    requests_are_taken_in_the_order_of_their_lane
    large_payloads_arrive_whole
    bulk_that_is_stuck_does_not_keep_urgent
    failures_are_told_in_words
    what_is_in_flight_fails_when_the_peer_goes
    a_peer_that_comes_back_is_found
    strangers_are_told_why
    control_is_answered_by_node_and_by_address
    a_node_is_heard_while_its_connection_is_idle
}

async fn requests_are_taken_in_the_order_of_their_lane(net: Net) {
    let (one, two) = two(&net).await;
    let mut answers = Vec::new();
    for number in 0..2_000_u32 {
        let body = Frame::from(Bytes::from(format!("{number}")));
        let timing = if number % 3 == 0 { Timing::Soon } else { Timing::Now };
        answers.push(one.peers.send_raft(two.id(), Lane::Bulk, timing, body, PATIENCE).await.unwrap());
    }
    for (number, answer) in answers.iter_mut().enumerate() {
        let frame = timeout(PATIENCE, answer.get()).await.unwrap().unwrap();
        assert_eq!(frame, Frame::from(Bytes::from(format!("{number}"))));
    }
    let got = two.echo.got.lock().unwrap().clone();
    assert!(got.iter().map(|bytes| std::str::from_utf8(bytes).unwrap().parse::<u32>().unwrap()).eq(0..2_000));
    one.shutdown().await;
    two.shutdown().await;
}

async fn large_payloads_arrive_whole(net: Net) {
    let (one, two) = two(&net).await;
    for bytes in [15_000, 17_000, 1 << 20, 20 << 20] {
        let payload: Bytes = (0..bytes).map(|n: u32| (n % 251) as u8).collect::<Vec<_>>().into();
        let reply = one.raft(two.id(), Lane::Bulk, payload.clone()).await.unwrap();
        assert_eq!(reply, payload.slice(..100));
    }
    let too_large = one.raft(two.id(), Lane::Bulk, vec![0; 33 << 20]).await.unwrap_err();
    assert!(matches!(too_large, PeerError::TooLarge { .. }) && too_large.is_definite(), "{too_large}");
    one.shutdown().await;
    two.shutdown().await;
}

async fn bulk_that_is_stuck_does_not_keep_urgent(net: Net) {
    let (one, two) = two(&net).await;
    let mut stuck = Vec::new();
    let mut body = b"hang".to_vec();
    body.resize(1 << 20, 0);
    let body = Bytes::from(body);
    loop {
        let sent = one.peers.send_raft(two.id(), Lane::Bulk, Timing::Now, body.clone().into(), PATIENCE);
        match timeout(Duration::from_millis(300), sent).await {
            Ok(sent) => stuck.push(sent.unwrap()),
            Err(_) => break,
        }
        assert!(stuck.len() < 40, "what is in flight is bounded");
    }
    for _ in 0..100 {
        let reply = timeout(Duration::from_secs(2), one.raft(two.id(), Lane::Urgent, "vote")).await;
        assert_eq!(reply.expect("urgent is not behind bulk").unwrap(), "vote");
    }
    assert!(one.peers.is_connected(two.id()));
    one.shutdown().await;
    two.shutdown().await;
}

async fn failures_are_told_in_words(net: Net) {
    let (one, two) = two(&net).await;
    let failed = one.raft(two.id(), Lane::Urgent, "fail").await.unwrap_err();
    assert!(matches!(&failed, PeerError::Answered { reason, .. } if reason == "as asked"), "{failed}");
    let unknown = one.raft(NodeId::new(9), Lane::Urgent, "?").await.unwrap_err();
    assert_eq!(unknown, PeerError::UnknownNode { node: NodeId::new(9) });
    one.shutdown().await;
    two.shutdown().await;
}

async fn what_is_in_flight_fails_when_the_peer_goes(net: Net) {
    let (one, two) = two(&net).await;
    let mut hanging = Vec::new();
    for lane in [Lane::Bulk, Lane::Urgent, Lane::Bulk] {
        let sent = one.peers.send_raft(two.id(), lane, Timing::Now, Bytes::from("hang").into(), PATIENCE);
        hanging.push(sent.await.unwrap());
    }
    assert_eq!(one.raft(two.id(), Lane::Bulk, "last").await.unwrap(), "last");
    two.vanish();
    for answer in &mut hanging {
        let error = timeout(PATIENCE, answer.get()).await.expect("nothing waits for ever").unwrap_err();
        assert!(matches!(error, PeerError::Lost { .. }) && !error.is_definite(), "{error}");
    }
    one.shutdown().await;
    two.shutdown().await;
}

async fn a_peer_that_comes_back_is_found(net: Net) {
    let (one, two) = two(&net).await;
    one.until_connected(two.id()).await;
    two.vanish();
    let gone = async { while one.raft(two.id(), Lane::Urgent, "?").await.is_ok() {} };
    timeout(PATIENCE, gone).await.unwrap();
    let again = Node::start(&net, hello(1, 2, 2), 3).await;
    one.peers.set_addresses(BTreeMap::from([(again.id(), again.address.clone())]));
    one.until_answered(again.id()).await;
    one.shutdown().await;
    two.shutdown().await;
    again.shutdown().await;
}

async fn strangers_are_told_why(net: Net) {
    let node = Node::start(&net, hello(1, 1, 1), 1).await;
    node.peers.set_known([(NodeId::new(2), NodeUuid::from_bytes([2; 16]))].into(), BTreeSet::from([NodeId::new(3)]));
    let cases = [
        (hello(9, 2, 2), "belongs to cluster 09090909"),
        (hello(1, 2, 8), "another data directory"),
        (hello(1, 3, 3), "was removed"),
    ];
    for ((me, expected), place) in cases.into_iter().zip(10..) {
        let stranger = Node::start(&net, me, place).await;
        let refused = stranger.peers.ask_address(&node.address, heartbeat(0)).await.unwrap_err();
        assert!(matches!(refused, PeerError::Refused { .. }) && refused.is_definite(), "{refused}");
        assert!(refused.to_string().contains(expected), "{refused}");
        stranger.shutdown().await;
    }
    let other = Node::start(&net, hello(1, 4, 4), 20).await;
    other.peers.set_addresses([(NodeId::new(5), node.address.clone())].into());
    let wrong = other.raft(NodeId::new(5), Lane::Urgent, "?").await.unwrap_err();
    assert!(wrong.to_string().contains("node 1 answers there, not node 5"), "{wrong}");
    other.shutdown().await;
    node.shutdown().await;
}

async fn control_is_answered_by_node_and_by_address(net: Net) {
    let (one, two) = two(&net).await;
    one.peers.ask(two.id(), heartbeat(1)).await.unwrap();
    one.peers.ask(one.id(), heartbeat(1)).await.unwrap();
    one.peers.ask_address(&two.address, heartbeat(1)).await.unwrap();
    let nameless = Hello { cluster: None, node: None, ..hello(1, 3, 3) };
    let joiner = Node::start(&net, nameless, 3).await;
    joiner.peers.ask_address(&two.address, heartbeat(0)).await.unwrap();
    let nobody = joiner.peers.ask_address("127.0.0.1:1", heartbeat(0)).await.unwrap_err();
    assert!(matches!(nobody, PeerError::Unreachable { .. }), "{nobody}");
    joiner.shutdown().await;
    one.shutdown().await;
    two.shutdown().await;
}

async fn a_node_is_heard_while_its_connection_is_idle(net: Net) {
    let (one, two) = two(&net).await;
    one.until_connected(two.id()).await;
    tokio::time::sleep(crate::peer::SILENCE_MAX + Duration::from_millis(300)).await;
    assert!(one.peers.is_connected(two.id()), "pings keep it");
    assert!(one.peers.heard(two.id()).unwrap() < Duration::from_secs(1));
    assert_eq!(one.peers.heard(NodeId::new(9)), None);
    one.shutdown().await;
    two.shutdown().await;
}
