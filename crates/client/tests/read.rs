//! The reader against a server that fails as it is told: nothing twice, nothing left out, bounded.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod scripted;

use std::time::Duration;

use futures_util::StreamExt;
use highwater_client::{
    Client, ErrorCode, Offset, OutOfRange, PartitionId, Position, ReadError, ReadRecord, Reader, Record, Timestamp,
};
use scripted::{Log, ReadFault, Server};

const P0: PartitionId = PartitionId::new(0);

fn offset(offset: u64) -> Offset {
    Offset::new(offset).unwrap()
}

/// Fills each partition with numbered records, ten to a batch, of timestamps 1000, 1001 ...
async fn fill(server: &Server, partitions: u32, records: u32) -> Client {
    let client = server.connect().await;
    let producer = client.producer().linger(Duration::from_secs(60)).build();
    for partition in 0..partitions {
        for number in 0..records {
            let record = Record::new(format!("{partition}:{number}"))
                .timestamp(Timestamp::from_ms(1_000 + i64::from(number)))
                .partition(PartitionId::new(partition));
            drop(producer.send("t", record).await.unwrap());
            if number % 10 == 9 {
                producer.flush().await.unwrap();
            }
        }
    }
    producer.close().await.unwrap();
    client
}

async fn values(reader: &mut Reader) -> Vec<String> {
    let records: Vec<ReadRecord> = reader.by_ref().map(|record| record.unwrap()).collect().await;
    records.into_iter().map(|record| String::from_utf8(record.value.unwrap().to_vec()).unwrap()).collect()
}

fn expected(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| format!("0:{number}")).collect()
}

#[tokio::test]
async fn a_replay_gives_each_record_once_whatever_breaks() {
    let server = Server::start(1).await;
    let client = fill(&server, 1, 500).await;
    let faults = [ReadFault::Cut, ReadFault::Refuse(ErrorCode::NotLeader), ReadFault::Cut];
    server.fail_next_reads(faults);
    let mut reader = client.reader().topic("t").stop_at_end().open().await.unwrap();
    assert_eq!(values(&mut reader).await, expected(0..500));
    assert_eq!(reader.position(P0), Some(offset(500)));
    assert_eq!(reader.high_watermark(P0), Some(offset(500)));
    assert!(server.state.lock().unwrap().read_faults.is_empty());
    assert!(reader.next_record().await.is_none(), "the end is the end");
}

#[tokio::test]
async fn ranges_start_and_stop_inside_of_batches() {
    let server = Server::start(1).await;
    let client = fill(&server, 1, 100).await;
    let range = client.reader().topic("t").from(offset(13)).until(offset(37));
    assert_eq!(values(&mut range.open().await.unwrap()).await, expected(13..37));
    let since = client.reader().topic("t").from(Timestamp::from_ms(1_050)).stop_at_end();
    assert_eq!(values(&mut since.open().await.unwrap()).await, expected(50..100));
    let nothing = client.reader().topic("t").from(Position::End).stop_at_end();
    assert_eq!(values(&mut nothing.open().await.unwrap()).await, expected(0..0));
}

#[tokio::test]
async fn several_partitions_are_merged_each_in_its_order() {
    let server = Server::start(3).await;
    let client = fill(&server, 3, 200).await;
    let mut reader = client.reader().topic("t").stop_at_end().open().await.unwrap();
    assert_eq!(reader.partitions().count(), 3);
    let mut next = [0_u64; 3];
    while let Some(record) = reader.next_record().await {
        let record = record.unwrap();
        let partition = record.partition.get() as usize;
        assert_eq!(record.offset.get(), next[partition]);
        next[partition] += 1;
    }
    assert_eq!(next, [200; 3]);
    let mut one = client.reader().topic("t").partitions([P0]).stop_at_end().open().await.unwrap();
    assert_eq!(values(&mut one).await, expected(0..200));
}

#[tokio::test]
async fn a_live_reader_gets_what_comes_after_it_was_opened() {
    let server = Server::start(1).await;
    let client = fill(&server, 1, 10).await;
    let mut reader = client.reader().topic("t").from(Position::End).open().await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(50), reader.next_record()).await;
    assert!(early.is_err(), "nothing is there yet");
    client.producer().build().send_and_wait("t", Record::new("new")).await.unwrap();
    let record = reader.next_record().await.unwrap().unwrap();
    assert_eq!((record.offset, record.value.as_deref()), (offset(10), Some(&b"new"[..])));
}

#[tokio::test]
async fn the_server_sends_no_further_ahead_than_the_credit() {
    let server = Server::start(1).await;
    let client = server.connect().await;
    let producer = client.producer().build();
    for _ in 0..100 {
        producer.send_and_wait("t", Record::new(vec![0; 10_000])).await.unwrap();
    }
    let mut reader = client.reader().topic("t").prefetch_bytes(64 * 1024).stop_at_end().open().await.unwrap();
    reader.next_record().await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let sent = server.state.lock().unwrap().read_bytes_sent;
    assert!(sent <= 64 * 1024 + 11_000, "{sent} bytes were sent ahead");
    let mut records = 1;
    while let Some(record) = reader.next_record().await {
        record.unwrap();
        records += 1;
    }
    assert_eq!(records, 100);
}

