//! Groups for operators: list, describe with lag, seek, delete, fence, and offsets without members.

use highwater_proto::v1::seek_target::To;
use highwater_proto::v1::{self, ErrorCode};

use super::client::{commit, filled, open};
use crate::harness::{TOPIC, at, at_end, at_start, code};

fn target(to: To) -> v1::SeekTarget {
    v1::SeekTarget { topic: TOPIC.to_owned(), partition: None, to: Some(to) }
}

fn seek(to: To) -> v1::SeekGroupRequest {
    v1::SeekGroupRequest { group: "readers".to_owned(), targets: vec![target(to)], ..Default::default() }
}

/// Partition 0 as it was and as it is to be.
fn change(response: tonic::Response<v1::SeekGroupResponse>) -> (Option<i64>, i64) {
    let changes = response.into_inner().changes;
    assert_eq!(changes.len(), 2, "every partition is named");
    (changes[0].from, changes[0].to)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_tells_who_reads_what_and_how_far_it_is_behind() {
    let fixture = filled().await;
    assert!(
        fixture.groups().list_groups(v1::ListGroupsRequest::default()).await.unwrap().into_inner().groups.is_empty()
    );
    assert_eq!(code(&fixture.describe("readers").await.unwrap_err()), ErrorCode::UnknownGroup);
    let (mut session, _) = fixture.placed(open("readers")).await;
    session.commit(1, vec![commit(0, 4)]).await;
    let group = fixture.describe("readers").await.unwrap();
    assert_eq!((group.state(), group.protocol_type.as_str()), (v1::GroupState::Stable, "highwater"));
    assert_eq!(group.members.len(), 1);
    assert_eq!((group.members[0].client_id.as_str(), group.members[0].host.as_str()), ("test", "127.0.0.1"));
    let [read, unread] = &group.offsets[..] else { panic!("{:?}", group.offsets) };
    assert_eq!((read.offset, read.log_end, read.lag_records), (Some(4), Some(10), Some(6)));
    assert!(read.lag_ms.unwrap() > 1_000_000, "the records say that they are from 1970: {read:?}");
    assert_eq!((unread.offset, unread.lag_records, unread.lag_ms), (None, Some(0), Some(0)));
    assert!(group.offsets.iter().all(|offset| offset.member_id == session.member));
    let listed = fixture.groups().list_groups(v1::ListGroupsRequest::default()).await.unwrap().into_inner().groups;
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].group.as_str(), listed[0].members), ("readers", 1));
    session.leave().await;
    let empty = v1::ListGroupsRequest { states: vec![v1::GroupState::Empty.into()], ..Default::default() };
    assert_eq!(fixture.groups().list_groups(empty).await.unwrap().into_inner().groups.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_sent_to_any_place_when_nobody_reads_or_by_force() {
    let fixture = filled().await;
    let (mut session, _) = fixture.placed(open("readers")).await;
    session.commit(1, vec![commit(0, 4)]).await;
    let refused = fixture.groups().seek_group(seek(To::Position(at_start()))).await.unwrap_err();
    assert_eq!(code(&refused), ErrorCode::GroupNotEmpty);
    let dry = v1::SeekGroupRequest { validate_only: true, ..seek(To::Shift(3)) };
    let refused = fixture.groups().seek_group(dry.clone()).await.unwrap_err();
    assert_eq!(code(&refused), ErrorCode::InvalidRequest, "there is no offset in partition 1 to go on from");
    let only = v1::SeekTarget { partition: Some(0), ..target(To::Shift(3)) };
    let dry = v1::SeekGroupRequest { targets: vec![only], ..dry };
    let changes = fixture.groups().seek_group(dry).await.unwrap().into_inner().changes;
    assert_eq!((changes.len(), changes[0].from, changes[0].to), (1, Some(4), 7));
    assert_eq!(fixture.committed("readers").await, [(0, 4)], "nothing was changed");
    let forced = v1::SeekGroupRequest { force: true, ..seek(To::Position(at(2))) };
    assert_eq!(change(fixture.groups().seek_group(forced).await.unwrap()), (Some(4), 2));
    let ended = session.end().await.expect("its generation is over");
    assert_eq!(code(&ended), ErrorCode::IllegalGeneration);
    let (session, assigned) = fixture.placed(open("readers")).await;
    assert_eq!(assigned[0], (0, 2), "the group goes on there");
    session.leave().await;
    for (to, expected) in [(To::Position(at_end()), 10), (To::Position(at(1_000)), 10), (To::Shift(-100), 0)] {
        let (_, now) = change(fixture.groups().seek_group(seek(to)).await.unwrap());
        assert_eq!(now, expected);
    }
    let unknown = v1::SeekTarget { topic: "nothing".to_owned(), partition: None, to: Some(To::Shift(1)) };
    let request = v1::SeekGroupRequest { group: "readers".to_owned(), targets: vec![unknown], ..Default::default() };
    assert_eq!(code(&fixture.groups().seek_group(request).await.unwrap_err()), ErrorCode::UnknownTopic);
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_without_members_are_deleted_and_members_thrown_out() {
    let fixture = filled().await;
    let (mut session, _) = fixture.placed(open("readers")).await;
    session.commit(1, vec![commit(0, 4)]).await;
    let delete = v1::DeleteGroupRequest { group: "readers".to_owned() };
    assert_eq!(code(&fixture.groups().delete_group(delete.clone()).await.unwrap_err()), ErrorCode::GroupNotEmpty);
    let fence = v1::FenceMemberRequest { group: "readers".to_owned(), member_id: session.member.clone() };
    fixture.groups().fence_member(fence.clone()).await.unwrap();
    assert_eq!(code(&fixture.groups().fence_member(fence).await.unwrap_err()), ErrorCode::UnknownMember);
    session.ask(v1::session_request::Kind::Heartbeat(v1::SessionHeartbeat {})).await;
    assert_eq!(code(&session.end().await.unwrap()), ErrorCode::UnknownMember);
    fixture.groups().delete_group(delete.clone()).await.unwrap();
    assert_eq!(code(&fixture.groups().delete_group(delete).await.unwrap_err()), ErrorCode::UnknownGroup);
    let (_, assigned) = fixture.placed(open("readers")).await;
    assert_eq!(assigned, [(0, 0), (1, 0)], "its offsets are gone with it");
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_are_no_members_commit_while_there_are_none() {
    let fixture = filled().await;
    let request = |offsets| v1::CommitOffsetsRequest { group: "readers".to_owned(), offsets };
    let foreign = v1::OffsetCommit { topic: "nothing".to_owned(), ..commit(0, 1) };
    let offsets = vec![commit(0, 3), commit(0, 11), commit(7, 0), foreign];
    let refused = fixture.groups().commit_offsets(request(offsets)).await.unwrap().into_inner().refused;
    let codes: Vec<_> = refused.iter().map(|refused| refused.error.as_ref().unwrap().code()).collect();
    assert_eq!(codes, [ErrorCode::OffsetOutOfRange, ErrorCode::UnknownPartition, ErrorCode::UnknownTopic]);
    assert_eq!(fixture.committed("readers").await, [(0, 3)]);
    let (session, _) = fixture.placed(open("readers")).await;
    let refused = fixture.groups().commit_offsets(request(vec![commit(0, 5)])).await.unwrap_err();
    assert_eq!(code(&refused), ErrorCode::GroupNotEmpty);
    session.leave().await;
    let delete = v1::DeleteOffsetsRequest {
        group: "readers".to_owned(),
        partitions: vec![v1::PartitionName { topic: TOPIC.to_owned(), partition: 0 }],
    };
    fixture.groups().delete_offsets(delete).await.unwrap();
    assert!(fixture.committed("readers").await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_metrics_shows_how_far_groups_are_behind() {
    let fixture = filled().await;
    let (mut session, _) = fixture.placed(open("readers")).await;
    session.commit(1, vec![commit(0, 4)]).await;
    let labels = format!("{{group=\"readers\",topic=\"{TOPIC}\",partition=\"0\"}}");
    // A page does not wait for a log that answers slowly; the next one may have it.
    let page = crate::http::page_with(&fixture, &format!("highwater_group_lag_records{labels}")).await;
    assert_eq!(page[&format!("highwater_group_lag_records{labels}")], 6.0);
    assert_eq!(page[&format!("highwater_group_committed_offset{labels}")], 4.0);
    assert!(page[&format!("highwater_group_lag_seconds{labels}")] > 1_000.0, "the records say that they are from 1970");
    assert_eq!(page["highwater_group_members{group=\"readers\"}"], 1.0);
    assert_eq!((page["highwater_groups"], page["highwater_group_partitions_omitted"]), (1.0, 0.0));
}
