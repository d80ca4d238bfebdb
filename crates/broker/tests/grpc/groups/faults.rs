//! Bad input and faults: each has a defined answer.

use highwater_proto::v1::session_request::Kind as Ask;
use highwater_proto::v1::session_response::Kind as Said;
use highwater_proto::v1::{self, ErrorCode};

use super::client::{commit, filled, open, topics};
use crate::batches::batch;
use crate::harness::{Fixture, TOPIC, code};

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_make_no_sense_are_refused_with_a_reason() {
    let fixture = filled().await;
    let bad = [
        v1::SessionOpen { group: String::new(), ..open("readers") },
        v1::SessionOpen { group: "g".repeat(250), ..open("readers") },
        v1::SessionOpen { subscription: None, ..open("readers") },
        v1::SessionOpen { subscription: Some(topics(&["__groups"])), ..open("readers") },
        v1::SessionOpen { assignors: vec!["fair".to_owned()], ..open("readers") },
        v1::SessionOpen { session_timeout_ms: 1, ..open("readers") },
        v1::SessionOpen { session_timeout_ms: u32::MAX, ..open("readers") },
    ];
    for open in bad {
        let ended = fixture.session(open.clone()).await.end().await.expect("it is refused");
        assert_eq!(code(&ended), ErrorCode::InvalidRequest, "{open:?}: {ended}");
    }
    let unknown = v1::SessionOpen { member_id: "nobody".to_owned(), ..open("readers") };
    assert_eq!(code(&fixture.session(unknown).await.end().await.unwrap()), ErrorCode::UnknownMember);
    let mut early = fixture.session(open("readers")).await;
    early.ask(Ask::Open(open("readers"))).await;
    assert_eq!(code(&early.end().await.unwrap()), ErrorCode::InvalidRequest);
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_make_no_sense_are_refused_one_by_one() {
    let fixture = filled().await;
    let (mut session, _) = fixture.placed(open("readers")).await;
    session.records(0).await;
    let foreign = v1::OffsetCommit { topic: "nothing".to_owned(), ..commit(0, 1) };
    let long = v1::OffsetCommit { metadata: "m".repeat(5_000), ..commit(1, 0) };
    let offsets = vec![commit(0, 3), commit(0, 11), commit(0, -2), commit(7, 0), foreign, long];
    let done = session.commit(1, offsets).await;
    let codes: Vec<_> = done.refused.iter().map(|refused| refused.error.as_ref().unwrap().code()).collect();
    use ErrorCode::{InvalidRequest, OffsetOutOfRange, UnknownPartition, UnknownTopic};
    assert_eq!(codes, [OffsetOutOfRange, OffsetOutOfRange, UnknownPartition, UnknownTopic, InvalidRequest]);
    assert_eq!(fixture.committed("readers").await, [(0, 3)], "the good one is done");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_member_is_out_although_its_stream_stands() {
    let fixture = filled().await;
    let (mut silent, _) = fixture.placed(open("readers")).await;
    let ended = silent.end().await.expect("six seconds of silence are too many");
    assert_eq!(code(&ended), ErrorCode::UnknownMember, "{ended}");
    let (_next, assigned) = fixture.placed(open("readers")).await;
    assert_eq!(assigned.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_does_not_release_is_out_after_its_time() {
    let fixture = filled().await;
    let stubborn = v1::SessionOpen { rebalance_timeout_ms: 1_000, session_timeout_ms: 600_000, ..open("readers") };
    let (mut first, _) = fixture.placed(stubborn.clone()).await;
    let mut second = fixture.session(stubborn).await;
    first.revoked().await;
    assert!(second.assigned().await.is_empty());
    assert_eq!(second.assigned().await.len(), 2, "it gets all that the other did not give up");
    first.ask(Ask::Heartbeat(v1::SessionHeartbeat {})).await;
    assert_eq!(code(&first.end().await.unwrap()), ErrorCode::UnknownMember);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_client_of_a_static_member_takes_its_place() {
    let fixture = filled().await;
    let named = v1::SessionOpen { instance_id: "worker-1".to_owned(), ..open("readers") };
    let (mut first, assigned) = fixture.placed(named.clone()).await;
    let (second, again) = fixture.placed(named).await;
    assert_eq!(again, assigned);
    assert_ne!(first.member, second.member);
    let done = first.requests.send(v1::SessionRequest {
        kind: Some(Ask::Commit(v1::SessionCommit { request: 1, offsets: vec![commit(0, 1)] })),
    });
    done.await.unwrap();
    assert_eq!(code(&first.end().await.unwrap()), ErrorCode::FencedInstance);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_kept_any_more_is_told_or_jumped_over_as_the_member_wants() {
    let fixture = Fixture::with_topic(&[("segment.bytes", "1MiB"), ("retention.bytes", "1MiB")]).await;
    fixture.fill(6).await;
    let start = fixture.until_the_log_begins_later().await;
    for (group, reset) in [
        ("earliest", v1::OffsetReset::Earliest),
        ("latest", v1::OffsetReset::Latest),
        ("error", v1::OffsetReset::Error),
    ] {
        let request = v1::CommitOffsetsRequest { group: group.to_owned(), offsets: vec![commit(0, 0), commit(1, 0)] };
        assert!(fixture.groups().commit_offsets(request).await.unwrap().into_inner().refused.is_empty());
        let reset = v1::SessionOpen { reset: reset.into(), bytes_max: 1, ..open(group) };
        let (mut session, _) = fixture.placed(reset).await;
        match group {
            "earliest" => assert!(session.records(0).await.1 > start),
            "latest" => {
                fixture.produce(batch(&[b"new"])).await.unwrap();
                assert_eq!(session.records(0).await.0, [b"new".as_slice()]);
            }
            _ => {
                let failed = session
                    .next(|said| match said {
                        Said::Failed(failed) => Some(failed.clone()),
                        _ => None,
                    })
                    .await;
                let error = failed.error.unwrap();
                assert_eq!((error.code(), error.valid_start), (ErrorCode::OffsetOutOfRange, Some(start)));
                let to = crate::harness::at_start();
                let to = v1::SessionSeek { request: 1, topic: TOPIC.to_owned(), partition: 0, to: Some(to) };
                session.ask(Ask::Seek(to)).await;
                assert!(session.records(0).await.1 > start, "it is read again after a seek");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_own_topic_is_nobody_elses() {
    let fixture = filled().await;
    fixture.placed(open("readers")).await;
    let listed = fixture.admin().list_topics(v1::ListTopicsRequest {}).await.unwrap().into_inner().topics;
    assert_eq!(listed.len(), 1, "it is not among the topics of users");
    let own = || "__groups".to_owned();
    let delete = fixture.admin().delete_topic(v1::DeleteTopicRequest { name: own() }).await.unwrap_err();
    let create = v1::CreateTopicRequest { name: "__mine".to_owned(), ..Default::default() };
    let create = fixture.admin().create_topic(create).await.unwrap_err();
    let produce = v1::ProduceRequest { topic: own(), ..crate::harness::produce(1, 0, batch(&[b"x"])) };
    let produce = fixture.producer().produce(produce).await.unwrap_err();
    let read = v1::ReadRequest { topic: own(), ..crate::harness::read_from(crate::harness::at_start()) };
    let read = fixture.reader().read(read).await.unwrap_err();
    for refused in [delete, create, produce, read] {
        assert_eq!(code(&refused), ErrorCode::InvalidTopicName, "{refused}");
    }
}
