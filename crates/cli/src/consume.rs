//! `highwater consume`: records of a topic on standard output.
//!
//! Owns: printing in the order in which records are read, and telling when to stop.
//!
//! Invariant: what was read is written at the latest when there is nothing more to read just now.

use clap::Args;
use futures_util::FutureExt as _;
use highwater_client::{Position, ReadBatch, ReadError, Reader};
use highwater_types::{PartitionId, TopicName};

use crate::args::ConnectArgs;
use crate::error::CliError;
use crate::position::parse_position;
use crate::record_format::{Printable, RecordFormat};
use crate::sink::{Audience, BUFFER_BYTES, Sink};

/// What `highwater consume` takes.
#[derive(Debug, Args)]
#[command(
    after_help = "Letters of the format: %s value, %k key, %S and %K their lengths (-1: none), %h headers, %t topic,\n\
                        %p partition, %o offset, %T timestamp in ms since 1970, %% a percent sign; and \\n \\r \\t \\0 \\\\ \\xFF.\n\
                        Without --exit-at-end and -n it waits for more until it is interrupted."
)]
pub(crate) struct ConsumeArgs {
    /// The topic
    topic: TopicName,
    /// Where to start: start, end, an offset, or @TIME, with the time in ms since 1970 or as 2026-01-31T08:00:00Z
    #[arg(long, value_name = "POSITION", default_value = "start", value_parser = parse_position,
          allow_hyphen_values = true)]
    offset: Position,
    /// The partition [default: all, as their records arrive]
    #[arg(long, value_name = "PARTITION")]
    partition: Option<u32>,
    /// Stop after so many records
    #[arg(short = 'n', long, value_name = "COUNT")]
    count: Option<u64>,
    /// How to print a record; nothing is added to it [default: the value and a newline]
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<RecordFormat>,
    /// Stop after the last record that is there at the start
    #[arg(long)]
    exit_at_end: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Prints records until told enough.
pub(crate) async fn run(args: ConsumeArgs) -> Result<(), CliError> {
    let client = args.connect.client().await?;
    let topic = &args.topic;
    let failed = |source| CliError::Read { topic: topic.clone(), source };
    let mut builder = client.reader().topic(topic.as_str()).from(args.offset);
    if let Some(partition) = args.partition {
        builder = builder.partitions([PartitionId::new(partition)]);
    }
    if args.exit_at_end {
        builder = builder.stop_at_end();
    }
    let mut reader = builder.open().await.map_err(failed)?;
    let mut printer = Printer {
        format: args.format.unwrap_or_default(),
        left: args.count.unwrap_or(u64::MAX),
        buffer: Vec::with_capacity(BUFFER_BYTES),
        sink: Sink::stdout(),
    };
    let printed = print_all(&mut reader, &mut printer).await;
    printer.sink.write(&mut printer.buffer).await;
    printer.sink.finish().await?;
    printed.map_err(failed)
}

struct Printer {
    format: RecordFormat,
    /// How many records are still to be printed.
    left: u64,
    buffer: Vec<u8>,
    sink: Sink,
}

async fn print_all(reader: &mut Reader, printer: &mut Printer) -> Result<(), ReadError> {
    let topic = reader.topic().clone();
    while printer.left > 0 {
        let batch = match reader.next_batch().now_or_never() {
            Some(batch) => batch,
            None => {
                if printer.sink.write(&mut printer.buffer).await == Audience::Left {
                    return Ok(());
                }
                tokio::select! {
                    batch = reader.next_batch() => batch,
                    () = printer.sink.left() => return Ok(()),
                }
            }
        };
        match batch {
            None => return Ok(()),
            Some(batch) => {
                if printer.print(&topic, &batch?).await? == Audience::Left {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

impl Printer {
    async fn print(&mut self, topic: &TopicName, batch: &ReadBatch) -> Result<Audience, ReadError> {
        for record in batch.records()? {
            if self.left == 0 {
                break;
            }
            self.left -= 1;
            self.format.print(&mut self.buffer, &Printable::new(topic, &record?));
            if self.buffer.len() >= BUFFER_BYTES && self.sink.write(&mut self.buffer).await == Audience::Left {
                return Ok(Audience::Left);
            }
        }
        Ok(Audience::Listens)
    }
}
