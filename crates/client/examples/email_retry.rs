//! E-mails are sent, and sending fails: some succeed when they are tried again, some fail for good and are dead. Then the
//! cause is mended, and the dead are redriven and go through.
//!
//! `cargo run -p highwater-client --example email_retry`, beside a running `highwater dev`; the server is at
//! HIGHWATER_SERVER or 127.0.0.1:7400. It ends when all e-mails are sent, but for one that never can be.

#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use highwater_client::{
    Admin, Client, DeadFilter, ErrorCode, MessageOutcome, NewTopic, QueueBackoff, QueueMessage, QueueSettings,
    QueueStart, Record, WorkError, WorkerStats,
};

const EMAILS: &str = "emails";
const GROUP: &str = "smtp";
const DEAD_MAILBOX: &str = "mailbox is full";

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let server = std::env::var("HIGHWATER_SERVER").unwrap_or_else(|_| "127.0.0.1:7400".to_owned());
    let client = Client::connect(&server).await?;
    let admin = client.admin();
    match admin.create_topic(NewTopic::new(EMAILS).partitions(2)).await {
        Err(error) if error.code() == Some(ErrorCode::TopicExists) => {}
        other => drop(other?),
    }
    // A real service rests longer between attempts; the default is from a second to a minute, five times.
    let backoff = QueueBackoff::Exponential { first: Duration::from_millis(100), cap: Duration::from_secs(1) };
    let settings = QueueSettings::new().attempts_max(3).backoff(backoff);
    admin.set_queue(EMAILS, GROUP, settings, QueueStart::Kept).await?;

    let producer = client.producer().build();
    for address in ["ada@example.org", "slow@example.org", "full@example.org", "nonsense", "emre@example.org"] {
        let email = Record::new(format!("welcome, {address}")).key(address).ttl(Duration::from_secs(86_400));
        producer.send_and_wait(EMAILS, email).await?;
    }

    let is_mended = Arc::new(AtomicBool::new(false));
    let stats = work(&client, &is_mended).await?;
    println!("sent: {}, attempts that failed and come again: {}, dead: {}", stats.acked, stats.failed, stats.dead);
    show_the_dead(&admin).await?;

    println!("the mailbox has room again");
    is_mended.store(true, Ordering::Relaxed);
    let of_the_mailbox = DeadFilter::new().reason(DEAD_MAILBOX);
    let redriven = admin.redrive(EMAILS, GROUP, &of_the_mailbox, None, false).await?;
    println!("tried again, with three attempts more: {}", redriven.messages);
    let stats = work(&client, &is_mended).await?;
    println!("sent: {}", stats.acked);
    show_the_dead(&admin).await?;
    // Nothing makes an address of it.
    let given_up = admin.drop_dead(EMAILS, GROUP, &DeadFilter::new(), None, false).await?;
    println!("given up: {}", given_up.messages);
    Ok(())
}

/// Sends until there is nothing more to send.
async fn work(client: &Client, is_mended: &Arc<AtomicBool>) -> Result<WorkerStats, WorkError> {
    let is_mended = Arc::clone(is_mended);
    let worker = client.worker(EMAILS, GROUP).name("smtp-1").concurrency(4).exit_when_empty(true);
    worker.run(move |message| send(Arc::clone(&is_mended), message)).await
}

/// As if there was a mail server. An error fails the attempt with its text as the reason.
async fn send(is_mended: Arc<AtomicBool>, message: QueueMessage) -> Result<MessageOutcome, String> {
    let address = String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned();
    if !address.contains('@') {
        return Ok(MessageOutcome::reject(format_args!("{address:?} is no address")));
    }
    match address.split('@').next() {
        Some("slow") if message.attempt < 3 => return Err("timed out after 30 s".to_owned()),
        Some("full") if !is_mended.load(Ordering::Relaxed) => return Err(format!("{address}: {DEAD_MAILBOX}")),
        _ => {}
    }
    println!("sent to {address}, attempt {}", message.attempt);
    Ok(MessageOutcome::Ack)
}

async fn show_the_dead(admin: &Admin) -> Result<(), Failure> {
    for dead in admin.list_dead(EMAILS, GROUP, &DeadFilter::new(), 100, true).await?.messages {
        let key = dead.record.as_ref().and_then(|record| record.key.as_deref()).unwrap_or_default();
        println!("dead: {} at {}-{} {}", String::from_utf8_lossy(key), EMAILS, dead.partition, dead.offset);
        for attempt in &dead.status.journal {
            println!("  attempt {} by {}: {}", attempt.number, attempt.worker, attempt.reason);
        }
    }
    Ok(())
}
