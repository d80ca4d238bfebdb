//! `highwater bench queue`: how fast messages go through a queue, each handed out, handled and acked by itself.
//!
//! The messages are produced before the clock starts. Every worker has a connection of its own, as workers on machines of
//! their own would. A message's latency is from when its worker has it to when its ack is confirmed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use highwater_client::{
    Client, Partition, QueueSettings, QueueStart, SettledMessage, WorkError, WorkerHandle, WorkerStats,
};
use highwater_types::TopicName;
use tokio::task::JoinSet;

use super::produce::send_all;
use super::report::{BenchReport, Latencies};
use super::{CommonArgs, CostMeter};
use crate::clock;
use crate::console::{Counting, byte_count};
use crate::error::CliError;
use crate::queue::QueueName;

/// Between two looks at how far the workers are.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// So long nothing may be acked before the rest counts as lost.
const PATIENCE: Duration = Duration::from_secs(60);

/// What `highwater bench queue` takes.
#[derive(Debug, Args)]
pub(crate) struct QueueLoadArgs {
    /// How many messages; written before, unless a topic is given [default: 1000000, or all of --topic]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// How many workers
    #[arg(long, value_name = "COUNT", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    workers: u16,
    /// At most so many messages with a worker at a time
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..))]
    parallel: u16,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

pub(super) async fn run(args: QueueLoadArgs, client: &Client, topic: &TopicName) -> Result<BenchReport, CliError> {
    const COUNT_DEFAULT: u64 = 1_000_000;
    let admin = client.admin();
    let count = if args.common.topic.is_none() {
        let count = args.count.unwrap_or(COUNT_DEFAULT);
        send_all(&args.common, client, topic, count, None, &mut Latencies::new()?).await?;
        count
    } else {
        let described = admin.describe_topic(topic.as_str()).await.map_err(CliError::topic(topic))?;
        let kept = |partition: &Partition| {
            partition.high_watermark.unwrap_or_default().records_since(partition.log_start.unwrap_or_default())
        };
        let kept = described.topic.partitions.iter().map(kept).sum();
        args.count.map_or(kept, |count| count.min(kept))
    };
    let queue = QueueName { topic: topic.clone(), group: clock::unique_name("bench") };
    let settings = QueueSettings::new();
    let set = admin.set_queue(topic.as_str(), &queue.group, settings, QueueStart::Kept).await;
    set.map_err(CliError::queue(&queue))?;
    let clients = clients(&args).await?;
    let meter = CostMeter::start(client).await?;
    let worked = work(&args, &queue, clients, count).await;
    let cost = meter.stop(client).await?;
    // The topic may stay; what this run knows of its messages does not.
    admin.delete_queue(topic.as_str(), &queue.group).await.map_err(CliError::queue(&queue))?;
    let (elapsed, latencies) = worked?;
    let bytes = count.saturating_mul(byte_count(args.common.size()));
    Ok(BenchReport::new(count, bytes, elapsed, &latencies, cost))
}

/// A client for each worker.
async fn clients(args: &QueueLoadArgs) -> Result<Vec<Client>, CliError> {
    let mut clients = Vec::new();
    for _ in 0..args.workers {
        clients.push(args.common.connect.client().await?);
    }
    Ok(clients)
}

/// What the workers have done.
struct Tally {
    acked: u64,
    latencies: Latencies,
    last_at: std::time::Instant,
}

/// Has all of it handled; how long that took, from the first worker's start to the last ack.
async fn work(
    args: &QueueLoadArgs,
    queue: &QueueName,
    clients: Vec<Client>,
    count: u64,
) -> Result<(Duration, Latencies), CliError> {
    let started = clock::now();
    let mut workers = Workers::start(args, queue, clients)?;
    let mut progress = Counting::start("done");
    let ended = loop {
        tokio::select! {
            Some(ended) = workers.running.join_next() => {
                let ended = ended.map_err(CliError::Crashed)?;
                break ended.map(drop).map_err(CliError::work(queue));
            }
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let (acked, last_at) = workers.progress();
        progress.show(acked);
        if acked >= count {
            break Ok(());
        }
        if clock::now() - last_at > PATIENCE {
            break Err(CliError::BenchLost { sent: count, waited: PATIENCE });
        }
    };
    progress.finish();
    workers.stop().await;
    ended?;
    let tallies = workers.tallies.into_iter().map(|tally| {
        let tally = Arc::into_inner(tally)?;
        Some(tally.into_inner().unwrap_or_else(PoisonError::into_inner))
    });
    let mut latencies = Latencies::new()?;
    let mut last_at = started;
    for tally in tallies.flatten() {
        latencies.add(&tally.latencies);
        last_at = last_at.max(tally.last_at);
    }
    Ok((last_at - started, latencies))
}

/// Workers that run.
struct Workers {
    running: JoinSet<Result<WorkerStats, WorkError>>,
    handles: Vec<WorkerHandle>,
    /// One a worker, so that they do not wait for each other.
    tallies: Vec<Arc<Mutex<Tally>>>,
}

impl Workers {
    fn start(args: &QueueLoadArgs, queue: &QueueName, clients: Vec<Client>) -> Result<Self, CliError> {
        let mut workers = Self { running: JoinSet::new(), handles: Vec::new(), tallies: Vec::new() };
        for (number, client) in clients.into_iter().enumerate() {
            let tally = Tally { acked: 0, latencies: Latencies::new()?, last_at: clock::now() };
            let tally = Arc::new(Mutex::new(tally));
            workers.tallies.push(Arc::clone(&tally));
            let worker = client
                .worker(queue.topic.as_str(), queue.group.as_str())
                .name(format!("bench-{number}"))
                .concurrency(args.parallel.into())
                .on_settled(move |settled| count_settled(&tally, settled))
                .build();
            workers.handles.push(worker.handle());
            workers.running.spawn(worker.run(|_| async {}));
        }
        Ok(workers)
    }

    /// How many messages are done, and when the last was.
    fn progress(&self) -> (u64, std::time::Instant) {
        let tallies = self.tallies.iter().map(|tally| {
            let tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            (tally.acked, tally.last_at)
        });
        let sum = |(acked, last): (u64, Option<_>), (more, at)| (acked + more, last.max(Some(at)));
        let (acked, last_at) = tallies.fold((0, None), sum);
        (acked, last_at.unwrap_or_else(clock::now))
    }

    async fn stop(&mut self) {
        self.handles.iter().for_each(WorkerHandle::stop);
        while self.running.join_next().await.is_some() {}
    }
}

fn count_settled(tally: &Mutex<Tally>, settled: &SettledMessage) {
    if settled.result.is_ok() {
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.acked += 1;
        tally.last_at = clock::now();
        tally.latencies.record(settled.took);
    }
}
