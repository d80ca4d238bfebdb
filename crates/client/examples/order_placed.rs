//! An order is placed, and three services hear of it: one sends an e-mail, one takes the goods out of the inventory, one
//! writes the invoice. Each is a group of its own, so each of them sees every order; none knows of the others.
//!
//! `cargo run -p highwater-client --example order_placed`, beside a running `highwater dev`; the server is at
//! HIGHWATER_SERVER or 127.0.0.1:7400. It ends when all three have seen all orders.

#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use std::error::Error;
use std::time::Duration;

use highwater_client::{Client, ErrorCode, NewTopic, ReadRecord, Record};

const TOPIC: &str = "order-placed";
const ORDERS: usize = 12;

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let server = std::env::var("HIGHWATER_SERVER").unwrap_or_else(|_| "127.0.0.1:7400".to_owned());
    let client = Client::connect(&server).await?;
    match client.admin().create_topic(NewTopic::new(TOPIC).partitions(3)).await {
        Err(error) if error.code() == Some(ErrorCode::TopicExists) => {}
        other => drop(other?),
    }

    // Orders of this run, so that it can be run again.
    let run = std::process::id().to_string();
    let services = [
        ("email", "sends a confirmation for"),
        ("inventory", "reserves the goods of"),
        ("invoice", "writes the invoice of"),
    ];
    let mut running = Vec::new();
    for (group, does) in services {
        running.push(tokio::spawn(serve(client.clone(), group, does, run.clone())));
    }

    let producer = client.producer().build();
    for number in 0..ORDERS {
        // One customer's orders stay in their order: they go to one partition.
        let customer = format!("customer-{}", number % 4);
        let order = Record::new(format!("order {number}")).key(customer).header("run", run.clone());
        producer.send_and_wait(TOPIC, order).await?;
    }
    println!("{ORDERS} orders are placed");

    for service in running {
        tokio::time::timeout(Duration::from_secs(120), service).await???;
    }
    println!("each of the three services has seen each of the {ORDERS} orders");
    Ok(())
}

/// One service: a group of one member. Started twice, it would share the orders with itself.
async fn serve(client: Client, group: &'static str, does: &'static str, run: String) -> Result<(), Failure> {
    let mut consumer = client.consumer(group).topics([TOPIC]).client_id(group).open().await?;
    let mut seen = 0;
    while seen < ORDERS {
        let Some(record) = consumer.next_record().await else { return Err("the orders have ended".into()) };
        let record = record?;
        if record.header("run") != Some(run.as_bytes()) {
            continue;
        }
        seen += 1;
        println!("{group:>9} {does} {} of {}", text(record.value.as_deref()), customer(&record));
    }
    // Commits what is done and leaves: the next start goes on behind it.
    consumer.close().await?;
    Ok(())
}

fn customer(record: &ReadRecord) -> String {
    text(record.key.as_deref())
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}
