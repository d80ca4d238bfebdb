//! Places orders: a record for each, keyed by customer, so that one customer's orders stay in their order.
//!
//! `cargo run -p highwater-client --example produce -- 127.0.0.1:7400 1000`, beside a running `highwater dev`.

#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use std::error::Error;

use highwater_client::{Client, ErrorCode, NewTopic, Record};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let server = arguments.next().unwrap_or_else(|| "127.0.0.1:7400".to_owned());
    let orders: u32 = arguments.next().map_or(Ok(1000), |count| count.parse())?;

    let client = Client::connect(&server).await?;
    match client.admin().create_topic(NewTopic::new("orders").partitions(3)).await {
        Err(error) if error.code() == Some(ErrorCode::TopicExists) => {}
        other => drop(other?),
    }

    let producer = client.producer().build();
    let mut deliveries = Vec::new();
    for order in 0..orders {
        let placed = format!(r#"{{"event":"order placed","order":{order},"amount":{}}}"#, 5 + order % 95);
        let record = Record::new(placed).key(format!("customer-{}", order % 17)).header("source", "example");
        deliveries.push(producer.send("orders", record).await?);
    }
    let mut last = None;
    for delivery in deliveries {
        last = Some(delivery.await?);
    }
    if let Some(last) = last {
        println!("{orders} orders are stored; the last at partition {}, offset {:?}", last.partition, last.offset);
    }
    producer.close().await?;
    Ok(())
}
