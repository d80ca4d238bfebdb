//! Reading: positions, waiting, credit, forms, ends.

use std::time::Duration;

use futures_util::StreamExt;
use highwater_proto::v1::read_stream_request::Kind;
use highwater_proto::v1::{self, ErrorCode, position};
use highwater_types::batch::Compression;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

use crate::batches::{batch, batch_with};
use crate::harness::{Fixture, TOPIC, at, at_end, at_start, code, details, read_from, values};

const QUICK: Duration = Duration::from_millis(300);
const SOON: Duration = Duration::from_secs(10);

fn at_time(ms: i64) -> v1::Position {
    v1::Position { at: Some(position::At::TimestampMs(ms)) }
}

fn open(from: v1::Position, credit_bytes: u64) -> v1::ReadOpen {
    v1::ReadOpen { topic: TOPIC.to_owned(), from: Some(from), credit_bytes, ..Default::default() }
}

/// A read stream of partition 0, and the way to give it credit.
async fn stream(
    fixture: &Fixture,
    open: v1::ReadOpen,
) -> (mpsc::Sender<v1::ReadStreamRequest>, Streaming<v1::ReadResponse>) {
    let (sender, requests) = mpsc::channel(8);
    sender.send(v1::ReadStreamRequest { kind: Some(Kind::Open(open)) }).await.unwrap();
    let stream = fixture.reader().read_stream(ReceiverStream::new(requests)).await.unwrap().into_inner();
    (sender, stream)
}

async fn give(sender: &mpsc::Sender<v1::ReadStreamRequest>, bytes: u64) {
    sender.send(v1::ReadStreamRequest { kind: Some(Kind::Credit(v1::Credit { bytes })) }).await.unwrap();
}

