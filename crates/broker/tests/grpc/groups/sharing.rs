//! Members share partitions: joining, records, commits, revoking, leaving.

use highwater_proto::v1::session_request::Kind as Ask;
use highwater_proto::v1::session_response::Kind as Said;
use highwater_proto::v1::{self};

use super::client::{commit, filled, name, open, topics};
use crate::batches::batch;
use crate::harness::{TOPIC, at, at_start};

#[tokio::test(flavor = "multi_thread")]
async fn a_member_reads_commits_leaves_and_the_next_goes_on() {
    let fixture = filled().await;
    let (mut first, assigned) = fixture.placed(open("readers")).await;
    assert_eq!(assigned, [(0, 0), (1, 0)]);
    let (records, next) = first.records(0).await;
    assert_eq!((records.len(), next), (10, 10));
    let done = first.commit(1, vec![commit(0, 7)]).await;
    assert!(done.error.is_none() && done.refused.is_empty(), "{done:?}");
    assert_eq!(fixture.committed("readers").await, [(0, 7)]);
    first.leave().await;
    let (mut second, assigned) = fixture.placed(open("readers")).await;
    assert_eq!(assigned, [(0, 7), (1, 0)]);
    let (records, next) = second.records(0).await;
    assert_eq!((records.first().unwrap().as_ref(), next), (&[7_u8][..], 10));
    let (_, other) = fixture.placed(open("others")).await;
    assert_eq!(other, [(0, 0), (1, 0)], "each group reads everything");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_member_takes_a_partition_over_once_it_is_released() {
    let fixture = filled().await;
    let (mut first, _) = fixture.placed(open("readers")).await;
    first.records(0).await;
    let mut second = fixture.session(open("readers")).await;
    let revoked = first.revoked().await;
    assert_eq!(revoked.len(), 1);
    let kept = 1 - revoked[0];
    assert!(second.assigned().await.is_empty(), "nothing before it is released");
    // What was done before it is given up counts.
    let done = first.commit(1, vec![commit(revoked[0], i64::from(revoked[0] == 0) * 4)]).await;
    assert!(done.error.is_none() && done.refused.is_empty(), "{done:?}");
    first.ask(Ask::Released(v1::SessionReleased { partitions: vec![name(revoked[0])] })).await;
    let taken = second.assigned().await;
    assert_eq!(taken, [(revoked[0], i64::from(revoked[0] == 0) * 4)]);
    let done = first.commit(2, vec![commit(revoked[0], 0), commit(kept, 0)]).await;
    assert_eq!(done.refused.len(), 1, "it is another member's by now: {done:?}");
    assert_eq!(done.refused[0].error.as_ref().unwrap().code(), v1::ErrorCode::NotAssigned);
    // The one that stays takes over what the other leaves.
    first.leave().await;
    assert_eq!(second.assigned().await.iter().map(|(partition, _)| *partition).collect::<Vec<_>>(), [kept]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_broke_goes_on_where_it_was() {
    let fixture = filled().await;
    let (mut first, _) = fixture.placed(open("readers")).await;
    first.records(0).await;
    let held = vec![
        v1::HeldPartition { topic: TOPIC.to_owned(), partition: 0, position: 10 },
        v1::HeldPartition { topic: TOPIC.to_owned(), partition: 1, position: 0 },
    ];
    let again =
        v1::SessionOpen { member_id: first.member.clone(), generation: first.generation, held, ..open("readers") };
    let generation = first.generation;
    drop(first);
    let (mut second, assigned) = fixture.placed(again).await;
    assert_eq!(assigned, [(0, 10), (1, 0)], "nothing was committed, and nothing is read again");
    assert_eq!(second.generation, generation, "nobody else had to notice");
    fixture.produce(batch(&[b"new"])).await.unwrap();
    assert_eq!(second.records(0).await.0, [b"new".as_slice()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_process_died_is_missed_soon() {
    let fixture = filled().await;
    let patient = v1::SessionOpen { session_timeout_ms: 600_000, ..open("readers") };
    let (first, _) = fixture.placed(patient.clone()).await;
    drop(first);
    let (_second, assigned) = fixture.placed(patient).await;
    assert!(assigned.is_empty() || assigned.len() == 2, "{assigned:?}");
    let all_are_its = async {
        while fixture.describe("readers").await.unwrap().members.iter().all(|member| member.partitions.len() < 2) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), all_are_its)
        .await
        .expect("ten minutes are not waited for");
}

#[tokio::test(flavor = "multi_thread")]
async fn credit_pause_and_seek_hold() {
    let fixture = filled().await;
    let poor = v1::SessionOpen { credit_bytes: 1, bytes_max: 1, ..open("readers") };
    let (mut session, _) = fixture.placed(poor).await;
    assert_eq!(session.records(0).await.1, 1, "one batch runs over");
    session.ask(Ask::Pause(v1::PartitionNames { partitions: vec![name(0)] })).await;
    session.ask(Ask::Credit(v1::Credit { bytes: 1 << 20 })).await;
    let to = v1::SessionSeek { request: 9, topic: TOPIC.to_owned(), partition: 0, to: Some(at(8)) };
    session.ask(Ask::Seek(to)).await;
    let sought = session
        .next(|said| match said {
            Said::Sought(sought) => Some(sought.clone()),
            _ => None,
        })
        .await;
    assert_eq!((sought.request, sought.offset), (9, Some(8)));
    session.ask(Ask::Resume(v1::PartitionNames { partitions: vec![name(0)] })).await;
    let mut read = Vec::new();
    while read.len() < 2 {
        let (records, _) = session.records(0).await;
        read.extend(records);
    }
    assert_eq!(read, [&[8_u8][..], &[9]], "after the seek nothing from before it");
    let to = v1::SessionSeek { request: 10, topic: TOPIC.to_owned(), partition: 0, to: Some(at_start()) };
    session.ask(Ask::Seek(to)).await;
    assert_eq!(session.records(0).await.0, [&[0_u8][..]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_and_partitions_that_come_later_are_read_from_their_first_record() {
    let fixture = filled().await;
    let later = v1::SessionOpen {
        subscription: Some(v1::Subscription { topics: vec![TOPIC.to_owned()], patterns: vec!["user.*".to_owned()] }),
        reset: v1::OffsetReset::Latest.into(),
        ..open("readers")
    };
    let (mut session, assigned) = fixture.placed(later).await;
    assert_eq!(assigned, [(0, 10), (1, 0)], "only what comes from now on");
    assert_eq!(fixture.committed("readers").await, [(0, 10), (1, 0)], "for whoever comes next as well");
    let request = v1::AlterTopicRequest { name: TOPIC.to_owned(), partitions: Some(3), ..Default::default() };
    fixture.admin().alter_topic(request).await.unwrap();
    let request = crate::harness::produce(1, 2, batch(&[b"first of the added"]));
    fixture.producer().produce(request).await.unwrap();
    assert_eq!(session.records(2).await.0, [b"first of the added".as_slice()]);
    let topic = v1::CreateTopicRequest { name: "user.signed-up".to_owned(), partitions: 1, ..Default::default() };
    fixture.admin().create_topic(topic).await.unwrap();
    let produce = v1::ProduceRequest {
        topic: "user.signed-up".to_owned(),
        ..crate::harness::produce(1, 0, batch(&[b"first of the new"]))
    };
    fixture.producer().produce(produce).await.unwrap();
    let records = session
        .next(|said| match said {
            Said::Records(records) if records.topic == "user.signed-up" => records.read.clone(),
            _ => None,
        })
        .await;
    assert_eq!(crate::harness::values(&records.batches), [b"first of the new".as_slice()]);
    // And a topic that goes takes its partitions along.
    let delete = v1::DeleteTopicRequest { name: "user.signed-up".to_owned() };
    fixture.admin().delete_topic(delete).await.unwrap();
    session.revoked().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_may_read_other_topics_from_now_on() {
    let fixture = filled().await;
    let topic = v1::CreateTopicRequest { name: "invoices".to_owned(), partitions: 1, ..Default::default() };
    fixture.admin().create_topic(topic).await.unwrap();
    let (mut session, _) = fixture.placed(open("readers")).await;
    session.ask(Ask::Subscribe(topics(&["invoices"]))).await;
    let mut revoked = session.revoked().await;
    revoked.sort_unstable();
    assert_eq!(revoked, [0, 1]);
    session.ask(Ask::Released(v1::SessionReleased { partitions: vec![name(0), name(1)] })).await;
    assert_eq!(session.assigned().await, [(0, 0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_go_after_a_break_goes_and_what_stays_is_in_the_first_list() {
    let fixture = filled().await;
    let (mut first, _) = fixture.placed(open("readers")).await;
    let mut second = fixture.session(open("readers")).await;
    let revoked = first.revoked().await[0];
    assert!(second.assigned().await.is_empty());
    // The stream breaks before the partition is released.
    let held = |partition, position| v1::HeldPartition { topic: TOPIC.to_owned(), partition, position };
    let again = v1::SessionOpen {
        member_id: first.member.clone(),
        generation: first.generation,
        held: vec![held(0, 10), held(1, 0)],
        ..open("readers")
    };
    drop(first);
    let (_first, kept) = fixture.placed(again).await;
    assert_eq!(kept.iter().map(|(partition, _)| *partition).collect::<Vec<_>>(), [1 - revoked]);
    assert_eq!(second.assigned().await[0].0, revoked, "without waiting for any time-out");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_assignor_a_partition_has_one_reader() {
    for assignor in ["range", "roundrobin", "sticky", "cooperative-sticky"] {
        let fixture = filled().await;
        let with = v1::SessionOpen { assignors: vec![assignor.to_owned()], ..open("readers") };
        let (mut first, _) = fixture.placed(with.clone()).await;
        let mut second = fixture.session(with).await;
        let revoked = first.revoked().await[0];
        assert!(second.assigned().await.is_empty(), "{assignor}: it is read by the first one still");
        first.ask(Ask::Released(v1::SessionReleased { partitions: vec![name(revoked)] })).await;
        assert_eq!(second.assigned().await[0].0, revoked, "{assignor}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_reads_what_comes_begins_with_a_new_topic_at_its_first_record_whoever_reads_it() {
    let fixture = filled().await;
    let latest = v1::SessionOpen {
        subscription: Some(v1::Subscription { topics: vec![TOPIC.to_owned()], patterns: vec!["user.*".to_owned()] }),
        reset: v1::OffsetReset::Latest.into(),
        ..open("readers")
    };
    let (mut first, _) = fixture.placed(latest.clone()).await;
    let topic = v1::CreateTopicRequest { name: "user.signed-up".to_owned(), partitions: 1, ..Default::default() };
    fixture.admin().create_topic(topic).await.unwrap();
    let produce = v1::ProduceRequest {
        topic: "user.signed-up".to_owned(),
        ..crate::harness::produce(1, 0, batch(&[b"the first"]))
    };
    fixture.producer().produce(produce).await.unwrap();
    // The group goes on committing elsewhere, so that its offsets are all younger than the topic.
    for request in 1..=3 {
        let done = first.commit(request, vec![commit(0, 10), commit(1, 0)]).await;
        assert!(done.error.is_none() && done.refused.is_empty(), "{done:?}");
    }
    first.leave().await;
    let (mut second, _) = fixture.placed(latest).await;
    let records = second
        .next(|said| match said {
            Said::Records(records) if records.topic == "user.signed-up" => records.read.clone(),
            _ => None,
        })
        .await;
    assert_eq!(crate::harness::values(&records.batches), [b"the first".as_slice()]);
}
