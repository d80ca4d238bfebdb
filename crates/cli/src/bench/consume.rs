//! `highwater bench consume`: how fast a topic is read from its start to its end, record by record.

use clap::Args;
use highwater_client::{Client, ReadError};
use highwater_types::TopicName;

use super::produce::send_all;
use super::report::{BenchReport, Latencies};
use super::{CommonArgs, CostMeter};
use crate::clock;
use crate::console::{Progress, byte_count};
use crate::error::CliError;

/// What `highwater bench consume` takes.
#[derive(Debug, Args)]
pub(crate) struct ConsumeLoadArgs {
    /// How many records; also how many are written before, when no topic is given [default: 1000000, or all of --topic]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    #[command(flatten)]
    pub(super) common: CommonArgs,
}

pub(super) async fn run(args: ConsumeLoadArgs, client: &Client, topic: &TopicName) -> Result<BenchReport, CliError> {
    const COUNT_DEFAULT: u64 = 1_000_000;
    if args.common.topic.is_none() {
        let count = args.count.unwrap_or(COUNT_DEFAULT);
        send_all(&args.common, client, topic, count, None, &mut Latencies::new()?).await?;
    }
    let failed = |source| CliError::Read { topic: topic.clone(), source };
    let meter = CostMeter::start(client).await?;
    let mut waits = Latencies::new()?;
    let started = clock::now();
    let drained = drain(client, topic, args.count.unwrap_or(u64::MAX), &mut waits).await.map_err(failed)?;
    let elapsed = clock::now() - started;
    let cost = meter.stop(client).await?;
    Ok(BenchReport::new(drained.records, drained.bytes, elapsed, &waits, cost))
}

#[derive(Default)]
struct Drained {
    records: u64,
    bytes: u64,
}

/// Reads up to `count` records, each of them taken out of its batch.
async fn drain(client: &Client, topic: &TopicName, count: u64, waits: &mut Latencies) -> Result<Drained, ReadError> {
    let mut reader = client.reader().topic(topic.as_str()).stop_at_end().open().await?;
    let mut progress = Progress::start("read");
    let mut drained = Drained::default();
    while drained.records < count {
        let asked = clock::now();
        let Some(batch) = reader.next_batch().await else { break };
        waits.record(clock::now() - asked);
        for record in batch?.records()? {
            drained.records += 1;
            drained.bytes += record?.value.map_or(0, |value| byte_count(value.len()));
        }
        progress.show(drained.records, drained.bytes);
    }
    progress.finish(drained.records, drained.bytes);
    Ok(drained)
}