/// Ten batches of three records, of 1,000 bytes each.
async fn filled() -> Fixture {
    let fixture = Fixture::new().await;
    for number in 0..10_u8 {
        fixture.produce(batch(&[&[number; 1_000], &[number; 1_000], &[number; 1_000]])).await.unwrap();
    }
    fixture
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_is_whole_batches_and_says_where_to_go_on() {
    let fixture = filled().await;
    let first = fixture.reader().read(read_from(at(4))).await.unwrap().into_inner();
    assert_eq!((first.batches.len(), first.next_offset), (9, 30), "the batch that holds offset 4 is sent whole");
    assert_eq!((first.log_start, first.high_watermark), (0, 30));
    let small = v1::ReadRequest { bytes_max: 1, ..read_from(at(4)) };
    let small = fixture.reader().read(small).await.unwrap().into_inner();
    assert_eq!((small.batches.len(), small.next_offset), (1, 6), "one batch at least");
    let nothing = fixture.reader().read(read_from(at_end())).await.unwrap().into_inner();
    assert_eq!((nothing.batches.len(), nothing.next_offset, nothing.high_watermark), (0, 30, 30));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_out_of_range_is_answered_with_the_range() {
    let fixture = filled().await;
    for offset in [-1, i64::MIN, 31, i64::MAX] {
        let status = fixture.reader().read(read_from(at(offset))).await.unwrap_err();
        assert_eq!(
            (code(&status), status.code()),
            (ErrorCode::OffsetOutOfRange, Code::OutOfRange),
            "{offset}: {status}"
        );
        assert_eq!((details(&status).valid_start, details(&status).valid_end), (Some(0), Some(30)), "{offset}");
        let (_credit, mut stream) = stream(&fixture, open(at(offset), 1)).await;
        assert_eq!(code(&stream.message().await.unwrap_err()), ErrorCode::OffsetOutOfRange, "{offset}");
    }
    let nowhere = v1::ReadRequest { topic: "nowhere".to_owned(), ..read_from(at(0)) };
    assert_eq!(code(&fixture.reader().read(nowhere).await.unwrap_err()), ErrorCode::UnknownTopic);
    let beside = v1::ReadRequest { partition: 2, ..read_from(at(0)) };
    assert_eq!(code(&fixture.reader().read(beside).await.unwrap_err()), ErrorCode::UnknownPartition);
    let unsaid = v1::ReadRequest { from: None, ..read_from(at(0)) };
    assert_eq!(code(&fixture.reader().read(unsaid).await.unwrap_err()), ErrorCode::InvalidRequest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_waits_for_what_it_was_told_to() {
    let fixture = Fixture::new().await;
    let wait = |bytes_min, wait_ms_max| v1::ReadRequest { bytes_min, wait_ms_max, ..read_from(at_start()) };
    let empty = fixture.reader().read(wait(1, 50)).await.unwrap().into_inner();
    assert_eq!(empty.next_offset, 0, "nothing came in time");
    let mut client = fixture.reader();
    let mut any = Box::pin(client.read(wait(1, 30_000)));
    let mut other = fixture.reader();
    let mut more = Box::pin(other.read(wait(2_000, 30_000)));
    assert!(timeout(QUICK, &mut any).await.is_err() && timeout(QUICK, &mut more).await.is_err());
    fixture.produce(batch(&[b"small"])).await.unwrap();
    let any = timeout(SOON, any).await.unwrap().unwrap().into_inner();
    assert_eq!((values(&any.batches), any.next_offset), (vec!["small".into()], 1));
    assert!(timeout(QUICK, &mut more).await.is_err(), "it wants 2,000 bytes");
    fixture.produce(batch(&[&[7; 2_000]])).await.unwrap();
    assert_eq!(timeout(SOON, more).await.unwrap().unwrap().into_inner().next_offset, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_from_the_start_begins_where_the_log_begins_when_there_is_credit() {
    let fixture = Fixture::with_topic(&[("segment.bytes", "1MiB"), ("retention.bytes", "1MiB")]).await;
    let (credit, mut stream) = stream(&fixture, open(at_start(), 0)).await;
    assert!(timeout(QUICK, stream.message()).await.is_err(), "without credit nothing comes");
    fixture.fill(4).await;
    let start = fixture.until_the_log_begins_later().await;
    give(&credit, 1).await;
    let first = timeout(SOON, stream.message()).await.unwrap().expect("what went was not asked for by its offset");
    assert!(first.unwrap().next_offset > start);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_sends_what_is_there_and_what_comes() {
    let fixture = filled().await;
    let (_credit, mut stream) = stream(&fixture, open(at(0), 1 << 30)).await;
    let first = stream.message().await.unwrap().unwrap();
    assert_eq!((values(&first.batches).len(), first.next_offset), (30, 30));
    assert!(timeout(QUICK, stream.message()).await.is_err(), "nothing more is there");
    for offset in 30..33 {
        fixture.produce(batch(&[b"new"])).await.unwrap();
        let next = timeout(SOON, stream.message()).await.unwrap().unwrap().unwrap();
        assert_eq!((values(&next.batches), next.next_offset), (vec!["new".into()], offset + 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credit_is_respected_to_the_batch() {
    let fixture = filled().await;
    let (credit, mut stream) = stream(&fixture, open(at(0), 1)).await;
    let first = timeout(SOON, stream.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(first.next_offset, 3, "one batch while any credit is left");
    let batch_bytes = first.batches[0].len() as u64;
    assert!(timeout(QUICK, stream.message()).await.is_err(), "in debt");
    give(&credit, 1).await;
    assert!(timeout(QUICK, stream.message()).await.is_err(), "still in debt");
    give(&credit, batch_bytes).await;
    let second = timeout(SOON, stream.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(second.next_offset, 6, "1 byte beyond the debt is one batch again");
    // It stands 2 bytes beyond one batch of debt.
    give(&credit, 3 * batch_bytes - 2).await;
    let mut next = 6;
    while next < 12 {
        next = timeout(SOON, stream.message()).await.unwrap().unwrap().unwrap().next_offset;
    }
    assert_eq!(next, 12, "two batches, and nothing is left");
    assert!(timeout(QUICK, stream.message()).await.is_err());
    drop(credit);
    assert!(timeout(SOON, stream.message()).await.unwrap().unwrap().is_none(), "no credit and none to come: the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_where_it_was_told_to() {
    let fixture = filled().await;
    for (until, batches, records) in [(12, 4, 12), (13, 5, 13), (0, 0, 0), (30, 10, 30)] {
        for form in [v1::Form::Batches, v1::Form::Records] {
            let open = v1::ReadOpen { until_offset: Some(until), form: form.into(), ..open(at(0), 1 << 30) };
            let (_credit, stream) = stream(&fixture, open).await;
            let answers: Vec<_> = timeout(SOON, stream.map(Result::unwrap).collect()).await.unwrap();
            let sent: usize = answers.iter().map(|answer| answer.batches.len()).sum();
            let taken: Vec<_> = answers.iter().flat_map(|answer| &answer.records).map(|record| record.offset).collect();
            match form {
                v1::Form::Records => assert_eq!(taken, (0..records).collect::<Vec<_>>(), "until {until}"),
                _ => assert_eq!(sent, batches, "until {until}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_gathers_as_much_as_asked_for_or_as_long() {
    let fixture = Fixture::new().await;
    let gather = v1::ReadOpen { bytes_min: 10_000, wait_ms_max: 20_000, ..open(at_start(), 1 << 30) };
    let (_credit, mut patient) = stream(&fixture, gather).await;
    let gather = v1::ReadOpen { bytes_min: 10_000, wait_ms_max: 100, ..open(at_start(), 1 << 30) };
    let (_credit, mut hasty) = stream(&fixture, gather).await;
    fixture.produce(batch(&[&[7; 4_000]])).await.unwrap();
    assert_eq!(timeout(SOON, hasty.message()).await.unwrap().unwrap().unwrap().next_offset, 1);
    assert!(timeout(QUICK, patient.message()).await.is_err());
    fixture.produce(batch(&[&[7; 4_000]])).await.unwrap();
    fixture.produce(batch(&[&[7; 4_000]])).await.unwrap();
    assert_eq!(timeout(SOON, patient.message()).await.unwrap().unwrap().unwrap().batches.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_come_one_by_one_whatever_the_batch_was() {
    let fixture = Fixture::new().await;
    for codec in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        fixture.produce(batch_with(&[b"a", b"b", b"c"], codec, None)).await.unwrap();
    }
    let open = v1::ReadOpen { form: v1::Form::Records.into(), until_offset: Some(15), ..open(at(1), 1 << 30) };
    let (_credit, stream) = stream(&fixture, open).await;
    let answers: Vec<_> = timeout(SOON, stream.map(Result::unwrap).collect()).await.unwrap();
    assert!(answers.iter().all(|answer| answer.batches.is_empty()));
    let records: Vec<_> = answers.into_iter().flat_map(|answer| answer.records).collect();
    assert_eq!(records.iter().map(|record| record.offset).collect::<Vec<_>>(), (1..15).collect::<Vec<_>>());
    assert_eq!(records[0].value.as_deref(), Some(&b"b"[..]), "none before the position");
    assert_eq!(records[0].timestamp_ms, Some(1_001));
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_become_offsets() {
    let fixture = filled().await;
    let positions = [at_start(), at_end(), at(7), at_time(0), at_time(1_001), at_time(i64::MAX)];
    let positions = positions.map(|position| v1::PartitionPosition { partition: 0, position: Some(position) }).to_vec();
    let request = v1::LookupOffsetsRequest { topic: TOPIC.to_owned(), positions };
    let found = fixture.reader().lookup_offsets(request).await.unwrap().into_inner().offsets;
    assert_eq!(found.iter().map(|found| found.offset).collect::<Vec<_>>(), [0, 30, 7, 0, 1, 30]);
    assert_eq!((found[4].timestamp_ms, found[5].timestamp_ms), (Some(1_001), None));
    assert!(found.iter().all(|found| (found.log_start, found.high_watermark) == (0, 30)));
    let replay = fixture.reader().read(read_from(at_time(1_002))).await.unwrap().into_inner();
    assert_eq!(replay.batches.len(), 10, "from the batch that holds the first record that late");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_wants_to_be_opened_first_and_once() {
    let fixture = filled().await;
    let kinds = [
        vec![Some(Kind::Credit(v1::Credit { bytes: 1 }))],
        vec![None],
        vec![Some(Kind::Open(open(at(0), 0))), Some(Kind::Open(open(at(0), 0)))],
    ];
    for kinds in kinds {
        let requests = kinds.into_iter().map(|kind| v1::ReadStreamRequest { kind });
        let requests = tokio_stream::iter(requests.collect::<Vec<_>>()).chain(tokio_stream::pending());
        let mut stream = fixture.reader().read_stream(requests).await.unwrap().into_inner();
        let status = timeout(SOON, stream.message()).await.unwrap().unwrap_err();
        assert_eq!(code(&status), ErrorCode::InvalidRequest, "{status}");
    }
}
