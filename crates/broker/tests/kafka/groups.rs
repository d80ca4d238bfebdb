//! Groups by the classic protocol, each API in every version, and a whole life of one.

use std::thread;

use bytes::Bytes;
use highwater_broker::front::kafka::api::Api;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    CreateTopicsRequest, DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, GroupId, HeartbeatRequest,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest,
    OffsetDeleteRequest, OffsetFetchRequest, SyncGroupRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::harness::{Client, Fixture, text};

fn group(name: &str) -> GroupId {
    GroupId(text(name))
}

/// A member of consumers that read `orders`.
fn join(name: &str, member: &StrBytes) -> JoinGroupRequest {
    let metadata = [&[0, 1][..], &[0, 0, 0, 1], &[0, 6], b"orders", &[0xff; 4], &[0; 4]].concat();
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(Bytes::from(metadata));
    JoinGroupRequest::default()
        .with_group_id(group(name))
        .with_member_id(member.clone())
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(10_000)
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

/// Joins, with a second try where an id has to be known first.
fn joined(client: &mut Client, version: i16, name: &str) -> JoinGroupResponse {
    let first = client.call(version, &join(name, &StrBytes::default()));
    if version < 4 {
        assert_eq!(first.error_code, 0, "version {version}");
        return first;
    }
    assert_eq!(first.error_code, 79, "version {version}");
    client.call(version, &join(name, &first.member_id))
}

fn commit(name: &str, member: &JoinGroupResponse, partition: i32, offset: i64) -> OffsetCommitRequest {
    let one = OffsetCommitRequestPartition::default().with_partition_index(partition).with_committed_offset(offset);
    let one = one.with_committed_metadata(Some(text("note"))).with_committed_leader_epoch(0);
    let topic = OffsetCommitRequestTopic::default().with_name(TopicName(text("orders"))).with_partitions(vec![one]);
    OffsetCommitRequest::default()
        .with_group_id(group(name))
        .with_generation_id_or_member_epoch(member.generation_id)
        .with_member_id(member.member_id.clone())
        .with_topics(vec![topic])
}

/// The offset of one partition, and the codes beside it.
fn offset(client: &mut Client, version: i16, name: &str, partition: i32) -> (i64, i16) {
    let orders = TopicName(text("orders"));
    let request = match version >= 8 {
        true => {
            let topic = OffsetFetchRequestTopics::default().with_name(orders).with_partition_indexes(vec![partition]);
            let asked = OffsetFetchRequestGroup::default().with_group_id(group(name)).with_topics(Some(vec![topic]));
            OffsetFetchRequest::default().with_groups(vec![asked])
        }
        false => {
            let topic = OffsetFetchRequestTopic::default().with_name(orders).with_partition_indexes(vec![partition]);
            OffsetFetchRequest::default().with_group_id(group(name)).with_topics(Some(vec![topic]))
        }
    };
    let answer = client.call(version, &request);
    if version >= 8 {
        let found = &answer.groups[0].topics[0].partitions[0];
        return (found.committed_offset, found.error_code + answer.groups[0].error_code);
    }
    let found = &answer.topics[0].partitions[0];
    (found.committed_offset, found.error_code + answer.error_code)
}

/// Deletes offsets; the code of the whole, and of each partition.
fn forget(client: &mut Client, name: &str, partitions: &[i32]) -> (i16, Vec<i16>) {
    let one = |number: &i32| OffsetDeleteRequestPartition::default().with_partition_index(*number);
    let topic = OffsetDeleteRequestTopic::default().with_name(TopicName(text("orders")));
    let topic = topic.with_partitions(partitions.iter().map(one).collect());
    let answer = client.call(0, &OffsetDeleteRequest::default().with_group_id(group(name)).with_topics(vec![topic]));
    let codes = answer.topics.iter().flat_map(|topic| &topic.partitions).map(|one| one.error_code);
    (answer.error_code, codes.collect())
}

/// Asks one API in one version, with what has to be there before it.
pub(crate) fn ask(client: &mut Client, api: Api, version: i16) {
    let name = format!("{}-{version}", api.name());
    match api {
        Api::FindCoordinator => {
            let request = match version >= 4 {
                true => FindCoordinatorRequest::default().with_coordinator_keys(vec![text(&name)]),
                false => FindCoordinatorRequest::default().with_key(text(&name)),
            };
            let answer = client.call(version, &request);
            let (code, node) = match version >= 4 {
                true => (answer.coordinators[0].error_code, answer.coordinators[0].node_id),
                false => (answer.error_code, answer.node_id),
            };
            assert_eq!((code, node.0), (0, 1), "version {version}");
        }
        Api::JoinGroup => {
            let joined = joined(client, version, &name);
            assert_eq!((joined.error_code, joined.generation_id, joined.members.len()), (0, 1, 1), "version {version}");
            assert_eq!(joined.leader, joined.member_id);
        }
        Api::SyncGroup | Api::Heartbeat | Api::LeaveGroup | Api::OffsetCommit => of_member(client, api, version, &name),
        Api::OffsetFetch => {
            assert_eq!(offset(client, version, &name, 1), (-1, 0), "nothing was read, and that is well")
        }
        Api::ListGroups => {
            joined(client, 9, &name);
            let answer = client.call(version, &ListGroupsRequest::default());
            assert_eq!(answer.error_code, 0);
            assert!(answer.groups.iter().any(|listed| listed.group_id.0.as_str() == name), "version {version}");
        }
        Api::DescribeGroups => {
            joined(client, 9, &name);
            let request = DescribeGroupsRequest::default().with_groups(vec![group(&name), group("absent")]);
            let answer = client.call(version, &request);
            assert_eq!((answer.groups[0].error_code, answer.groups[0].members.len()), (0, 1), "version {version}");
            let absent = &answer.groups[1];
            assert_eq!((absent.error_code, absent.group_state.as_str()), (if version >= 6 { 69 } else { 0 }, "Dead"));
        }
        Api::DeleteGroups => {
            let request = DeleteGroupsRequest::default().with_groups_names(vec![group("absent")]);
            assert_eq!(client.call(version, &request).results[0].error_code, 69);
        }
        Api::OffsetDelete => {
            let nobody = JoinGroupResponse::default().with_generation_id(-1);
            client.call(8, &commit(&name, &nobody, 1, 5));
            assert_eq!(forget(client, &name, &[1, 9]), (0, vec![0, 3]));
            assert_eq!(offset(client, 8, &name, 1), (-1, 0));
        }
        other => panic!("{} is not about groups", other.name()),
    }
}

/// What only a member may ask.
fn of_member(client: &mut Client, api: Api, version: i16, name: &str) {
    let me = joined(client, 9, name);
    let sync = |generation| {
        let given = SyncGroupRequestAssignment::default().with_member_id(me.member_id.clone());
        SyncGroupRequest::default()
            .with_group_id(group(name))
            .with_generation_id(generation)
            .with_member_id(me.member_id.clone())
            .with_protocol_type(Some(text("consumer")))
            .with_protocol_name(Some(text("range")))
            .with_assignments(vec![given.with_assignment(Bytes::from_static(b"all"))])
    };
    match api {
        Api::SyncGroup => {
            assert_eq!(client.call(version, &sync(7)).error_code, 22, "another generation");
            let synced = client.call(version, &sync(me.generation_id));
            assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"all"[..]), "version {version}");
        }
        Api::Heartbeat => {
            client.call(5, &sync(me.generation_id));
            let beat = HeartbeatRequest::default().with_group_id(group(name)).with_generation_id(me.generation_id);
            assert_eq!(client.call(version, &beat.clone().with_member_id(me.member_id.clone())).error_code, 0);
            assert_eq!(client.call(version, &beat.with_member_id(text("other"))).error_code, 25);
        }
        Api::LeaveGroup => {
            let gone = MemberIdentity::default().with_member_id(me.member_id.clone());
            let leave = LeaveGroupRequest::default().with_group_id(group(name));
            let leave = match version >= 3 {
                true => leave.with_members(vec![gone]),
                false => leave.with_member_id(me.member_id.clone()),
            };
            assert_eq!(client.call(version, &leave).error_code, 0, "version {version}");
        }
        _ => {
            client.call(5, &sync(me.generation_id));
            let answer = client.call(version, &commit(name, &me, 1, 5));
            assert_eq!(answer.topics[0].partitions[0].error_code, 0, "version {version}");
            let absent = client.call(version, &commit(name, &me, 9, 5));
            assert_eq!(absent.topics[0].partitions[0].error_code, 3);
            assert_eq!(offset(client, 8, name, 1), (5, 0));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_members_share_a_group_and_one_leaves() {
    let fixture = Fixture::new().await;
    let address = fixture.address();
    let run = move |mut first: Client| {
        let topic = CreatableTopic::default().with_name(TopicName(text("orders")));
        let topic = topic.with_num_partitions(2).with_replication_factor(1);
        first.call(7, &CreateTopicsRequest::default().with_topics(vec![topic]));
        let one = joined(&mut first, 9, "shared");
        assert_eq!(one.generation_id, 1);
        // The second waits until the first has joined again.
        let second = thread::spawn(move || {
            let mut second = Client::connect(address);
            let two = joined(&mut second, 9, "shared");
            (second, two)
        });
        let beat = HeartbeatRequest::default().with_group_id(group("shared")).with_generation_id(1);
        let beat = beat.with_member_id(one.member_id.clone());
        while first.call(4, &beat).error_code != 27 {
            thread::sleep(std::time::Duration::from_millis(20));
        }
        let one = first.call(9, &join("shared", &one.member_id));
        let (mut second, two) = second.join().unwrap();
        assert_eq!((one.generation_id, two.generation_id, one.leader == two.leader), (2, 2, true));
        assert_eq!(one.members.len() + two.members.len(), 2, "only who assigns is told the members");
        let leave = MemberIdentity::default().with_member_id(two.member_id.clone());
        let leave = LeaveGroupRequest::default().with_group_id(group("shared")).with_members(vec![leave]);
        assert_eq!(second.call(5, &leave).error_code, 0);
        let busy = DeleteGroupsRequest::default().with_groups_names(vec![group("shared")]);
        assert_eq!(first.call(2, &busy).results[0].error_code, 68, "one is left");
    };
    fixture.client(run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_are_forgotten_where_no_member_reads() {
    let fixture = Fixture::new().await;
    let run = |mut client: Client| {
        let topic = CreatableTopic::default().with_name(TopicName(text("orders")));
        let topic = topic.with_num_partitions(2).with_replication_factor(1);
        client.call(7, &CreateTopicsRequest::default().with_topics(vec![topic]));
        assert_eq!(forget(&mut client, "absent", &[0]), (69, vec![]));
        assert_eq!(forget(&mut client, "", &[0]), (24, vec![]));
        let me = joined(&mut client, 9, "readers");
        assert_eq!(forget(&mut client, "readers", &[1, 9]), (0, vec![86, 3]), "a member reads it");
        let leave = MemberIdentity::default().with_member_id(me.member_id.clone());
        let leave = LeaveGroupRequest::default().with_group_id(group("readers")).with_members(vec![leave]);
        assert_eq!(client.call(5, &leave).error_code, 0);
        let nobody = JoinGroupResponse::default().with_generation_id(-1);
        for partition in [0, 1] {
            client.call(8, &commit("readers", &nobody, partition, 5));
        }
        assert_eq!(forget(&mut client, "readers", &[1]), (0, vec![0]));
        assert_eq!((offset(&mut client, 8, "readers", 0), offset(&mut client, 8, "readers", 1)), ((5, 0), (-1, 0)));
        assert_eq!(forget(&mut client, "readers", &[1]), (0, vec![0]), "what is not there is deleted");
        // What members of another kind read, nobody knows.
        let other = |member: &StrBytes| join("others", member).with_protocol_type(text("connect"));
        let first = client.call(9, &other(&StrBytes::default()));
        assert_eq!(client.call(9, &other(&first.member_id)).error_code, 0);
        assert_eq!(forget(&mut client, "others", &[0]), (68, vec![]));
    };
    fixture.client(run).await;
}
