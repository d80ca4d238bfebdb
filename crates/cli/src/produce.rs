//! `highwater produce`: lines of standard input become records.
//!
//! Owns: turning lines into records, and pacing input by what the producer takes.
//!
//! Invariant: the number of acknowledged records that is reported is exact, however the command ends.

pub(crate) mod outcomes;

use std::io;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use highwater_client::{Acks, Compression, Producer, Record, SendError};
use highwater_types::{PartitionId, TopicName, limits};
use tokio::sync::mpsc::Receiver;

use self::outcomes::{Outcomes, ProduceStop};
use crate::args::ConnectArgs;
use crate::console::{Progress, remark};
use crate::error::CliError;
use crate::input;
use crate::key_value::KeyValue;
use crate::lines::Lines;
use crate::signals::Signals;

/// What `highwater produce` takes.
#[derive(Debug, Args)]
#[command(
    after_help = "Every line is a record, an empty one too; what is in it does not matter, only the newline does.\n\
                        Nothing is printed on standard output. When it fails, it says how many were acknowledged."
)]
pub(crate) struct ProduceArgs {
    /// The topic
    topic: TopicName,
    /// The partition [default: chosen from the key, or in turn when there is none]
    #[arg(long, value_name = "PARTITION")]
    partition: Option<u32>,
    /// The key of every record
    #[arg(short, long, conflicts_with = "key_separator")]
    key: Option<String>,
    /// Take the key from each line: what stands before this; a line without it has no key
    #[arg(short = 'K', long, value_name = "SEPARATOR", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    key_separator: Option<String>,
    /// A header of every record, as often as needed
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE", value_parser = parse_header)]
    headers: Vec<KeyValue>,
    #[command(flatten)]
    sending: SendingArgs,
    /// Give a record up that is not acknowledged in this time, such as 30s or 2m
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// How records are sent, for `produce` and for `bench`.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct SendingArgs {
    /// When a record counts as accepted
    #[arg(long, value_enum, default_value = "quorum")]
    pub(crate) acks: AcksArg,
    /// How batches are compressed: none, gzip, snappy, lz4 or zstd
    #[arg(long, value_name = "CODEC", default_value = "none")]
    pub(crate) compression: Compression,
}

/// When a record counts as accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AcksArg {
    /// When it was sent; it may be lost
    None,
    /// When the leader has written it, not yet fsynced; lost if that node loses power
    Leader,
    /// When a majority of the replicas has written and fsynced it
    Quorum,
}

impl From<AcksArg> for Acks {
    fn from(acks: AcksArg) -> Self {
        match acks {
            AcksArg::None => Self::None,
            AcksArg::Leader => Self::Leader,
            AcksArg::Quorum => Self::Quorum,
        }
    }
}

fn parse_header(text: &str) -> Result<KeyValue, &'static str> {
    text.parse().map_err(|_| "it has the form NAME=VALUE")
}

/// Sends everything that comes on standard input.
pub(crate) async fn run(args: ProduceArgs) -> Result<(), CliError> {
    let signals = Signals::listen().map_err(CliError::Signals)?;
    let client = args.connect.client().await?;
    let producer = client
        .producer()
        .acks(args.sending.acks.into())
        .compression(args.sending.compression)
        .delivery_timeout(args.timeout)
        .build();
    let mut sender = Sender {
        maker: RecordMaker::new(&args),
        topic: args.topic,
        producer,
        outcomes: Outcomes::new(),
        progress: Progress::start("acknowledged"),
        signals,
    };
    let stop = sender.send_all(input::stdin_chunks()).await.err();
    sender.finish(stop).await
}

struct Sender {
    topic: TopicName,
    maker: RecordMaker,
    producer: Producer,
    outcomes: Outcomes,
    progress: Progress,
    signals: Signals,
}

impl Sender {
    /// Sends lines until the input ends or something fails; a failure of a record is told by `outcomes`.
    async fn send_all(&mut self, mut chunks: Receiver<io::Result<Bytes>>) -> Result<(), ProduceStop> {
        let mut lines = Lines::new(limits::BATCH_BYTES_MAX);
        while !self.outcomes.has_failed() {
            tokio::select! {
                biased;
                () = self.signals.next() => return Err(ProduceStop::Interrupted),
                () = self.outcomes.settle_some(), if self.outcomes.is_waiting() => {
                    self.progress.show(self.outcomes.counts().acknowledged, self.outcomes.acknowledged_bytes());
                }
                chunk = chunks.recv() => match chunk {
                    Some(chunk) => {
                        lines.push(chunk.map_err(ProduceStop::Stdin)?);
                        while let Some(line) = lines.next_line().map_err(ProduceStop::LineTooLong)? {
                            self.send(line).await?;
                        }
                    }
                    None => {
                        if let Some(line) = lines.finish() {
                            self.send(line).await?;
                        }
                        return Ok(());
                    }
                },
            }
        }
        Ok(())
    }

    async fn send(&mut self, line: Bytes) -> Result<(), SendError> {
        let bytes = line.len();
        self.outcomes.send(&self.producer, &self.topic, self.maker.record(line), bytes).await
    }

    /// Waits for what is under way, and says how it went.
    async fn finish(mut self, stop: Option<ProduceStop>) -> Result<(), CliError> {
        let mut stop = stop;
        tokio::select! {
            () = self.signals.next() => stop = Some(ProduceStop::Interrupted),
            () = self.outcomes.settle_all() => {}
        }
        self.outcomes.give_up();
        let counts = self.outcomes.counts();
        let summary = self.progress.finish(counts.acknowledged, self.outcomes.acknowledged_bytes());
        // What the server said about a record explains more than what followed from it.
        match self.outcomes.into_failure().map(ProduceStop::Delivery).or(stop) {
            Some(cause) => Err(CliError::Produce { topic: self.topic, cause: Box::new(cause), counts }),
            None => {
                remark(summary);
                Ok(())
            }
        }
    }
}

/// Turns a line into a record.
#[derive(Debug)]
struct RecordMaker {
    partition: Option<PartitionId>,
    key: Option<Bytes>,
    separator: Option<memchr::memmem::Finder<'static>>,
    headers: Vec<KeyValue>,
}

impl RecordMaker {
    fn new(args: &ProduceArgs) -> Self {
        Self {
            partition: args.partition.map(PartitionId::new),
            key: args.key.clone().map(Bytes::from),
            separator: args.key_separator.as_ref().map(|text| memchr::memmem::Finder::new(text).into_owned()),
            headers: args.headers.clone(),
        }
    }

    fn record(&self, mut line: Bytes) -> Record {
        let mut key = self.key.clone();
        if let Some(separator) = &self.separator
            && let Some(at) = separator.find(&line)
        {
            key = Some(line.split_to(at));
            let _separator = line.split_to(separator.needle().len());
        }
        let mut record = Record::new(line);
        if let Some(key) = key {
            record = record.key(key);
        }
        if let Some(partition) = self.partition {
            record = record.partition(partition);
        }
        for header in &self.headers {
            record = record.header(header.key.as_str(), header.value.clone());
        }
        record
    }
}
