//! The consumer against a server that a test plays: nothing twice, nothing left out, and commits only of what is done.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod scripted;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use highwater_client::{
    AssignedPartition, Client, Commit, CommitOffset, ConsumeError, Consumer, ConsumerBuilder, ErrorCode, Offset,
    PartitionId, Position, RebalanceListener, Record, TopicName, TopicPartitionName,
};
use highwater_proto::v1;
use highwater_proto::v1::session_request::Kind as Asked;
use highwater_proto::v1::session_response::Kind as Told;
use scripted::group::names;
use scripted::{Server, Session, error, eventually};

const OFTEN: Commit = Commit::Every(Duration::from_millis(20));
const SELDOM: Commit = Commit::Every(Duration::from_secs(3600));

fn offset(offset: u64) -> Offset {
    Offset::new(offset).unwrap()
}

fn name(partition: u32) -> TopicPartitionName {
    TopicPartitionName::new(TopicName::new("t").unwrap(), PartitionId::new(partition))
}

/// Fills each partition with records, ten to a batch.
async fn fill(partitions: u32, records: u32) -> (Server, Client) {
    let server = Server::start(partitions as usize).await;
    let client = server.client().request_timeout(Duration::from_secs(10)).connect().await.unwrap();
    let producer = client.producer().linger(Duration::from_secs(60)).build();
    for partition in 0..partitions {
        for number in 0..records {
            let record = Record::new(format!("{partition}:{number}")).partition(PartitionId::new(partition));
            drop(producer.send("t", record).await.unwrap());
            if number % 10 == 9 {
                producer.flush().await.unwrap();
            }
        }
    }
    producer.close().await.unwrap();
    (server, client)
}

/// Opens a consumer that the group takes in as `m-1`.
async fn open(server: &mut Server, builder: ConsumerBuilder) -> (Consumer, Session) {
    let (consumer, session) = tokio::join!(builder.topics(["t"]).open(), async {
        let session = server.next_session().await;
        session.joined("m-1", 1).await;
        session
    });
    (consumer.unwrap(), session)
}

async fn next(consumer: &mut Consumer) -> (u32, u64) {
    let record = consumer.next_record().await.unwrap().unwrap();
    assert_eq!(record.topic.as_str(), "t");
    (record.partition.get(), record.offset.get())
}

/// Takes so many records of one partition, in their order.
async fn take(consumer: &mut Consumer, partition: u32, offsets: std::ops::Range<u64>) {
    for expected in offsets {
        assert_eq!(next(consumer).await, (partition, expected));
    }
}

/// What a listener heard, in short.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn add(&self, what: &str, names: impl Iterator<Item = PartitionId>) {
        let names: Vec<_> = names.map(|name| name.to_string()).collect();
        self.0.lock().unwrap().push(format!("{what} {}", names.join(" ")));
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl RebalanceListener for Heard {
    fn assigned(&mut self, partitions: &[AssignedPartition]) {
        self.add("assigned", partitions.iter().map(|assigned| assigned.partition.partition));
    }

    fn revoked(&mut self, partitions: &[TopicPartitionName]) {
        self.add("revoked", partitions.iter().map(|name| name.partition));
    }

    fn lost(&mut self, partitions: &[TopicPartitionName]) {
        self.add("lost", partitions.iter().map(|name| name.partition));
    }
}

#[tokio::test]
async fn what_the_program_came_back_for_is_committed_by_itself() {
    let (mut server, client) = fill(1, 30).await;
    let builder = client.consumer("g").commit(OFTEN).client_id("me").instance_id("one");
    let (mut consumer, mut session) = open(&mut server, builder).await;
    let open = &session.open;
    assert_eq!((open.group.as_str(), open.client_id.as_str(), open.instance_id.as_str()), ("g", "me", "one"));
    assert_eq!((open.session_timeout_ms, open.rebalance_timeout_ms, open.member_id.as_str()), (45_000, 60_000, ""));
    assert_eq!((open.assignors.clone(), open.credit_bytes), (vec!["cooperative-sticky".to_owned()], 16 << 20));
    assert_eq!((consumer.member_id().as_deref(), consumer.generation(), consumer.group()), (Some("m-1"), Some(1), "g"));

    session.assigned(&[(0, 0)]).await;
    session.records(0, 0, 30).await;
    take(&mut consumer, 0, 0..15).await;
    assert_eq!(consumer.assignment(), [name(0)]);
    assert_eq!(consumer.position("t", PartitionId::new(0)), Some(offset(15)));
    session.commits_until(&[(0, 14)]).await;
    take(&mut consumer, 0, 15..30).await;
    session.commits_until(&[(0, 29)]).await;
    let waiting = tokio::spawn(async move { consumer.next_record().await });
    session.commits_until(&[(0, 30)]).await;
    waiting.abort();
}

