//! How fast one partition takes and gives batches, in this process, on a real disk, fsync before the ack.
//!
//! ```text
//! cargo run --release -p highwater-broker --example partition_bench -- DIR [BATCH_BYTES] [IN_FLIGHT] [TOTAL_MIB] [check]
//! ```
//!
//! With `check` every batch is checked as a front does it. Ends with single appends, one after another, and reads all.
#![allow(clippy::print_stdout, reason = "this is what it is for")]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

use std::collections::VecDeque;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use highwater_broker::admission::ByteBudget;
use highwater_broker::clock::Clock;
use highwater_broker::partition::{
    Acks, ColdReads, Partition, PartitionHandle, PartitionSpec, ProducerLimits, ReadFrom,
};
use highwater_storage::disk::os::OsDisk;
use highwater_storage::{DataDir, DataDirOptions, Identity, LogKey, LogOptions};
use highwater_types::batch::{BatchBuilder, Compression, NO_HEADERS, ValidBatch};
use highwater_types::{ClusterId, NodeId, NodeUuid, Offset};

struct Options {
    dir: PathBuf,
    batch_bytes: usize,
    in_flight: usize,
    total_bytes: u64,
    checks: bool,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().ok_or("usage: partition_bench DIR [BATCH_BYTES] [IN_FLIGHT] [TOTAL_MIB] [check]")?.into();
    let mut number = |default| args.next().map_or(Ok(default), |arg| arg.parse::<u64>());
    let (batch_bytes, in_flight) = (number(65_536)? as usize, number(32)? as usize);
    let total_bytes = number(4_096)? << 20;
    let checks = args.next().is_some_and(|arg| arg == "check");
    let options = Options { dir, batch_bytes, in_flight, total_bytes, checks };
    let clock = Clock::system();
    let (data, partition) = open(&options, &clock).await?;
    let handle = partition.handle();
    throughput(&options, &clock, &handle).await?;
    latency(&clock, &handle).await?;
    read_all(&clock, &handle).await?;
    println!("flush rounds: {:?}", data.flusher().counts());
    partition.shutdown().await;
    Ok(())
}

async fn open(options: &Options, clock: &Clock) -> Result<(DataDir, Partition), Box<dyn Error>> {
    let data = DataDir::open(Arc::new(OsDisk::new()), &options.dir, DataDirOptions::default())?;
    let node = NodeId::new(1);
    data.set_identity(Identity { cluster: ClusterId::from_bytes([1; 16]), node, uuid: NodeUuid::from_bytes([2; 16]) })?;
    let key = LogKey::new([3; 16], 0);
    let (log, _) = data.open_log(key, LogOptions::default())?;
    let partition = Partition::open(PartitionSpec {
        name: "bench-0".to_owned(),
        key,
        log,
        votes: Arc::clone(data.votes()),
        node,
        first_voters: vec![node],
        network: highwater_broker::raft::PeerNetwork::alone(),
        clock: clock.clone(),
        producers: ProducerLimits::default(),
        cold_reads: ColdReads::new(4),
    })
    .await?;
    let started = clock.instant();
    partition.wait_until_serving().await?;
    println!("serves after {:?}", started.elapsed());
    Ok((data, partition))
}

fn batch(clock: &Clock, bytes: usize) -> Result<ValidBatch, Box<dyn Error>> {
    let mut builder = BatchBuilder::new(Compression::None);
    let value = vec![b'x'; 1_000.min(bytes.saturating_sub(90))];
    while builder.record_count() == 0 || builder.encoded_bytes() + value.len() < bytes {
        builder.append(clock.now(), None, Some(&value), NO_HEADERS)?;
    }
    Ok(ValidBatch::check(builder.finish()?, usize::MAX)?)
}

async fn throughput(options: &Options, clock: &Clock, handle: &PartitionHandle) -> Result<(), Box<dyn Error>> {
    let batch = batch(clock, options.batch_bytes)?;
    let bytes = batch.bytes().len();
    let count = options.total_bytes / bytes as u64;
    let budget = ByteBudget::new(bytes * options.in_flight);
    let mut waiting = VecDeque::new();
    let mut latencies = Vec::with_capacity(count as usize);
    let started = clock.instant();
    for _ in 0..count {
        if waiting.len() == options.in_flight
            && let Some((sent, ticket)) = waiting.pop_front()
        {
            finish(sent, ticket, &mut latencies).await?;
        }
        let permit = budget.acquire(bytes).await?;
        let sent = clock.instant();
        let next = if options.checks { ValidBatch::check(batch.bytes().clone(), usize::MAX)? } else { batch.clone() };
        waiting.push_back((sent, handle.append(next, Acks::Quorum, permit).await?));
    }
    for (sent, ticket) in waiting {
        finish(sent, ticket, &mut latencies).await?;
    }
    let seconds = started.elapsed().as_secs_f64();
    let megabytes = (count * bytes as u64) as f64 / 1e6;
    println!(
        "append: {bytes} bytes x {count}, {} in flight: {:.0} batches/s, {:.0} MB/s, {}",
        options.in_flight,
        count as f64 / seconds,
        megabytes / seconds,
        percentiles(latencies)
    );
    Ok(())
}

async fn finish(
    sent: tokio::time::Instant,
    ticket: highwater_broker::partition::AppendTicket,
    latencies: &mut Vec<Duration>,
) -> Result<(), Box<dyn Error>> {
    ticket.await?;
    latencies.push(sent.elapsed());
    Ok(())
}

async fn latency(clock: &Clock, handle: &PartitionHandle) -> Result<(), Box<dyn Error>> {
    let batch = batch(clock, 1_100)?;
    let budget = ByteBudget::new(1 << 20);
    for acks in [Acks::Leader, Acks::Quorum] {
        let mut latencies = Vec::new();
        for _ in 0..3_000 {
            let permit = budget.acquire(batch.bytes().len()).await?;
            let sent = clock.instant();
            handle.append(batch.clone(), acks, permit).await?.await?;
            latencies.push(sent.elapsed());
        }
        println!("single appends, acks {acks:?}: {}", percentiles(latencies));
    }
    Ok(())
}

async fn read_all(clock: &Clock, handle: &PartitionHandle) -> Result<(), Box<dyn Error>> {
    let end = handle.watermarks().committed;
    let (mut from, mut bytes, mut reads) = (Offset::ZERO, 0, 0_u64);
    let started = clock.instant();
    while from < end {
        let request = ReadFrom { from, bytes_max: 1 << 20, bytes_min: 1, wait: Duration::ZERO, may_follow: false };
        let result = handle.read(request).await?;
        (from, bytes, reads) = (result.next_offset, bytes + result.bytes, reads + 1);
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("read: {reads} reads, {:.0} MB/s (slices only, bytes not touched)", bytes as f64 / 1e6 / seconds);
    Ok(())
}

fn percentiles(mut latencies: Vec<Duration>) -> String {
    latencies.sort_unstable();
    let at = |part: f64| {
        let index = (latencies.len().saturating_sub(1) as f64 * part) as usize;
        latencies.get(index).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
    };
    format!("p50 {:.3} ms, p99 {:.3} ms, p99.9 {:.3} ms, max {:.3} ms", at(0.5), at(0.99), at(0.999), at(1.0))
}
