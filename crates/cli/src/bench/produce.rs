//! `highwater bench produce`: acknowledged records a second, and how long each acknowledgement took.

use clap::Args;
use highwater_client::{Client, Record};
use highwater_types::TopicName;

use super::load::Load;
use super::payload::Payloads;
use super::report::{BenchReport, Latencies};
use super::schedule::{Schedule, Ticks};
use super::{CommonArgs, CostMeter};
use crate::clock;
use crate::console::{Progress, byte_count};
use crate::error::CliError;

/// What `highwater bench produce` takes.
#[derive(Debug, Args)]
pub(crate) struct ProduceLoadArgs {
    /// How many records
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Records a second; latency then counts from when a record was due [default: as fast as they are acknowledged]
    #[arg(long, value_name = "PER SECOND", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

pub(super) async fn run(args: ProduceLoadArgs, client: &Client, topic: &TopicName) -> Result<BenchReport, CliError> {
    let meter = CostMeter::start(client).await?;
    let mut latencies = Latencies::new()?;
    let started = clock::now();
    send_all(&args.common, client, topic, args.count, args.rate, &mut latencies).await?;
    let elapsed = clock::now() - started;
    let cost = meter.stop(client).await?;
    let bytes = args.count.saturating_mul(byte_count(args.common.size()));
    Ok(BenchReport::new(args.count, bytes, elapsed, &latencies, cost))
}

/// Sends `count` records and waits for all acknowledgements.
pub(super) async fn send_all(
    common: &CommonArgs,
    client: &Client,
    topic: &TopicName,
    count: u64,
    rate: Option<u64>,
    latencies: &mut Latencies,
) -> Result<(), CliError> {
    const SHOW_EVERY: u64 = 4096;
    let producer = common.producer(client).build();
    let mut payloads = Payloads::new(common.size());
    let mut progress = Progress::start("sent");
    let mut load = Load::new(&producer, topic, common.in_flight(), latencies);
    let mut ticks = rate.map(|rate| Ticks::start(Schedule::new(rate, count)));
    while load.sent() < count {
        let due = match &mut ticks {
            Some(ticks) => Some(ticks.wait_for(load.sent()).await),
            None => None,
        };
        load.send(Record::new(payloads.next()), due).await?;
        if load.sent().is_multiple_of(SHOW_EVERY) {
            progress.show(load.sent(), load.sent().saturating_mul(byte_count(common.size())));
        }
    }
    load.finish().await?;
    progress.finish(count, 0);
    Ok(())
}