#[tokio::test]
async fn what_is_revoked_is_committed_before_it_is_released() {
    let (mut server, client) = fill(2, 20).await;
    let heard = Heard::default();
    let builder = client.consumer("g").commit(SELDOM).on_rebalance(heard.clone());
    let (mut consumer, mut session) = open(&mut server, builder).await;
    session.assigned(&[(0, 0), (1, 5)]).await;
    session.records(0, 0, 20).await;
    session.records(1, 5, 20).await;
    take(&mut consumer, 0, 0..7).await;
    session.revoke(&[0]).await;
    eventually("it gives up the partition", || consumer.assignment() == [name(1)]).await;
    assert_eq!(heard.all(), ["assigned 0 1"], "the program is busy with a record of it");
    assert_eq!(next(&mut consumer).await, (1, 5));
    let (request, offsets) = session.commit().await;
    assert_eq!((offsets, heard.all()), (vec![(0, 7)], vec!["assigned 0 1".to_owned(), "revoked 0".to_owned()]));
    session.committed(request).await;
    let Asked::Released(released) = session.asked().await else { panic!("released comes next") };
    assert_eq!(released.partitions, names(&[0]).partitions);
    take(&mut consumer, 1, 6..20).await;
}

#[tokio::test]
async fn a_busy_program_does_not_hold_up_the_group_for_ever() {
    let (mut server, client) = fill(1, 20).await;
    let builder = client.consumer("g").commit(SELDOM).rebalance_timeout(Duration::from_millis(100));
    let (mut consumer, mut session) = open(&mut server, builder).await;
    session.assigned(&[(0, 0)]).await;
    session.records(0, 0, 20).await;
    take(&mut consumer, 0, 0..7).await;
    session.revoke(&[0]).await;
    let (_, offsets) = session.commit().await;
    assert_eq!(offsets, [(0, 6)], "without the record that it is busy with");
    assert!(matches!(session.asked().await, Asked::Released(_)), "and without an answer");
}

#[tokio::test]
async fn a_new_stream_goes_on_without_gap_or_repetition() {
    let (mut server, client) = fill(2, 100).await;
    let heard = Heard::default();
    let builder = client.consumer("g").commit(OFTEN).on_rebalance(heard.clone());
    let (mut consumer, mut session) = open(&mut server, builder).await;
    session.assigned(&[(0, 0), (1, 0)]).await;
    session.records(0, 0, 50).await;
    take(&mut consumer, 0, 0..5).await;
    // One commit stays without an answer.
    loop {
        let (request, offsets) = session.commit().await;
        if offsets.contains(&(0, 4)) {
            break;
        }
        session.committed(request).await;
    }
    drop(session);

    let mut session = server.next_session().await;
    assert_eq!(session.open.member_id, "m-1");
    let held: Vec<_> = session.open.held.iter().map(|held| (held.partition, held.position)).collect();
    assert!(held[0].0 == 0 && held[0].1 >= 10 && held[0].1 % 10 == 0, "{held:?}");
    assert_eq!(held[1], (1, 0));
    let position = held[0].1.cast_unsigned();
    session.joined("m-1", 2).await;
    session.assigned(&[(0, held[0].1)]).await;
    assert_eq!(session.commit().await.1[0], (0, 4), "again");
    session.records(0, position, 100).await;
    take(&mut consumer, 0, 5..100).await;
    assert_eq!(heard.all(), ["assigned 0 1", "lost 1"]);
    assert_eq!(consumer.generation(), Some(2));
}

