//! What queues do against a running server. Each makes what it needs, under names that begin with `bench-`.
//!
//! `cargo bench -p highwater-client --bench queues -- WHAT HOST:PORT [NUMBER]`
//!
//! | WHAT | NUMBER | prints |
//! |---|---|---|
//! | `delayed` | messages that are not due for hours (1000000) | what the server's memory grew by, and how late others come that are due soon |
//! | `in-flight` | messages with a worker (1000000) | what the server's memory grew by |
//! | `behind` | messages that are acked behind one that is not (10000000) | what the server's memory grew by |
//! | `lost` | messages with a worker that is gone (1000) | how soon others have them |

#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a benchmark measures time and tells")]
#![allow(
    clippy::cast_precision_loss,
    clippy::unwrap_used,
    reason = "it prints figures, and stops where one is missing"
)]

use std::error::Error;
use std::future::pending;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use highwater_client::{Client, NewTopic, QueueSettings, QueueStart, Record, Timestamp};

type Failure = Box<dyn Error + Send + Sync>;

const GROUP: &str = "bench";
const MEBIBYTE: f64 = 1024.0 * 1024.0;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    let (what, server) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let number: Option<usize> = words.next().map(|number| number.parse()).transpose()?;
    match what.as_str() {
        "delayed" => delayed(&server, number.unwrap_or(1_000_000)).await,
        "in-flight" => in_flight(&server, number.unwrap_or(1_000_000)).await,
        "behind" => behind(&server, number.unwrap_or(10_000_000)).await,
        "lost" => lost(&server, number.unwrap_or(1_000)).await,
        _ => Err("delayed, in-flight, behind or lost, then HOST:PORT".into()),
    }
}

/// A topic of that name without records, and a queue group of it.
async fn make(server: &str, topic: &str, settings: QueueSettings) -> Result<Client, Failure> {
    let client = Client::connect(server).await?;
    let admin = client.admin();
    let _not_there = admin.delete_topic(topic).await;
    admin.create_topic(NewTopic::new(topic).partitions(4)).await?;
    admin.set_queue(topic, GROUP, settings, QueueStart::Kept).await?;
    Ok(client)
}

async fn produce(client: &Client, topic: &str, count: usize, record: impl Fn(usize) -> Record) -> Result<(), Failure> {
    let producer = client.producer().build();
    for number in 0..count {
        drop(producer.send(topic, record(number)).await?);
    }
    Ok(producer.flush().await?)
}

async fn rss_mebibytes(client: &Client) -> Result<f64, Failure> {
    Ok(client.admin().node_usage().await?.rss_bytes as f64 / MEBIBYTE)
}

