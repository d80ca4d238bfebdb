//! Reads a topic from its start to where it ends now, and sums up what is in it.
//!
//! `cargo run -p highwater-client --example replay -- 127.0.0.1:7400 orders`, after the `produce` example.

#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use std::collections::BTreeMap;
use std::error::Error;

use highwater_client::{Client, Position};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let server = arguments.next().unwrap_or_else(|| "127.0.0.1:7400".to_owned());
    let topic = arguments.next().unwrap_or_else(|| "orders".to_owned());

    let client = Client::connect(&server).await?;
    let mut reader = client.reader().topic(topic).from(Position::Start).stop_at_end().open().await?;
    let mut by_partition = BTreeMap::new();
    while let Some(record) = reader.next_record().await {
        let record = record?;
        let (records, bytes) = by_partition.entry(record.partition).or_insert((0_u64, 0_usize));
        *records += 1;
        *bytes += record.value.map_or(0, |value| value.len());
    }
    for (partition, (records, bytes)) in by_partition {
        println!("partition {partition}: {records} records, {bytes} bytes of values");
    }
    Ok(())
}