#[tokio::test]
async fn the_coordinator_is_found_by_redirects_and_found_again() {
    let (mut first, client) = fill(1, 20).await;
    let second = first.another().await;
    second.lead();
    let (mut consumer, session) = open(&mut first, client.consumer("g").commit(SELDOM)).await;
    session.assigned(&[(0, 0)]).await;
    session.records(0, 0, 10).await;
    first.lead();
    session.refuse(ErrorCode::NotLeader).await;
    let session = first.next_session().await;
    session.joined("m-1", 1).await;
    let position = session.open.held[0].position;
    session.assigned(&[(0, position)]).await;
    session.records(0, position.cast_unsigned(), 20).await;
    take(&mut consumer, 0, 0..20).await;
}

#[tokio::test]
async fn a_member_that_is_out_joins_as_a_new_one() {
    let (mut server, client) = fill(1, 20).await;
    let heard = Heard::default();
    let builder = client.consumer("g").commit(SELDOM).on_rebalance(heard.clone());
    let (mut consumer, mut session) = open(&mut server, builder).await;
    session.assigned(&[(0, 0)]).await;
    session.records(0, 0, 20).await;
    take(&mut consumer, 0, 0..5).await;
    let commit = consumer.commit_async();
    session.commit().await;
    session.refuse(ErrorCode::UnknownMember).await;
    let lost = commit.await.unwrap_err();
    assert!(matches!(lost, ConsumeError::MembershipLost { .. }) && lost.is_retryable(), "{lost}");

    let session = server.next_session().await;
    assert_eq!((session.open.member_id.as_str(), session.open.held.len()), ("", 0));
    assert_eq!((heard.all(), consumer.member_id()), (vec!["assigned 0".to_owned(), "lost 0".to_owned()], None));
    session.joined("m-2", 3).await;
    session.assigned(&[(0, 3)]).await;
    session.records(0, 3, 20).await;
    take(&mut consumer, 0, 3..20).await;
    assert_eq!(consumer.member_id().as_deref(), Some("m-2"));
}

#[tokio::test]
async fn a_member_whose_place_was_taken_is_told_and_ends() {
    let (mut server, client) = fill(1, 20).await;
    let (mut consumer, session) = open(&mut server, client.consumer("g").instance_id("one")).await;
    session.refuse(ErrorCode::FencedInstance).await;
    let error = consumer.next_record().await.unwrap().unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), (Some(ErrorCode::FencedInstance), false));
    assert!(consumer.next_record().await.is_none());
    assert!(matches!(
        consumer.commit_offsets([CommitOffset::new(name(0).topic, PartitionId::new(0), offset(1))]).await,
        Err(ConsumeError::Ended { .. })
    ));
    assert_eq!(consumer.close().await.unwrap_err().code(), Some(ErrorCode::FencedInstance));
}

#[tokio::test]
async fn records_of_before_a_seek_are_nobodys() {
    let (mut server, client) = fill(1, 100).await;
    let (mut consumer, mut session) = open(&mut server, client.consumer("g").commit(SELDOM)).await;
    session.assigned(&[(0, 0)]).await;
    session.records(0, 0, 20).await;
    take(&mut consumer, 0, 0..5).await;
    let play = async {
        let Asked::Seek(seek) = session.asked().await else { panic!("a seek comes next") };
        session.records(0, 20, 50).await;
        let sought = v1::SessionSought {
            request: seek.request,
            topic: seek.topic,
            partition: seek.partition,
            offset: Some(70),
            error: None,
        };
        session.send(Told::Sought(sought)).await;
        session.records(0, 70, 100).await;
    };
    let (sought, ()) = tokio::join!(consumer.seek("t", PartitionId::new(0), Position::Offset(offset(70))), play);
    assert_eq!(sought.unwrap(), offset(70));
    take(&mut consumer, 0, 70..100).await;
    let play = async {
        let Asked::Seek(v1::SessionSeek { request, topic, partition, .. }) = session.asked().await else { panic!() };
        let error = Some(error(ErrorCode::LeaderUnavailable, "nobody leads it"));
        session.send(Told::Sought(v1::SessionSought { request, topic, partition, offset: None, error })).await;
    };
    let (sought, ()) = tokio::join!(consumer.seek("t", PartitionId::new(0), Position::Start), play);
    assert!(matches!(sought, Err(ConsumeError::SeekFailed { .. })));
    let elsewhere = consumer.seek("t", PartitionId::new(7), Position::Start).await;
    assert!(matches!(elsewhere, Err(ConsumeError::NotAssigned { .. })));
}

