//! What stream groups do against a running server. Each makes what it needs, under names that begin with `bench-`.
//!
//! `cargo bench -p highwater-client --bench groups -- WHAT HOST:PORT [NUMBER]`
//!
//! | WHAT | NUMBER | prints |
//! |---|---|---|
//! | `commits` | members, each in a group of its own, with one commit under way (64) | commits a second |
//! | `fan-out` | connections (10) | MB/s of one group with so many members, and of as many groups with one member each |
//! | `rebalance` | members of one group (1000) | how long until a member more has its share, and who waited longest meanwhile |
//! | `memory` | groups, each with 100 offsets (10000) | what the server's memory grew by |

#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "a benchmark measures time and tells")]
#![allow(
    clippy::cast_precision_loss,
    clippy::unwrap_used,
    reason = "it prints figures, and stops where one is missing"
)]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use highwater_client::{
    Client, Commit, CommitOffset, Consumer, NewTopic, Offset, OffsetReset, PartitionId, Record, TopicName,
};
use tokio::task::JoinSet;

type Failure = Box<dyn Error + Send + Sync>;

const RUN: Duration = Duration::from_secs(10);
const MEBIBYTE: f64 = 1024.0 * 1024.0;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    let (what, server) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let number: Option<usize> = words.next().map(|number| number.parse()).transpose()?;
    match what.as_str() {
        "commits" => commits(&server, number.unwrap_or(64)).await,
        "fan-out" => fan_out(&server, number.unwrap_or(10)).await,
        "rebalance" => rebalance(&server, number.unwrap_or(1000)).await,
        "memory" => memory(&server, number.unwrap_or(10_000)).await,
        _ => Err("commits, fan-out, rebalance or memory, then HOST:PORT".into()),
    }
}

/// A topic of that name without records.
async fn make(client: &Client, name: &str, partitions: usize) -> Result<(), Failure> {
    let admin = client.admin();
    let _not_there = admin.delete_topic(name).await;
    admin.create_topic(NewTopic::new(name).partitions(u32::try_from(partitions)?)).await?;
    Ok(())
}

async fn open(client: &Client, group: String, topic: &str) -> Result<Consumer, Failure> {
    let builder = client.consumer(group).topics([topic]).commit(Commit::Manual);
    Ok(builder.on_no_offset(OffsetReset::Earliest).open().await?)
}

async fn until_assigned(consumer: &mut Consumer) {
    while consumer.assignment().is_empty() {
        let _nothing_yet = tokio::time::timeout(Duration::from_millis(5), consumer.next_record()).await;
    }
}

