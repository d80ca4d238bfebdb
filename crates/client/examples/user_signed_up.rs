//! A user signs up, and three services follow everything about users, by the pattern `user.*`: one welcomes those who are
//! new, one counts, one keeps a search index. Each commits by itself, when its work is done and not before.
//!
//! `cargo run -p highwater-client --example user_signed_up`, beside a running `highwater dev`; the server is at
//! HIGHWATER_SERVER or 127.0.0.1:7400. It ends when all three have seen everything.

#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use std::error::Error;
use std::time::Duration;

use highwater_client::{Client, Commit, CommitOffset, ErrorCode, NewTopic, ReadRecord, Record};

const SIGNED_UP: &str = "user.signed-up";
const RENAMED: &str = "user.renamed";
const USERS: [&str; 5] = ["ada", "bela", "chidi", "dana", "emre"];

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let server = std::env::var("HIGHWATER_SERVER").unwrap_or_else(|_| "127.0.0.1:7400".to_owned());
    let client = Client::connect(&server).await?;
    for topic in [SIGNED_UP, RENAMED] {
        match client.admin().create_topic(NewTopic::new(topic).partitions(2)).await {
            Err(error) if error.code() == Some(ErrorCode::TopicExists) => {}
            other => drop(other?),
        }
    }

    // Users of this run, so that it can be run again.
    let run = std::process::id().to_string();
    let mut running = Vec::new();
    for service in ["welcome", "analytics", "search"] {
        running.push(tokio::spawn(serve(client.clone(), service, run.clone())));
    }

    let producer = client.producer().build();
    let event = |user: &str, text: String| Record::new(text).key(user.to_owned()).header("run", run.clone());
    for user in USERS {
        producer.send_and_wait(SIGNED_UP, event(user, format!("{user}@example.org"))).await?;
    }
    producer.send_and_wait(RENAMED, event("dana", "Dana the Great".to_owned())).await?;
    println!("{} users have signed up, and one has another name now", USERS.len());

    for service in running {
        tokio::time::timeout(Duration::from_secs(120), service).await???;
    }
    println!("each of the three services has seen all of it");
    Ok(())
}

async fn serve(client: Client, service: &'static str, run: String) -> Result<(), Failure> {
    let group = format!("users-{service}");
    let mut consumer = client.consumer(group).patterns(["user.*"]).commit(Commit::Manual).open().await?;
    let mut seen = 0;
    while seen < USERS.len() + 1 {
        let Some(record) = consumer.next_record().await else { return Err("the users have ended".into()) };
        let record = record?;
        if record.header("run") == Some(run.as_bytes()) {
            seen += 1;
            work(service, &record);
        }
        // Only now: should this process die before, the record comes again. At least once, never not at all.
        consumer.commit_offsets([CommitOffset::after(&record)]).await?;
    }
    consumer.close().await?;
    Ok(())
}

fn work(service: &str, record: &ReadRecord) {
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
    let (user, value) = (text(record.key.as_deref()), text(record.value.as_deref()));
    match (service, record.topic.as_str()) {
        ("welcome", SIGNED_UP) => println!("  welcome writes to {value}"),
        ("search", _) => println!("   search has {user} in its index as {value:?}"),
        ("analytics", topic) => println!("analytics counts one more of {topic}"),
        (_, topic) => println!("{service:>9} has no use for {topic}"),
    }
}