#[tokio::test]
async fn what_is_paused_waits_and_the_rest_goes_on() {
    let (mut server, client) = fill(2, 20).await;
    let (mut consumer, mut session) = open(&mut server, client.consumer("g").commit(SELDOM)).await;
    session.assigned(&[(0, 0), (1, 0)]).await;
    session.records(0, 0, 10).await;
    take(&mut consumer, 0, 0..5).await;
    consumer.pause(&[name(0)]).unwrap();
    let Asked::Pause(paused) = session.asked().await else { panic!("a pause comes next") };
    assert_eq!(paused, names(&[0]));
    session.records(0, 10, 20).await;
    session.records(1, 0, 20).await;
    take(&mut consumer, 1, 0..20).await;
    consumer.resume(&[name(0)]).unwrap();
    let Asked::Seek(seek) = session.asked().await else { panic!("what was dropped is asked for again") };
    assert_eq!(seek.to.unwrap().at, Some(v1::position::At::Offset(5)));
    assert_eq!(session.asked().await, Asked::Resume(names(&[0])));
    let sought =
        v1::SessionSought { request: seek.request, topic: seek.topic, partition: 0, offset: Some(5), error: None };
    session.send(Told::Sought(sought)).await;
    session.records(0, 5, 20).await;
    take(&mut consumer, 0, 5..20).await;
    assert!(consumer.pause(&[name(7)]).is_err());
}

