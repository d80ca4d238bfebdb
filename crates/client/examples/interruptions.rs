//! Writes steadily to every partition of a topic and prints every time that one of them was not acknowledged for a while:
//! what clients notice of a node that is killed, or stopped.
//!
//! `cargo run --release -p highwater-client --example interruptions -- 127.0.0.1:7400,127.0.0.1:7410 orders 60 [100]`: the
//! servers, the topic, for how many seconds, and from how many milliseconds on a silence is told.

#![allow(clippy::print_stdout, reason = "an example shows what it did")]
#![allow(clippy::disallowed_methods, reason = "time is what this is about")]

use std::error::Error;
use std::time::{Duration, Instant};

use highwater_client::{Client, PartitionId, Producer, Record};

/// The pause between two records of a partition, which are sent without waiting for the ones before.
const PAUSE: Duration = Duration::from_millis(2);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let servers = arguments.next().unwrap_or_else(|| "127.0.0.1:7400".to_owned());
    let topic = arguments.next().unwrap_or_else(|| "orders".to_owned());
    let seconds: u64 = arguments.next().map_or(Ok(60), |text| text.parse())?;
    let told_from_ms: u64 = arguments.next().map_or(Ok(100), |text| text.parse())?;

    let client = Client::builder().servers(servers.split(',').map(str::to_owned)).connect().await?;
    let partitions = client.admin().describe_topic(&topic).await?.topic.partitions.len();
    let begin = Instant::now();
    let end = begin + Duration::from_secs(seconds);
    let mut watches = Vec::new();
    for partition in 0..u32::try_from(partitions)? {
        let producer = client.producer().linger(Duration::ZERO).build();
        let told_from = Duration::from_millis(told_from_ms);
        watches.push(tokio::spawn(watch(producer, topic.clone(), PartitionId::new(partition), begin, end, told_from)));
    }
    let mut failed = 0;
    for watch in watches {
        failed += watch.await?;
    }
    println!("{failed} records were not acknowledged");
    Ok(())
}

/// Returns how many records failed.
async fn watch(
    producer: Producer,
    topic: String,
    partition: PartitionId,
    begin: Instant,
    end: Instant,
    told_from: Duration,
) -> u64 {
    let (acknowledgements, mut acknowledged) = tokio::sync::mpsc::channel(4096);
    let sending = async move {
        while Instant::now() < end {
            let record = Record::new("are you there?").partition(partition);
            let Ok(delivery) = producer.send(&topic, record).await else { break };
            let acknowledgements = acknowledgements.clone();
            tokio::spawn(async move { acknowledgements.send(delivery.await.is_ok()).await });
            tokio::time::sleep(PAUSE).await;
        }
    };
    let (mut failed, mut last) = (0, None);
    let counting = async {
        while let Some(is_good) = acknowledged.recv().await {
            let now = Instant::now();
            let silence = now - last.replace(now).unwrap_or(now);
            if silence >= told_from {
                let (at, ms) = ((now - begin).as_secs_f64(), silence.as_millis());
                println!("at {at:.1} s partition {partition} was silent for {ms} ms");
            }
            failed += u64::from(!is_good);
        }
    };
    tokio::join!(sending, counting);
    failed
}