#[tokio::test]
async fn seek_and_assign_go_where_they_are_told() {
    let server = Server::start(2).await;
    let client = fill(&server, 2, 100).await;
    let mut reader = client.reader().topic("t").partitions([P0]).until(offset(100)).open().await.unwrap();
    for number in 0..15 {
        assert_eq!(reader.next_record().await.unwrap().unwrap().offset, offset(number));
    }
    assert_eq!(reader.position(P0), Some(offset(15)));
    let rest = reader.next_batch().await.unwrap().unwrap();
    assert_eq!(rest.records().unwrap().count(), 5, "what is left of the batch");
    assert_eq!(reader.position(P0), Some(offset(20)));
    reader.seek(P0, offset(95)).await.unwrap();
    assert_eq!(values(&mut reader).await, expected(95..100));
    reader.seek(P0, Position::Start).await.unwrap();
    assert_eq!(values(&mut reader).await, expected(0..100));

    let p1 = PartitionId::new(1);
    assert!(matches!(reader.seek(p1, Position::Start).await, Err(ReadError::NotAssigned { .. })));
    reader.assign(&[(p1, Position::Offset(offset(42)))]).await.unwrap();
    let record = reader.next_record().await.unwrap().unwrap();
    assert_eq!((record.partition, record.offset), (p1, offset(42)));
    assert_eq!(reader.position(P0), None);
}

#[tokio::test]
async fn an_offset_out_of_range_is_an_error_with_the_range_unless_told_otherwise() {
    let server = Server::start(1).await;
    let client = fill(&server, 1, 100).await;
    server.state.lock().unwrap().logs[0].start = 50;
    let at = |from: u64| client.reader().topic("t").from(offset(from));
    let mut reader = at(10).open().await.unwrap();
    let error = reader.next_record().await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "t-0: offset 10 cannot be read, offsets 50 up to 100 can");
    let valid = error.valid_range().unwrap();
    assert_eq!((valid.start, valid.end, error.is_retryable()), (offset(50), offset(100), false));
    assert!(reader.next_record().await.is_none(), "the partition has ended");
    reader.seek(P0, valid.start).await.unwrap();
    assert_eq!(reader.next_record().await.unwrap().unwrap().offset, offset(50));

    let mut reader = at(10).on_out_of_range(OutOfRange::Earliest).open().await.unwrap();
    assert_eq!(reader.next_record().await.unwrap().unwrap().offset, offset(50));
    let mut reader = at(1_000).on_out_of_range(OutOfRange::Latest).open().await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(50), reader.next_record()).await.is_err());
    assert!(matches!(at(1_000).stop_at_end().open().await, Err(ReadError::OutOfRange { valid: Some(_), .. })));
}

#[tokio::test]
async fn a_damaged_batch_is_never_given_out() {
    let server = Server::start(1).await;
    let client = fill(&server, 1, 30).await;
    server.fail_next_reads([ReadFault::Damage]);
    let mut reader = client.reader().topic("t").stop_at_end().open().await.unwrap();
    let error = reader.next_record().await.unwrap().unwrap_err();
    assert!(matches!(error, ReadError::Batch { .. }) && error.to_string().contains("CRC"), "{error}");
    reader.seek(P0, Position::Start).await.unwrap();
    assert_eq!(values(&mut reader).await, expected(0..30));
}

#[tokio::test]
async fn a_partition_that_cannot_be_read_is_told_and_then_tried_again() {
    let mut server = Server::start(1).await;
    let client = fill(&server, 1, 30).await;
    let retry = Some(Duration::from_millis(200));
    let mut reader = client.reader().topic("t").until(offset(30)).retry_timeout(retry).open().await.unwrap();
    server.stop();
    server.fail_next_reads([ReadFault::Cut]);
    let error = loop {
        match reader.next_record().await.unwrap() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error, ReadError::Unavailable { .. }) && error.is_retryable(), "{error}");
    server.resume().await;
    let from = u32::try_from(reader.position(P0).unwrap().get()).unwrap();
    assert_eq!(values(&mut reader).await, expected(from..30));
}

#[tokio::test]
async fn what_is_not_there_is_told_when_the_reader_is_opened() {
    let server = Server::start(1).await;
    let client = server.connect().await;
    let error = client.reader().topic("nothing").open().await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::UnknownTopic));
    let error = client.reader().topic("t").partitions([PartitionId::new(7)]).open().await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::UnknownPartition));
    let error = client.reader().open().await.unwrap_err();
    assert!(error.to_string().contains("cannot be empty"), "{error}");
}

#[tokio::test]
async fn a_reader_of_a_whole_topic_reads_the_partitions_that_it_gets_later() {
    let server = Server::start(1).await;
    let client = server.client().topics_refresh(Duration::from_millis(40)).connect().await.unwrap();
    let producer = client.producer().build();
    let mut reader = client.reader().topic("t").from(Position::End).open().await.unwrap();
    server.state.lock().unwrap().logs.push(Log::default());
    let patience = Duration::from_secs(20);
    let record = Record::new("new").partition(PartitionId::new(1));
    let sent = tokio::time::timeout(patience, producer.send_and_wait("t", record)).await.expect("in time").unwrap();
    assert_eq!(sent.partition, PartitionId::new(1));
    let read = tokio::time::timeout(patience, reader.next_record()).await.expect("in time").unwrap().unwrap();
    assert_eq!((read.partition, read.offset), (PartitionId::new(1), offset(0)), "from its first record on");
    assert_eq!(reader.partitions().count(), 2);
}