/// Waits until the messages of the group add up to what is wanted.
async fn until(client: &Client, topic: &str, count: usize, which: impl Fn(&highwater_client::QueuePartition) -> u64) {
    let admin = client.admin();
    loop {
        let described = admin.describe_queue(topic, GROUP).await.unwrap();
        if described.partitions.iter().map(&which).sum::<u64>() >= count as u64 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn print_quantiles(what: &str, mut all: Vec<i64>) {
    all.sort_unstable();
    let at = |percent: usize| all.get((all.len() - 1) * percent / 100).unwrap();
    println!("{what}: p50 {} ms, p99 {} ms, max {} ms ({} messages)", at(50), at(99), at(100), all.len());
}

async fn delayed(server: &str, count: usize) -> Result<(), Failure> {
    const TOPIC: &str = "bench-delayed";
    const SOON: usize = 2_000;
    let client = make(server, TOPIC, QueueSettings::new()).await?;
    let before = rss_mebibytes(&client).await?;
    let hour = Duration::from_secs(3_600);
    produce(&client, TOPIC, count, |number| Record::new("x").delay(hour + Duration::from_millis(number as u64)))
        .await?;
    let late = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&late);
    let worker = client.worker(TOPIC, GROUP).concurrency(64).build();
    let handle = worker.handle();
    let working = tokio::spawn(worker.run(move |message| {
        let due: i64 = std::str::from_utf8(message.value()).unwrap().parse().unwrap();
        noted.lock().unwrap().push(now_ms() - due);
        async {}
    }));
    until(&client, TOPIC, count, |partition| partition.delayed).await;
    println!("{count} delayed messages: the server grew by {:.0} MiB", rss_mebibytes(&client).await? - before);
    // Over ten seconds, from in two seconds on.
    let start = now_ms() + 2_000;
    let due = |number: usize| start + i64::try_from(number * 10_000 / SOON).unwrap();
    produce(&client, TOPIC, SOON, |number| {
        Record::new(due(number).to_string()).deliver_at(Timestamp::from_ms(due(number)))
    })
    .await?;
    while late.lock().unwrap().len() < SOON {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    handle.stop();
    working.await??;
    print_quantiles("late", std::mem::take(&mut late.lock().unwrap()));
    Ok(())
}

async fn in_flight(server: &str, count: usize) -> Result<(), Failure> {
    const TOPIC: &str = "bench-in-flight";
    let all = u32::try_from(count)?;
    let mut settings = QueueSettings::new();
    (settings.in_flight_max, settings.worker_in_flight_max) = (Some(all), Some(all));
    let client = make(server, TOPIC, settings).await?;
    produce(&client, TOPIC, count, |_| Record::new("x")).await?;
    let before = rss_mebibytes(&client).await?;
    let worker = client.worker(TOPIC, GROUP).concurrency(count).build();
    let working = tokio::spawn(worker.run(|_| pending::<()>()));
    until(&client, TOPIC, count, |partition| partition.leased).await;
    println!("{count} messages in flight: the server grew by {:.0} MiB", rss_mebibytes(&client).await? - before);
    working.abort();
    Ok(())
}

async fn behind(server: &str, count: usize) -> Result<(), Failure> {
    const TOPIC: &str = "bench-behind";
    let client = make(server, TOPIC, QueueSettings::new()).await?;
    produce(&client, TOPIC, 4, |_| Record::new("never").partition(highwater_client::PartitionId::new(0))).await?;
    let done = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&done);
    let worker = client.worker(TOPIC, GROUP).concurrency(2_000).on_settled(move |settled| {
        counted.fetch_add(u64::from(settled.result.is_ok()), Ordering::Relaxed);
    });
    let worker = worker.build();
    let working = tokio::spawn(worker.run(|message| async move {
        if message.value() == b"never" {
            pending::<()>().await;
        }
    }));
    let mut last = None;
    for part in 0..10 {
        produce(&client, TOPIC, count / 10, |_| Record::new("x")).await?;
        while done.load(Ordering::Relaxed) < ((part + 1) * (count / 10)) as u64 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let rss = rss_mebibytes(&client).await?;
        println!("{} acked behind four that are not: {rss:.0} MiB resident", (part + 1) * (count / 10));
        last = Some(rss);
    }
    working.abort();
    last.map(drop).ok_or_else(|| "nothing was acked".into())
}

/// When each message comes to a second worker, in milliseconds since `since`.
async fn taken_over(client: &Client, topic: &str, count: usize, since: Instant) -> Result<Vec<i64>, Failure> {
    let (came, arrived) = tokio::sync::mpsc::channel(count);
    let mut arrived = arrived;
    let worker = client.worker(topic, GROUP).name("second").concurrency(count).build();
    let handle = worker.handle();
    let working = tokio::spawn(worker.run(move |_| {
        let _room = came.try_send(i64::try_from(since.elapsed().as_millis()).unwrap());
        async {}
    }));
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(arrived.recv().await);
    }
    handle.stop();
    working.await??;
    Ok(all)
}

async fn lost(server: &str, count: usize) -> Result<(), Failure> {
    const TOPIC: &str = "bench-lost";
    const LEASE: Duration = Duration::from_secs(3);
    let client = make(server, TOPIC, QueueSettings::new().lease(LEASE)).await?;
    produce(&client, TOPIC, count, |_| Record::new("x")).await?;
    // By long poll: no connection ends when nobody comes back.
    let queue = client.queue(TOPIC, GROUP);
    let (since, mut taken) = (Instant::now(), 0);
    while taken < count {
        taken += queue.receive(1_000, Duration::from_secs(1)).await?.len();
    }
    let lease_ms = i64::try_from(LEASE.as_millis())?;
    let after = taken_over(&client, TOPIC, count, since).await?.into_iter().map(|ms| ms - lease_ms).collect();
    print_quantiles("a worker that is not heard of, after the end of its leases", after);

    produce(&client, TOPIC, count, |_| Record::new("x")).await?;
    let first = Client::connect(server).await?;
    let worker = first.worker(TOPIC, GROUP).name("first").concurrency(count).build();
    let working = tokio::spawn(worker.run(|_| pending::<()>()));
    until(&client, TOPIC, count, |partition| partition.leased).await;
    working.abort();
    let _ended = working.await;
    drop(first);
    let after = taken_over(&client, TOPIC, count, Instant::now()).await?;
    print_quantiles("a worker whose stream ended, after that", after);
    Ok(())
}
