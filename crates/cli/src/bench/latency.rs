//! `highwater bench latency`: from the moment a record is due to the moment a reader has it, at a fixed rate.
//!
//! A reader waits at the end of the topic before the first record is sent. Sends go out in ticks of one millisecond, and
//! each record carries the time at which it was due: about half a millisecond of every figure is the tick's, and a
//! stall is charged to every record that was due while it lasted.

use std::time::{Duration, Instant};

use clap::Args;
use highwater_client::{Client, Position, Producer, ReadError, Reader, Record};
use highwater_types::TopicName;

use super::load::Load;
use super::payload::{stamp_of, stamped};
use super::report::{BenchReport, Latencies};
use super::schedule::{Schedule, Ticks};
use super::{CommonArgs, CostMeter};
use crate::clock;
use crate::console::byte_count;
use crate::error::CliError;

/// How long after the last record a missing one may still come.
const PATIENCE: Duration = Duration::from_secs(20);

/// What `highwater bench latency` takes.
#[derive(Debug, Args)]
pub(crate) struct LatencyLoadArgs {
    /// Records a second
    #[arg(long, value_name = "PER SECOND", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
    /// For how long
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// How many records, instead of --seconds
    #[arg(long, value_name = "COUNT", conflicts_with = "seconds", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

pub(super) async fn run(args: LatencyLoadArgs, client: &Client, topic: &TopicName) -> Result<BenchReport, CliError> {
    let total = args.count.unwrap_or(args.rate.saturating_mul(args.seconds));
    let failed = |source| CliError::Read { topic: topic.clone(), source };
    let mut reader = client.reader().topic(topic.as_str()).from(Position::End).open().await.map_err(failed)?;
    let producer = args.common.producer(client).build();
    warm_up(&producer, topic, &mut reader).await?;
    let meter = CostMeter::start(client).await?;
    let base = clock::now();
    let received = tokio::spawn(receive(reader, total, base));
    send(&args, &producer, topic, total, base).await?;
    let latencies = match tokio::time::timeout(PATIENCE, received).await {
        Ok(received) => received.map_err(CliError::Crashed)??,
        Err(_) => return Err(CliError::BenchLost { sent: total, waited: PATIENCE }),
    };
    let elapsed = clock::now() - base;
    let cost = meter.stop(client).await?;
    let bytes = total.saturating_mul(byte_count(args.common.size()));
    Ok(BenchReport::new(total, bytes, elapsed, &latencies, cost))
}

/// One record there and back: afterwards every connection is open and the reader is known to listen.
async fn warm_up(producer: &Producer, topic: &TopicName, reader: &mut Reader) -> Result<(), CliError> {
    producer.send_and_wait(topic.as_str(), Record::new("warm-up")).await?;
    match tokio::time::timeout(PATIENCE, reader.next_record()).await {
        Ok(Some(Ok(_))) => Ok(()),
        Ok(Some(Err(source))) => Err(CliError::Read { topic: topic.clone(), source }),
        Ok(None) | Err(_) => Err(CliError::BenchLost { sent: 1, waited: PATIENCE }),
    }
}

async fn send(
    args: &LatencyLoadArgs,
    producer: &Producer,
    topic: &TopicName,
    total: u64,
    base: Instant,
) -> Result<(), CliError> {
    let schedule = Schedule::new(args.rate, total);
    let mut ticks = Ticks::start_at(schedule, base);
    let mut acknowledged = Latencies::new()?;
    let mut load = Load::new(producer, topic, args.common.in_flight(), &mut acknowledged);
    while load.sent() < total {
        let due = ticks.wait_for(load.sent()).await;
        let stamp = schedule.due_us(load.sent());
        load.send(Record::new(stamped(stamp, args.common.size())), Some(due)).await?;
    }
    Ok(load.finish().await?)
}

/// Takes `total` records and times each against its stamp.
async fn receive(mut reader: Reader, total: u64, base: Instant) -> Result<Latencies, CliError> {
    let mut latencies = Latencies::new()?;
    let topic = reader.topic().clone();
    let failed = |source: ReadError| CliError::Read { topic: topic.clone(), source };
    while latencies.count() < total {
        let Some(record) = reader.next_record().await else { break };
        let arrived = clock::now() - base;
        if let Some(due_us) = record.map_err(failed)?.value.as_deref().and_then(stamp_of) {
            latencies.record(arrived.saturating_sub(Duration::from_micros(due_us)));
        }
    }
    Ok(latencies)
}
