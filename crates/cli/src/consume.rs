//! `highwater consume`: records of a topic on standard output.
//!
//! Owns: the arguments, and printing in the order in which records are read. Reading alone stands in `plain`, reading as a
//! member of a group in `group`.
//!
//! Invariant: what was read is written at the latest when there is nothing more to read just now.

mod group;
mod plain;

use std::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use highwater_client::{Position, ReadRecord};
use highwater_types::TopicName;

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
                        Without --exit-at-end and -n it waits for more until it is interrupted.\n\
                        With --group, Ctrl-C commits what was printed and leaves the group. What was printed when it was\n\
                        killed may be printed again by whoever reads on."
)]
pub(crate) struct ConsumeArgs {
    /// The topic
    topic: TopicName,
    /// Where to start: start, end, an offset, or @TIME, with the time in ms since 1970, as 2026-01-31T08:00:00Z, or as
    /// -15m for so long ago
    #[arg(long, value_name = "POSITION", default_value = "start", value_parser = parse_position,
          allow_hyphen_values = true)]
    offset: Position,
    /// The partition [default: all, as their records arrive]
    #[arg(long, value_name = "PARTITION")]
    partition: Option<u32>,
    /// Read as a member of this group: share the partitions with its other members, go on where the group was, and commit
    /// what was printed; 'group seek' sets where it goes on
    #[arg(short, long, value_name = "GROUP", conflicts_with_all = ["offset", "partition", "exit_at_end"],
          value_parser = NonEmptyStringValueParser::new())]
    group: Option<String>,
    /// A name to keep over restarts, and the place in the group with it
    #[arg(long, value_name = "NAME", requires = "group", value_parser = NonEmptyStringValueParser::new())]
    instance_id: Option<String>,
    /// Stop when nothing came for so long, such as 10s: with a group nobody knows which record is the last
    #[arg(long, value_name = "DURATION", requires = "group", value_parser = humantime::parse_duration)]
    exit_when_idle: Option<Duration>,
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
    match args.group.clone() {
        Some(group) => group::run(args, group).await,
        None => plain::run(args).await,
    }
}

/// Turns records into bytes of standard output.
struct Printer {
    format: RecordFormat,
    /// How many records are still to be printed.
    left: u64,
    buffer: Vec<u8>,
    sink: Sink,
}

impl Printer {
    fn new(args: &mut ConsumeArgs) -> Self {
        Self {
            format: args.format.take().unwrap_or_default(),
            left: args.count.unwrap_or(u64::MAX),
            buffer: Vec::with_capacity(BUFFER_BYTES),
            sink: Sink::stdout(),
        }
    }

    /// Prints one more record; it leaves with the next write.
    fn print(&mut self, record: &ReadRecord) {
        self.left = self.left.saturating_sub(1);
        self.format.print(&mut self.buffer, &Printable::new(&record.topic, record));
    }

    fn is_full(&self) -> bool {
        self.buffer.len() >= BUFFER_BYTES
    }

    /// Hands on what was printed.
    async fn write(&mut self) -> Audience {
        self.sink.write(&mut self.buffer).await
    }

    /// Hands on what was printed, and waits until standard output has it.
    async fn write_through(&mut self) -> Audience {
        self.sink.write_through(&mut self.buffer).await
    }
}
