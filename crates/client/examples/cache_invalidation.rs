//! Two processes hold prices in a cache. Whoever changes a price tells a topic, and each process, not only one of them,
//! forgets what it holds: a broadcast. Nobody cares for what was changed before the process started, and nothing has to
//! remember how far it has read: no group.
//!
//! `cargo run -p highwater-client --example cache_invalidation`, beside a running `highwater dev`; the server is at
//! HIGHWATER_SERVER or 127.0.0.1:7400. The two processes are two tasks here. It ends when both caches are right again.

#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use highwater_client::{Broadcast, Client, ErrorCode, NewTopic, Position, Record};

const TOPIC: &str = "cache.prices";
const CHANGED: [&str; 3] = ["apple", "cherry", "date"];

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let server = std::env::var("HIGHWATER_SERVER").unwrap_or_else(|_| "127.0.0.1:7400".to_owned());
    let client = Client::connect(&server).await?;
    match client.admin().create_topic(NewTopic::new(TOPIC).partitions(1)).await {
        Err(error) if error.code() == Some(ErrorCode::TopicExists) => {}
        other => drop(other?),
    }

    let mut processes = Vec::new();
    for name in ["process one", "process two"] {
        // Opened before anything changes: from then on it misses nothing.
        let changes = client.broadcast().patterns(["cache.*"]).from(Position::End).open().await?;
        processes.push(tokio::spawn(keep_fresh(name, changes)));
    }

    let producer = client.producer().build();
    for fruit in CHANGED {
        println!("the price of {fruit} changes");
        producer.send_and_wait(TOPIC, Record::tombstone(fruit)).await?;
    }

    for process in processes {
        tokio::time::timeout(Duration::from_secs(60), process).await???;
    }
    println!("no cache holds an old price");
    Ok(())
}

async fn keep_fresh(name: &str, mut changes: Broadcast) -> Result<(), Failure> {
    let mut cache = BTreeMap::from([("apple", 3), ("banana", 2), ("cherry", 9), ("date", 5)]);
    let mut heard = 0;
    while heard < CHANGED.len() {
        let Some(change) = changes.next_record().await else { return Err("the changes have ended".into()) };
        let change = change?;
        let fruit = String::from_utf8_lossy(change.key.as_deref().unwrap_or_default()).into_owned();
        if cache.remove(fruit.as_str()).is_some() {
            println!("{name} forgets the price of {fruit}");
        }
        heard += 1;
    }
    println!("{name} still knows {:?}, and asks for the others when it needs them", cache.keys().collect::<Vec<_>>());
    Ok(())
}