#[tokio::test]
async fn a_manual_commit_waits_for_its_answer_and_tells_refusals() {
    let (mut server, client) = fill(1, 20).await;
    let (mut consumer, mut session) = open(&mut server, client.consumer("g").commit(Commit::Manual)).await;
    session.assigned(&[(0, 0)]).await;
    session.records(0, 0, 20).await;
    take(&mut consumer, 0, 0..5).await;
    let play = async {
        let (request, offsets) = session.commit().await;
        assert_eq!(offsets, [(0, 5)], "the last record too");
        session.committed(request).await;
        session
    };
    let (committed, mut session) = tokio::join!(consumer.commit(), play);
    committed.unwrap();
    let record = consumer.next_record().await.unwrap().unwrap();
    let play = async {
        let Asked::Commit(commit) = session.asked().await else { panic!("a commit comes next") };
        assert_eq!((commit.offsets[0].offset, commit.offsets[0].metadata.as_str()), (6, "note"));
        let error = Some(error(ErrorCode::NotAssigned, "another one's"));
        let refused = vec![v1::RefusedOffset { topic: "t".to_owned(), partition: 0, error }];
        session.send(Told::Committed(v1::SessionCommitted { request: commit.request, refused, error: None })).await;
    };
    let (refused, ()) = tokio::join!(consumer.commit_offsets([CommitOffset::after(&record).metadata("note")]), play);
    let Err(ConsumeError::CommitRefused { refused, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!((refused[0].0.clone(), refused[0].1.code), (name(0), ErrorCode::NotAssigned));
}

#[tokio::test]
async fn closing_commits_and_then_leaves() {
    let (mut server, client) = fill(1, 20).await;
    let heard = Heard::default();
    let (mut consumer, mut session) =
        open(&mut server, client.consumer("g").commit(SELDOM).on_rebalance(heard.clone())).await;
    session.assigned(&[(0, 0)]).await;
    session.records(0, 0, 20).await;
    take(&mut consumer, 0, 0..5).await;
    let play = async {
        let (request, offsets) = session.commit().await;
        assert_eq!(offsets, [(0, 5)]);
        session.committed(request).await;
        assert!(matches!(session.asked().await, Asked::Leave(_)));
        drop(session);
    };
    let (closed, ()) = tokio::join!(consumer.close(), play);
    closed.unwrap();
    assert_eq!(heard.all(), ["assigned 0", "revoked 0"]);
}

#[tokio::test]
async fn a_static_member_keeps_its_place_when_it_is_closed() {
    let (mut server, client) = fill(1, 20).await;
    let (mut consumer, mut session) = open(&mut server, client.consumer("g").commit(SELDOM).instance_id("one")).await;
    session.assigned(&[(0, 0)]).await;
    session.records(0, 0, 20).await;
    take(&mut consumer, 0, 0..5).await;
    let play = async {
        let (request, _) = session.commit().await;
        session.committed(request).await;
        while let Some(asked) = session.next().await {
            assert!(matches!(asked, Asked::Heartbeat(_) | Asked::Credit(_)), "{asked:?}");
        }
    };
    let (closed, ()) = tokio::join!(consumer.close(), play);
    closed.unwrap();
}

#[tokio::test]
async fn a_revocation_behind_another_goes_on_when_that_is_done() {
    let (mut server, client) = fill(2, 10).await;
    // Without heartbeats that would wake the member by and by.
    let builder = client.consumer("g").commit(SELDOM).session_timeout(Duration::from_secs(1_800));
    let (_consumer, mut session) = open(&mut server, builder).await;
    session.assigned(&[(0, 0), (1, 0)]).await;
    session.revoke(&[0]).await;
    let (first, _) = session.commit().await;
    session.revoke(&[1]).await;
    // It is there, since the answer comes after it.
    session.committed(first).await;
    let released = |asked| match asked {
        Asked::Released(released) => released.partitions,
        other => panic!("{other:?}"),
    };
    assert_eq!(released(session.asked().await), names(&[0]).partitions);
    let (second, offsets) = session.commit().await;
    assert_eq!(offsets, [(1, 0)]);
    session.committed(second).await;
    assert_eq!(released(session.asked().await), names(&[1]).partitions);
}

#[tokio::test]
async fn a_record_of_a_revoked_partition_can_be_committed_by_hand() {
    let (mut server, client) = fill(1, 20).await;
    let (mut consumer, mut session) = open(&mut server, client.consumer("g").commit(Commit::Manual)).await;
    session.assigned(&[(0, 0)]).await;
    session.records(0, 0, 20).await;
    take(&mut consumer, 0, 0..5).await;
    session.revoke(&[0]).await;
    eventually("it gives up the partition", || consumer.assignment().is_empty()).await;
    let play = async {
        let (request, offsets) = session.commit().await;
        assert_eq!(offsets, [(0, 5)]);
        session.committed(request).await;
        session
    };
    let (committed, mut session) = tokio::join!(consumer.commit(), play);
    committed.unwrap();
    let asking = tokio::spawn(async move { consumer.next_record().await });
    assert!(matches!(session.asked().await, Asked::Released(_)));
    asking.abort();
}

#[tokio::test]
async fn a_consumer_that_is_dropped_leaves_and_commits_nothing() {
    let (mut server, client) = fill(1, 20).await;
    let (mut consumer, mut session) = open(&mut server, client.consumer("g").commit(SELDOM)).await;
    session.assigned(&[(0, 0)]).await;
    session.records(0, 0, 20).await;
    take(&mut consumer, 0, 0..5).await;
    drop(consumer);
    assert!(matches!(session.asked().await, Asked::Leave(_)));
}

#[tokio::test]
async fn a_partition_that_cannot_be_read_is_told_and_the_others_go_on() {
    let (mut server, client) = fill(2, 20).await;
    let (mut consumer, session) = open(&mut server, client.consumer("g").commit(SELDOM)).await;
    session.assigned(&[(0, 0), (1, 0)]).await;
    let error = Some(error(ErrorCode::OffsetOutOfRange, "not kept"));
    session.send(Told::Failed(v1::PartitionFailed { topic: "t".to_owned(), partition: 0, error })).await;
    session.records(1, 0, 20).await;
    let failed = consumer.next_record().await.unwrap().unwrap_err();
    assert_eq!(failed.to_string(), "t-0: not kept (OFFSET_OUT_OF_RANGE); seek to go on with this partition");
    take(&mut consumer, 1, 0..20).await;
}

#[tokio::test]
async fn credit_is_given_back_when_batches_are_taken() {
    let (mut server, client) = fill(1, 10).await;
    let producer = client.producer().build();
    for _ in 0..4 {
        producer.send_and_wait("t", Record::new(vec![0; 20_000])).await.unwrap();
    }
    let (mut consumer, mut session) = open(&mut server, client.consumer("g").commit(SELDOM).prefetch_bytes(1)).await;
    assert_eq!(session.open.credit_bytes, 64 * 1024);
    session.assigned(&[(0, 10)]).await;
    session.records(0, 10, 14).await;
    take(&mut consumer, 0, 10..12).await;
    let Some(Asked::Credit(credit)) = session.next().await else { panic!("credit comes next") };
    assert!((40_000..50_000).contains(&credit.bytes), "{}", credit.bytes);
}

#[tokio::test]
async fn heartbeats_stop_when_the_program_hangs_and_it_joins_again_when_it_is_back() {
    let (mut server, client) = fill(1, 20).await;
    let builder = client
        .consumer("g")
        .commit(Commit::Manual)
        .session_timeout(Duration::from_millis(90))
        .processing_timeout(Duration::from_millis(200));
    let (mut consumer, mut session) = open(&mut server, builder).await;
    session.assigned(&[(0, 0)]).await;
    assert!(matches!(session.next().await, Some(Asked::Heartbeat(_))));
    session.records(0, 0, 20).await;
    take(&mut consumer, 0, 0..1).await;
    let silence = Duration::from_secs(1);
    while tokio::time::timeout(silence, session.next()).await.is_ok() {}
    session.refuse(ErrorCode::UnknownMember).await;
    eventually("it knows", || consumer.member_id().is_none()).await;
    let early = tokio::time::timeout(Duration::from_millis(300), server.next_session()).await;
    assert!(early.is_err(), "it would only be thrown out again");
    let (record, session) = tokio::join!(next(&mut consumer), async {
        let session = server.next_session().await;
        session.joined("m-2", 2).await;
        session.assigned(&[(0, 0)]).await;
        session.records(0, 0, 10).await;
        session
    });
    assert_eq!((record, session.open.member_id.as_str()), ((0, 0), ""));
}

#[tokio::test]
async fn a_group_that_cannot_be_reached_is_told_and_then_tried_again() {
    let (mut server, client) = fill(1, 20).await;
    let builder = client.consumer("g").commit(SELDOM).retry_timeout(Some(Duration::from_millis(100)));
    let (mut consumer, session) = open(&mut server, builder).await;
    drop(session);
    server.stop();
    let error = consumer.next_record().await.unwrap().unwrap_err();
    assert!(matches!(error, ConsumeError::Unavailable { .. }) && error.is_retryable(), "{error}");
    server.resume().await;
    let session = server.next_session().await;
    session.joined("m-1", 1).await;
    session.assigned(&[(0, 0)]).await;
    session.records(0, 0, 20).await;
    loop {
        match consumer.next_record().await.unwrap() {
            Ok(record) => return assert_eq!(record.offset, offset(0)),
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    }
}

#[tokio::test]
async fn settings_that_make_no_sense_are_told_at_once_and_refusals_when_it_is_opened() {
    let (mut server, client) = fill(1, 10).await;
    let nothing = client.consumer("g").open().await.unwrap_err();
    assert_eq!(
        nothing.to_string(),
        "group \"g\" cannot be joined: it is to read nothing; name at least one topic or pattern"
    );
    assert!(client.consumer("").topics(["t"]).open().await.unwrap_err().to_string().contains("needs a name"));
    assert!(matches!(client.consumer("g").topics(["a/b"]).open().await, Err(ConsumeError::InvalidTopicName { .. })));
    let (refused, ()) = tokio::join!(client.consumer("g").patterns(["t*"]).open(), async {
        let session = server.next_session().await;
        assert_eq!(session.open.subscription.clone().unwrap().patterns, ["t*"]);
        session.refuse(ErrorCode::InconsistentProtocol).await;
    });
    assert_eq!(refused.unwrap_err().code(), Some(ErrorCode::InconsistentProtocol));
}

#[tokio::test]
async fn another_subscription_is_told_and_again_on_the_next_stream() {
    let (mut server, client) = fill(1, 10).await;
    let (mut consumer, mut session) = open(&mut server, client.consumer("g").commit(SELDOM)).await;
    consumer.subscribe(["u"], ["v.*"]).unwrap();
    let expected = v1::Subscription { topics: vec!["u".to_owned()], patterns: vec!["v.*".to_owned()] };
    assert_eq!(session.asked().await, Asked::Subscribe(expected.clone()));
    drop(session);
    assert_eq!(server.next_session().await.open.subscription, Some(expected));
    assert!(consumer.subscribe([""; 0], [""; 0]).is_err());
}
