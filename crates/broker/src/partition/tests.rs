#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_possible_wrap)]
//! A partition through its handle, on a simulated disk.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use highwater_metadata::QueueRetention;
use highwater_storage::disk::sim::Fault;
use highwater_storage::{LogOptions, RetentionPolicy};
use highwater_types::batch::{BatchHeader, ProducerStamp, ValidBatch, verify_crc};
use highwater_types::{ErrorCode, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

mod cluster;
mod crashes;
mod deletions;

use super::*;
use crate::admission::ByteBudget;
use crate::raft::PeerNetwork;
use crate::raft::tests::rig::{KEY, NODE, Rig, batch};

struct Running {
    rig: Rig,
    partition: Partition,
    handle: PartitionHandle,
    budget: ByteBudget,
}

impl Running {
    async fn new() -> Self {
        Self::on(Rig::new()).await
    }

    async fn on(rig: Rig) -> Self {
        let spec = PartitionSpec {
            name: "orders-0".to_owned(),
            key: KEY,
            log: rig.log(),
            votes: Arc::clone(rig.data.votes()),
            node: NODE,
            first_voters: vec![NODE],
            network: PeerNetwork::alone(),
            clock: rig.clock.clone(),
            producers: ProducerLimits::default(),
            cold_reads: ColdReads::new(2),
        };
        let partition = Partition::open(spec).await.unwrap();
        partition.wait_until_serving().await.unwrap();
        let handle = partition.handle();
        Self { rig, partition, handle, budget: ByteBudget::new(64 << 20) }
    }

    async fn restart(self) -> Self {
        let Self { rig, partition, handle, .. } = self;
        drop(handle);
        partition.shutdown().await;
        Self::on(rig.restart()).await
    }

    /// The power goes without warning.
    async fn crash(self) -> Self {
        let Self { rig, partition, handle, .. } = self;
        rig.disk.crash(highwater_storage::disk::sim::CrashMode::LosePending);
        partition.stop.cancel();
        drop(handle);
        partition.replica.stop_abruptly().await;
        partition.writer.await.unwrap();
        drop(partition.replica);
        drop(partition.handle);
        Self::on(rig.crash()).await
    }

    async fn send(&self, bytes: Bytes, acks: Acks) -> AppendTicket {
        let permit = self.budget.acquire(bytes.len()).await.unwrap();
        let valid = ValidBatch::check(bytes, usize::MAX).unwrap();
        self.handle.append(valid, acks, permit).await.unwrap()
    }

    async fn append(&self, bytes: Bytes) -> Result<AppendAck, AppendError> {
        self.send(bytes, Acks::Quorum).await.await
    }

    async fn read(&self, from: u64) -> Result<ReadResult, ReadError> {
        self.handle.read(from_offset(from)).await
    }
}

fn offset(value: u64) -> Offset {
    Offset::new(value).unwrap()
}

fn from_offset(from: u64) -> ReadFrom {
    ReadFrom { from: offset(from), bytes_max: 1 << 20, bytes_min: 1, wait: Duration::ZERO, may_follow: false }
}

fn stamped(id: i64, epoch: i16, first: i32, records: usize) -> Bytes {
    let stamp = ProducerStamp {
        id: ProducerId::new(id),
        epoch: ProducerEpoch::new(epoch),
        first_sequence: Sequence::new(first),
    };
    batch(records, 20, Some(stamp))
}

fn base(ack: &AppendAck) -> u64 {
    ack.base_offset.unwrap().get()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_is_read_back() {
    let run = Running::new().await;
    let ack = run.append(batch(3, 20, None)).await.unwrap();
    assert_eq!((base(&ack), ack.record_count, ack.duplicate, ack.acks), (0, 3, false, Acks::Quorum));
    assert_eq!(ack.timestamp, run.rig.clock.now());
    assert_eq!(ack.leader_epoch, run.handle.leadership().epoch);
    assert_eq!(base(&run.append(batch(2, 20, None)).await.unwrap()), 3);

    let result = run.read(0).await.unwrap();
    assert_eq!((result.batches.len(), result.next_offset, result.high_watermark), (2, offset(5), offset(5)));
    let headers: Vec<_> = result.batches.iter().map(|bytes| BatchHeader::read(bytes).unwrap()).collect();
    assert_eq!((headers[0].base_offset, headers[1].base_offset), (offset(0), offset(3)));
    assert_eq!(headers[0].leader_epoch, ack.leader_epoch);
    assert!(result.batches.iter().all(|bytes| verify_crc(bytes)), "the stamp lies outside the checksum");
    let marks = run.handle.watermarks();
    assert_eq!(
        (marks.log_start, marks.committed, marks.flushed, marks.log_end),
        (offset(0), offset(5), offset(5), offset(5))
    );
    // From inside a batch: that batch whole.
    assert_eq!(run.read(4).await.unwrap().batches.len(), 1);
    assert_eq!(run.budget.available(), run.budget.total(), "all permits are given back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelined_appends_are_stored_in_order() {
    let run = Running::new().await;
    let mut tickets = Vec::new();
    for n in 0..500 {
        tickets.push(run.send(stamped(5, 0, n, 1), Acks::Quorum).await);
    }
    for (n, ticket) in tickets.into_iter().enumerate() {
        assert_eq!(base(&ticket.await.unwrap()), n as u64);
    }
    assert_eq!(run.read(0).await.unwrap().batches.len(), 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_batch_is_stored_once() {
    let run = Running::new().await;
    for n in 0..6 {
        assert_eq!(base(&run.append(stamped(5, 0, 10 * n, 10)).await.unwrap()), 10 * n as u64);
    }
    let again = run.append(stamped(5, 0, 30, 10)).await.unwrap();
    assert_eq!((base(&again), again.duplicate), (30, true));
    let code = |result: Result<AppendAck, AppendError>| result.unwrap_err().code();
    assert_eq!(code(run.append(stamped(5, 0, 0, 10)).await), ErrorCode::DuplicateSequence);
    assert_eq!(code(run.append(stamped(5, 0, 70, 10)).await), ErrorCode::OutOfOrderSequence);
    assert_eq!(base(&run.append(stamped(5, 1, 0, 10)).await.unwrap()), 60);
    assert_eq!(code(run.append(stamped(5, 0, 60, 10)).await), ErrorCode::ProducerFenced);
    assert_eq!(run.handle.watermarks().log_end, offset(70), "nothing else was stored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_is_a_repeat_of_one_in_flight_too() {
    let run = Running::new().await;
    // From here on nothing is durable before a round is run by hand.
    run.rig.data.flusher().stop();
    let mut first = run.send(stamped(5, 0, 0, 3), Acks::Quorum).await;
    let mut second = run.send(stamped(5, 0, 0, 3), Acks::Quorum).await;
    let mut gap = run.send(stamped(5, 0, 7, 3), Acks::Quorum).await;
    // The leader's ack of a later batch shows that the writer is done with these.
    run.send(batch(1, 20, None), Acks::Leader).await.await.unwrap();
    for ticket in [&mut first, &mut second, &mut gap] {
        assert!(ticket.now_or_never().is_none(), "none of it is decided: the first is not durable");
    }
    assert_eq!(run.handle.watermarks().log_end, offset(4), "the repeat is not in the log");
    run.rig.data.flusher().run_round();
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    assert_eq!((base(&first), first.duplicate, base(&second), second.duplicate), (0, false, 0, true));
    assert_eq!(gap.await.unwrap_err().code(), ErrorCode::OutOfOrderSequence);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn producers_are_known_after_a_restart_and_after_a_crash() {
    let mut run = Running::new().await;
    for n in 0..7 {
        run.append(stamped(5, 0, 2 * n, 2)).await.unwrap();
        run.append(batch(1, 20, None)).await.unwrap();
    }
    let table = run.partition.producers_for_test();
    for round in 0..3 {
        run = if round == 1 { run.crash().await } else { run.restart().await };
        assert_eq!(run.partition.producers_for_test(), table, "round {round}");
        let again = run.append(stamped(5, 0, 12, 2)).await.unwrap();
        assert_eq!((base(&again), again.duplicate), (18, true));
    }
    assert_eq!(base(&run.append(stamped(5, 0, 14, 2)).await.unwrap()), 21);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leader_acks_come_before_the_disk_and_no_acks_at_once() {
    let run = Running::on(Rig::new()).await;
    let none = run.send(batch(1, 20, None), Acks::None).await;
    let ack = none.now_or_never().unwrap().unwrap();
    assert_eq!((ack.base_offset, ack.acks), (None, Acks::None));
    run.append(batch(1, 20, None)).await.unwrap();
    run.rig.data.flusher().stop();
    let ack = run.send(batch(2, 20, None), Acks::Leader).await.await.unwrap();
    assert_eq!((ack.base_offset, ack.leader_epoch), (Some(offset(2)), run.handle.leadership().epoch));
    let mut quorum = run.send(batch(1, 20, None), Acks::Quorum).await;
    run.send(batch(1, 20, None), Acks::Leader).await.await.unwrap();
    assert!((&mut quorum).now_or_never().is_none(), "it is in the log, but not durable");
    assert_eq!(run.read(2).await.unwrap().batches.len(), 0, "and not committed, so nobody reads it");
    run.rig.data.flusher().run_round();
    assert_eq!(base(&quorum.await.unwrap()), 4);
    run.rig.data.flusher().start_thread().unwrap();
    // What is refused is told to those who wait for the leader too.
    run.append(stamped(5, 0, 0, 1)).await.unwrap();
    let refused = run.send(stamped(5, 0, 9, 1), Acks::Leader).await.await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::OutOfOrderSequence);
    let again = run.send(stamped(5, 0, 0, 1), Acks::Leader).await.await.unwrap();
    assert_eq!((again.base_offset, again.duplicate), (Some(offset(6)), true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_waits_for_what_comes() {
    let run = Running::new().await;
    let waiting = ReadFrom { wait: Duration::from_secs(30), ..from_offset(0) };
    let handle = run.handle.clone();
    let reading = tokio::spawn(async move { handle.read(waiting).await.unwrap() });
    tokio::task::yield_now().await;
    run.append(batch(2, 20, None)).await.unwrap();
    assert_eq!(reading.await.unwrap().next_offset, offset(2));
    // For more bytes than there are, until the time is over.
    let patient = ReadFrom { bytes_min: 1 << 19, wait: Duration::from_millis(30), ..from_offset(0) };
    assert_eq!(run.handle.read(patient).await.unwrap().next_offset, offset(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_ends_unasked_is_a_failure() {
    let run = Running::new().await;
    run.append(batch(1, 20, None)).await.unwrap();
    assert!(run.partition.failed().now_or_never().is_none());
    // As a panic would, but without its noise.
    run.partition.writer.abort();
    let failure = tokio::time::timeout(Duration::from_secs(5), run.partition.failed()).await.unwrap();
    assert!(failure.to_string().contains("orders-0") && failure.reason.contains("writes"), "{failure}");
    run.partition.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_out_of_range_say_what_is_there() {
    let run = Running::new().await;
    run.append(batch(2, 20, None)).await.unwrap();
    let refusal = run.read(3).await.unwrap_err();
    assert_eq!(refusal.code(), ErrorCode::OffsetOutOfRange);
    assert!(refusal.to_string().contains("holds 0 up to but not including 2"), "{refusal}");
    assert!(run.read(2).await.unwrap().batches.is_empty(), "the end is a place to wait at");
    let resolve = |position| run.handle.resolve(position);
    assert_eq!(resolve(Position::End).await.unwrap().offset, offset(2));
    assert_eq!(resolve(Position::Start).await.unwrap().offset, offset(0));
    let found = resolve(Position::Timestamp(Timestamp::from_ms(5))).await.unwrap();
    assert_eq!((found.offset, found.timestamp), (offset(0), Some(Timestamp::from_ms(1_000_000))));
    let later = resolve(Position::Timestamp(Timestamp::from_ms(1_000_001))).await.unwrap();
    assert_eq!((later.offset, later.timestamp), (offset(2), None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_moves_the_start_and_old_reads_are_refused() {
    let mut rig = Rig::new();
    rig.options = LogOptions { segment_bytes_max: 4_096, ..LogOptions::default() };
    let run = Running::on(rig).await;
    for _ in 0..60 {
        run.append(batch(1, 400, None)).await.unwrap();
    }
    run.partition.maintain().await.unwrap();
    let policy = RetentionPolicy { age_ms_max: None, bytes_max: Some(8_192) };
    run.partition.retain(policy, &QueueRetention::None).await.unwrap();
    let start = run.handle.watermarks().log_start;
    assert!(start > Offset::ZERO);
    assert_eq!(run.read(0).await.unwrap_err().code(), ErrorCode::OffsetOutOfRange);
    assert_eq!(run.handle.resolve(Position::Start).await.unwrap().offset, start);
    let run = run.restart().await;
    assert_eq!(run.handle.watermarks().log_start, start);
    assert_eq!(run.read(start.get()).await.unwrap().next_offset, offset(60));
    assert_eq!(base(&run.append(batch(1, 400, None)).await.unwrap()), 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_before_anything_is_stored() {
    let run = Running::new().await;
    run.append(stamped(5, 0, 0, 1)).await.unwrap();
    run.rig.disk.set_capacity(Some(0));
    // More than the space that is allocated ahead.
    let large = batch(1, 8 << 20 >> 1, None);
    let refusal = run.append(large.clone()).await.unwrap_err();
    assert_eq!(refusal.code(), ErrorCode::DiskFull);
    assert_eq!(run.handle.watermarks().log_end, offset(1));
    assert_eq!(run.read(0).await.unwrap().next_offset, offset(1), "reads go on");
    run.rig.disk.set_capacity(None);
    assert_eq!(base(&run.append(large).await.unwrap()), 1, "it recovers when there is space again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_start_is_not_overtaken() {
    let run = Running::new().await;
    run.append(batch(1, 20, None)).await.unwrap();
    run.rig.disk.set_capacity(Some(0));
    let stamp =
        ProducerStamp { id: ProducerId::new(5), epoch: ProducerEpoch::new(0), first_sequence: Sequence::new(0) };
    let large = batch(1, 4 << 20, Some(stamp));
    assert_eq!(run.append(large.clone()).await.unwrap_err().code(), ErrorCode::DiskFull);
    // Small enough for the space that is left, but it must not be stored before the first one.
    let next = run.append(stamped(5, 0, 1, 1)).await.unwrap_err();
    assert_eq!(next.code(), ErrorCode::UnknownProducer);
    run.rig.disk.set_capacity(None);
    assert_eq!(base(&run.append(large).await.unwrap()), 1);
    assert_eq!(base(&run.append(stamped(5, 0, 1, 1)).await.unwrap()), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_sync_acknowledges_nothing() {
    let run = Running::new().await;
    run.append(batch(1, 20, None)).await.unwrap();
    run.rig.disk.schedule(Fault::SyncError, 1);
    let lost = run.append(batch(1, 20, None)).await.unwrap_err();
    assert_eq!(lost.code(), ErrorCode::StorageFailed);
    let next = run.append(batch(1, 20, None)).await.unwrap_err();
    assert!(next.is_retryable(), "elsewhere, or after a restart: {next}");
    let failure = tokio::time::timeout(Duration::from_secs(20), run.partition.failed()).await.unwrap();
    assert!(failure.to_string().contains("no more writes"), "{failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_partition_says_so() {
    let run = Running::new().await;
    let waiting = ReadFrom { wait: Duration::from_secs(30), ..from_offset(0) };
    let reading = {
        let handle = run.handle.clone();
        tokio::spawn(async move { handle.read(waiting).await })
    };
    let Running { partition, handle, budget, rig: _rig } = run;
    tokio::task::yield_now().await;
    partition.shutdown().await;
    assert!(matches!(reading.await.unwrap(), Err(ReadError::Stopped | ReadError::NotLeader { .. })));
    let bytes = batch(1, 20, None);
    let permit = budget.acquire(bytes.len()).await.unwrap();
    let valid = ValidBatch::check(bytes, usize::MAX).unwrap();
    assert_eq!(handle.append(valid, Acks::Quorum, permit).await.unwrap_err(), AppendError::Stopped);
    assert_eq!(budget.available(), budget.total());
}