async fn commits(server: &str, members: usize) -> Result<(), Failure> {
    const TOPIC: &str = "bench-commits";
    let client = Client::connect(server).await?;
    make(&client, TOPIC, 1).await?;
    let producer = client.producer().build();
    for _ in 0..1_000 {
        producer.send(TOPIC, Record::new("x")).await?.await?;
    }
    let (done, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut tasks = JoinSet::new();
    for member in 0..members {
        let mut consumer = open(&client, format!("bench-commits-{member}"), TOPIC).await?;
        until_assigned(&mut consumer).await;
        let _first = consumer.next_record().await;
        let (done, stop, topic) = (Arc::clone(&done), Arc::clone(&stop), TopicName::new(TOPIC)?);
        tasks.spawn(async move {
            for offset in (0_u64..1_000).cycle() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let next = Offset::new(offset).unwrap();
                let offset = CommitOffset::new(topic.clone(), PartitionId::new(0), next);
                consumer.commit_offsets([offset]).await.unwrap();
                done.fetch_add(1, Ordering::Relaxed);
            }
            consumer.close().await.unwrap();
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (before, began) = (done.load(Ordering::Relaxed), Instant::now());
    tokio::time::sleep(RUN).await;
    let rate = (done.load(Ordering::Relaxed) - before) as f64 / began.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    tasks.join_all().await;
    println!("{members} members, one commit under way each: {rate:.0} commits/s");
    Ok(())
}

/// Reads for a while; how many bytes came a second, over all.
async fn rate(consumers: Vec<Consumer>) -> f64 {
    let (bytes, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut tasks = JoinSet::new();
    for mut consumer in consumers {
        let (bytes, stop) = (Arc::clone(&bytes), Arc::clone(&stop));
        tasks.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let next = tokio::time::timeout(Duration::from_millis(200), consumer.next_batch()).await;
                let Ok(Some(batch)) = next else { continue };
                bytes.fetch_add(batch.unwrap().bytes().len() as u64, Ordering::Relaxed);
            }
            consumer.close().await.unwrap();
        });
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (before, began) = (bytes.load(Ordering::Relaxed), Instant::now());
    tokio::time::sleep(RUN / 4).await;
    let rate = (bytes.load(Ordering::Relaxed) - before) as f64 / began.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    tasks.join_all().await;
    rate
}

async fn fan_out(server: &str, connections: usize) -> Result<(), Failure> {
    const TOPIC: &str = "bench-fan-out";
    /// So much that no group comes to the end within the time.
    const BYTES: usize = 12 << 30;
    const RECORD_BYTES: usize = 1024;
    let client = Client::connect(server).await?;
    make(&client, TOPIC, connections).await?;
    let producer = client.producer().build();
    let mut last = None;
    for number in 0..BYTES / RECORD_BYTES {
        let partition = PartitionId::new(u32::try_from(number % connections)?);
        let record = Record::new(vec![0_u8; RECORD_BYTES]).partition(partition);
        last = Some(producer.send(TOPIC, record).await?);
    }
    producer.flush().await?;
    drop(last);
    for round in 1..=3 {
        let mut one = Vec::new();
        for _ in 0..connections {
            one.push(open(&Client::connect(server).await?, format!("bench-one-{round}"), TOPIC).await?);
        }
        // Each has its share when nothing moves any more.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let one = rate(one).await;
        let mut many = Vec::new();
        for group in 0..connections {
            many.push(open(&Client::connect(server).await?, format!("bench-many-{round}-{group}"), TOPIC).await?);
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        let many = rate(many).await;
        println!(
            "one group with {connections} members {:.0} MiB/s, {connections} groups with one member {:.0} MiB/s: {:.0} %",
            one / MEBIBYTE,
            many / MEBIBYTE,
            100.0 * many / one
        );
    }
    Ok(())
}

async fn rebalance(server: &str, members: usize) -> Result<(), Failure> {
    const TOPIC: &str = "bench-rebalance";
    const GROUP: &str = "bench-rebalance";
    /// Members of one client, so that the members do not all come from one.
    const SHARED: usize = 100;
    let client = Client::connect(server).await?;
    make(&client, TOPIC, members + 1).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let writing = {
        let (producer, stop) = (client.producer().build(), Arc::clone(&stop));
        tokio::spawn(async move {
            // Every partition gets a record about every second, so that a reader that pauses is seen to.
            let mut turns = (0..=members).cycle();
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..=members / 100 {
                    let partition = PartitionId::new(u32::try_from(turns.next().unwrap()).unwrap());
                    drop(producer.send(TOPIC, Record::new("x").partition(partition)).await.unwrap());
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
    };
    let (latest_ms, since_ms) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let joined = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    let began = Instant::now();
    let mut shared = client.clone();
    for member in 0..members {
        if member % SHARED == 0 {
            shared = Client::connect(server).await?;
        }
        let client = shared.clone();
        let (latest_ms, since_ms) = (Arc::clone(&latest_ms), Arc::clone(&since_ms));
        let (stop, joined) = (Arc::clone(&stop), Arc::clone(&joined));
        tasks.spawn(async move {
            let mut consumer = open(&client, GROUP.to_owned(), TOPIC).await.unwrap();
            joined.fetch_add(1, Ordering::Relaxed);
            while !stop.load(Ordering::Relaxed) {
                let next = tokio::time::timeout(Duration::from_millis(500), consumer.next_record()).await;
                let Ok(Some(record)) = next else { continue };
                let stored = record.unwrap().timestamp.as_ms().unsigned_abs();
                // Who is given a partition reads it from its first record on, as nobody commits: those came late before.
                if stored >= since_ms.load(Ordering::Relaxed) {
                    latest_ms.fetch_max(now_ms().saturating_sub(stored), Ordering::Relaxed);
                }
            }
            consumer.close().await.unwrap();
        });
    }
    while joined.load(Ordering::Relaxed) < members as u64 || !is_shared(&client, GROUP, members).await {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("{members} members joined and have their partitions after {:.1} s", began.elapsed().as_secs_f64());
    for _ in 0..3 {
        since_ms.store(now_ms(), Ordering::Relaxed);
        latest_ms.store(0, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(3)).await;
        since_ms.store(now_ms(), Ordering::Relaxed);
        let calm = latest_ms.swap(0, Ordering::Relaxed);
        let began = Instant::now();
        let mut more = open(&client, GROUP.to_owned(), TOPIC).await?;
        until_assigned(&mut more).await;
        let took = began.elapsed();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let busy = latest_ms.load(Ordering::Relaxed);
        println!(
            "a member more has its share after {:.2} s; the latest record came {busy} ms after it was stored, in calm \
             {calm} ms",
            took.as_secs_f64()
        );
        more.close().await?;
        while !is_shared(&client, GROUP, members).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    writing.await?;
    tasks.join_all().await;
    Ok(())
}

/// By the clock that records are timed by.
fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

/// Whether every member has something.
async fn is_shared(client: &Client, group: &str, members: usize) -> bool {
    let Ok(described) = client.admin().describe_group(group).await else { return false };
    described.members.len() == members && described.members.iter().all(|member| !member.partitions.is_empty())
}

async fn memory(server: &str, groups: usize) -> Result<(), Failure> {
    const TOPIC: &str = "bench-memory";
    const OFFSETS: u32 = 100;
    let client = Client::connect(server).await?;
    make(&client, TOPIC, OFFSETS as usize).await?;
    let topic = TopicName::new(TOPIC)?;
    let commit = |group: usize| {
        let offset = |partition| CommitOffset::new(topic.clone(), PartitionId::new(partition), Offset::ZERO);
        let (admin, offsets) = (client.admin(), (0..OFFSETS).map(offset).collect());
        async move { admin.commit_group_offsets(&format!("bench-memory-{group}"), offsets).await }
    };
    commit(0).await?;
    let before = client.admin().node_usage().await?.rss_bytes;
    let began = Instant::now();
    for first in (1..groups).step_by(64) {
        let some: JoinSet<_> = (first..groups.min(first + 64)).map(commit).collect();
        for committed in some.join_all().await {
            assert!(committed?.is_empty());
        }
    }
    let took = began.elapsed().as_secs_f64();
    let after = client.admin().node_usage().await?.rss_bytes;
    println!(
        "{groups} groups of {OFFSETS} offsets, committed in {took:.1} s: memory {:.0} MiB, {:.0} MiB before",
        after as f64 / MEBIBYTE,
        before as f64 / MEBIBYTE
    );
    Ok(())
}
