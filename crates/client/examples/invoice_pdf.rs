//! Orders become invoices: a PDF each. Orders of one customer are handled one after the other, those of different customers
//! side by side.
//!
//! `cargo run -p highwater-client --example invoice_pdf`, beside a running `highwater dev`; the server is at
//! HIGHWATER_SERVER or 127.0.0.1:7400. It ends when there is nothing more to do, and says where the files are.

#![allow(clippy::print_stdout, reason = "an example shows what it did")]

use std::error::Error;
use std::path::{Path, PathBuf};

use highwater_client::{
    Client, ErrorCode, MessageOutcome, NewTopic, QueueMessage, QueueOrder, QueueSettings, QueueStart, Record,
};

const ORDERS: &str = "invoice-orders";
const GROUP: &str = "invoices";

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let server = std::env::var("HIGHWATER_SERVER").unwrap_or_else(|_| "127.0.0.1:7400".to_owned());
    let client = Client::connect(&server).await?;
    match client.admin().create_topic(NewTopic::new(ORDERS).partitions(2)).await {
        Err(error) if error.code() == Some(ErrorCode::TopicExists) => {}
        other => drop(other?),
    }
    let by_customer = QueueSettings::new().order(QueueOrder::Key);
    client.admin().set_queue(ORDERS, GROUP, by_customer, QueueStart::Kept).await?;

    let producer = client.producer().build();
    for (customer, items) in [
        ("ada", "3 x tea at 4.50"),
        ("bela", "1 x coffee (large) at 6.20"),
        ("ada", "1 x cake at 3.80"),
        ("chidi", "2 x water at 2.00"),
        ("bela", ""),
    ] {
        producer.send_and_wait(ORDERS, Record::new(items).key(customer)).await?;
    }

    let folder = std::env::temp_dir().join("highwater-invoices");
    tokio::fs::create_dir_all(&folder).await?;
    let place = folder.clone();
    let worker = client.worker(ORDERS, GROUP).name("invoices-1").exit_when_empty(true);
    let stats = worker.run(move |message| invoice(place.clone(), message)).await?;
    println!("invoices in {}: {}, orders that were rejected: {}", folder.display(), stats.acked, stats.dead);
    Ok(())
}

/// An order without items stays wrong however often it is tried, so it is rejected; a full disk is not its fault.
async fn invoice(folder: PathBuf, message: QueueMessage) -> Result<MessageOutcome, Failure> {
    let items = std::str::from_utf8(message.value())?;
    if items.is_empty() {
        return Ok(MessageOutcome::reject("an order without items"));
    }
    let customer = String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned();
    // The number comes from the message's place: handled twice, it is the same invoice.
    let number = format!("{}-{}", message.record.partition, message.record.offset);
    let lines = [format!("Invoice {number}"), format!("for {customer}"), items.to_owned()];
    let path = folder.join(format!("invoice-{number}.pdf"));
    write_whole(&path, &pdf(&lines)).await?;
    println!("{}: {customer}, {items}", path.display());
    Ok(MessageOutcome::Ack)
}

/// Under another name first: nobody sees half an invoice.
async fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let unfinished = path.with_extension("part");
    tokio::fs::write(&unfinished, bytes).await?;
    tokio::fs::rename(&unfinished, path).await
}

/// A page with a few lines of text, written by hand: five objects, and a table of where each of them begins.
fn pdf(lines: &[String]) -> Vec<u8> {
    let escaped = |line: &String| line.replace('\\', "\\\\").replace('(', "\\(").replace(')', "\\)");
    let shown: Vec<String> = lines.iter().map(|line| format!("({}) Tj T*", escaped(line))).collect();
    let text = format!("BT /F1 16 Tf 24 TL 72 760 Td {} ET", shown.join(" "));
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>"
            .to_owned(),
        format!("<< /Length {} >>\nstream\n{text}\nendstream", text.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned(),
    ];
    let mut file = "%PDF-1.4\n".to_owned();
    let mut table = format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for (index, object) in objects.iter().enumerate() {
        table.push_str(&format!("{:010} 00000 n \n", file.len()));
        file.push_str(&format!("{} 0 obj\n{object}\nendobj\n", index + 1));
    }
    let start = file.len();
    let trailer = format!("trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n", objects.len() + 1);
    (file + &table + &trailer).into_bytes()
}
