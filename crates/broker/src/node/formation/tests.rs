//! Who gets which place, and every refusal.

use std::collections::BTreeMap;

use highwater_storage::Identity;
use highwater_types::{ClusterId, NodeId, NodeUuid};

use super::decide::{Offer, Stance, may_found, may_wait, role, take};
use super::*;

const A: &str = "a:7401";
const B: &str = "b:7401";
const C: &str = "c:7401";

fn node(own: &str, first_voters: &[&str]) -> ClusterOptions {
    let first_voters = first_voters.iter().map(|&address| address.to_owned()).collect();
    ClusterOptions { peer_address: own.to_owned(), first_voters, ..ClusterOptions::default() }
}

fn joiner() -> ClusterOptions {
    ClusterOptions { peer_address: "d:7401".to_owned(), join: vec![A.to_owned()], ..ClusterOptions::default() }
}

fn identity(cluster: u8, node: u64, uuid: u8) -> Identity {
    Identity {
        cluster: ClusterId::from_bytes([cluster; 16]),
        node: NodeId::new(node),
        uuid: NodeUuid::from_bytes([uuid; 16]),
    }
}

fn stance(options: &ClusterOptions, identity: Option<Identity>) -> Stance {
    Stance { identity, formed: None, first_voters: options.first_voters.clone() }
}

fn formed(options: &ClusterOptions, identity: Identity, nodes: &[(u64, u8)]) -> Stance {
    let nodes = nodes.iter().map(|(node, uuid)| (NodeId::new(*node), NodeUuid::from_bytes([*uuid; 16])));
    let nodes: BTreeMap<NodeId, NodeUuid> = nodes.collect();
    Stance { formed: Some(nodes), ..stance(options, Some(identity)) }
}

fn offer(cluster: u8, place: u64, first_voters: &[&str]) -> Offer {
    let first_voters = first_voters.iter().map(|&address| address.to_owned()).collect();
    Offer { cluster: ClusterId::from_bytes([cluster; 16]), place: NodeId::new(place), first_voters }
}

fn words<T: std::fmt::Debug>(result: Result<T, FormationError>) -> String {
    result.expect_err("it should be refused").to_string()
}

#[test]
fn the_first_of_the_list_makes_the_cluster() {
    let place = |own| role(&node(own, &[A, B, C])).unwrap();
    let others = vec![(NodeId::new(2), B.to_owned()), (NodeId::new(3), C.to_owned())];
    assert_eq!(place(A), Role::Founder { others });
    assert_eq!(place(B), Role::Member { place: NodeId::new(2) });
    assert_eq!(place(C), Role::Member { place: NodeId::new(3) });
    assert_eq!(role(&node(A, &[])).unwrap(), Role::Alone);
    assert_eq!(role(&node(A, &[A])).unwrap(), Role::Alone);
    assert_eq!(role(&joiner()).unwrap(), Role::Joiner);
    let text = words(role(&node("d:7401", &[A, B, C])));
    assert!(text.contains("a:7401, b:7401, c:7401") && text.contains("reached at d:7401"), "{text}");
}

#[test]
fn a_cluster_is_made_only_where_there_is_none() {
    let (founder, other) = (node(A, &[A, B, C]), node(B, &[A, B, C]));
    assert!(may_found(&founder, B, &stance(&other, None)).is_ok());
    let text = words(may_found(&founder, B, &stance(&other, Some(identity(7, 2, 2)))));
    assert!(text.contains("b:7401 took place 2") && text.contains("founder was lost"), "{text}");
    let text = words(may_found(&founder, B, &formed(&other, identity(7, 2, 2), &[(1, 1), (2, 2), (3, 3)])));
    assert!(text.starts_with("node 1 of cluster") && text.contains("another data directory"), "{text}");
    assert!(text.contains("set cluster.join"), "{text}");
    let text = words(may_found(&founder, B, &stance(&node(B, &[B, A, C]), None)));
    assert!(text.contains("[b:7401, a:7401, c:7401]") && text.contains("the same list"), "{text}");
}

#[test]
fn who_comes_back_empty_finds_its_place_taken() {
    let (own, other) = (node(B, &[A, B, C]), node(C, &[A, B, C]));
    let place = NodeId::new(2);
    assert!(may_wait(&own, place, C, &stance(&other, None)).is_ok());
    assert!(
        may_wait(&own, place, C, &stance(&other, Some(identity(7, 3, 3)))).is_ok(),
        "it was offered its place first"
    );
    let whole = formed(&other, identity(7, 3, 3), &[(1, 1), (2, 2), (3, 3)]);
    let text = words(may_wait(&own, place, C, &whole));
    assert!(text.starts_with("node 2 of cluster") && text.contains("under a new id"), "{text}");
    let alone = formed(&node(A, &[]), identity(7, 1, 1), &[(1, 1)]);
    let text = words(may_wait(&own, place, A, &alone));
    assert!(text.contains("a:7401 belongs to cluster") && text.contains("without this node"), "{text}");
}

#[test]
fn a_place_is_taken_once() {
    let own = node(B, &[A, B, C]);
    let uuid = NodeUuid::from_bytes([9; 16]);
    let taken = take(&own, None, &offer(7, 2, &[A, B, C]), uuid).unwrap();
    assert_eq!(taken, identity(7, 2, 9));
    let again = NodeUuid::from_bytes([8; 16]);
    assert_eq!(take(&own, Some(taken), &offer(7, 2, &[A, B, C]), again).unwrap(), taken, "the same offer again");
    let text = words(take(&own, Some(taken), &offer(6, 2, &[A, B, C]), again));
    assert!(text.contains("node 2") && text.contains("cannot become node 2 of cluster 06060606"), "{text}");
    assert!(words(take(&own, Some(taken), &offer(7, 3, &[A, B, C]), again)).contains("cannot become node 3"));
}

#[test]
fn a_place_is_not_taken_by_who_expects_none() {
    let uuid = NodeUuid::from_bytes([9; 16]);
    let refused = |own: &ClusterOptions, offer: &Offer| words(take(own, None, offer, uuid));
    assert!(refused(&node(B, &[]), &offer(7, 2, &[A, B, C])).contains("make a cluster of its own"));
    assert!(refused(&joiner(), &offer(7, 2, &[A, B, C])).contains("join a cluster"));
    assert!(refused(&node(A, &[A, B, C]), &offer(7, 1, &[A, B, C])).contains("make the cluster itself"));
    assert!(refused(&node(B, &[A, B, C]), &offer(7, 2, &[A, B])).contains("the same list"));
    assert!(refused(&node(B, &[A, B, C]), &offer(7, 3, &[A, B, C])).contains("the same list"));
}

#[test]
fn what_a_node_says_of_itself_survives_the_wire() {
    let options = node(B, &[A, B, C]);
    for told in [
        stance(&options, None),
        stance(&options, Some(identity(7, 2, 2))),
        formed(&options, identity(7, 2, 2), &[(1, 1), (2, 2)]),
    ] {
        assert_eq!(wire::stance(B, wire::identified(&told)).unwrap(), told);
    }
    let made = offer(7, 3, &[A, B, C]);
    assert_eq!(wire::offer(wire::found(&made)), Some(made));
    let mut cut = wire::identified(&stance(&options, Some(identity(7, 2, 2))));
    cut.uuid = bytes::Bytes::from_static(b"short");
    assert!(words(wire::stance(B, cut)).contains("b:7401 gave an answer without a whole identity"));
}
