//! Reading as a member of a group.
//!
//! Owns: what counts as done. A record is done when standard output has it; then the next one is asked for, and so the
//! consumer may commit it.
//!
//! Invariant: nothing is committed that standard output does not have. What could not be written is sought back to before
//! the group is left, so that whoever reads on gets it.

use std::time::Duration;

use highwater_client::{Client, Commit, ConsumeError, Consumer, Offset, PartitionId, ReadBatch, ReadRecord};
use highwater_types::TopicName;

use super::{ConsumeArgs, Printer};
use crate::error::CliError;
use crate::signals::Signals;
use crate::sink::Audience;

/// What the member calls itself, for people who look at the group.
const CLIENT_ID: &str = "highwater-consume";
/// A crash repeats what was printed for so long.
const COMMIT_EVERY: Duration = Duration::from_secs(1);

/// Prints records until told enough, or until Ctrl-C.
pub(super) async fn run(mut args: ConsumeArgs, group: String) -> Result<(), CliError> {
    let mut signals = Signals::listen().map_err(CliError::Signals)?;
    let client = args.connect.client().await?;
    let consumer = tokio::select! {
        consumer = open(&client, &args, group) => consumer?,
        () = signals.next() => return Err(CliError::Interrupted),
    };
    let mut session = Session {
        topic: args.topic.clone(),
        is_by_record: args.count.is_some(),
        idle_max: args.exit_when_idle,
        printer: Printer::new(&mut args),
        consumer,
        unwritten: None,
    };
    let printed = tokio::select! {
        printed = session.print_all() => printed,
        () = signals.next() => Ok(()),
    };
    // Whoever does not want to wait for that says so a second time.
    tokio::select! {
        ended = session.end() => printed.and(ended),
        () = signals.next() => Err(CliError::Interrupted),
    }
}

async fn open(client: &Client, args: &ConsumeArgs, group: String) -> Result<Consumer, CliError> {
    // A group may wait for a topic that does not exist yet; a person who mistyped it would wait for ever.
    client.admin().describe_topic(args.topic.as_str()).await.map_err(CliError::topic(&args.topic))?;
    let mut builder = client.consumer(group).topics([args.topic.as_str()]);
    if let Some(instance) = &args.instance_id {
        builder = builder.instance_id(instance);
    }
    let opened = builder.client_id(CLIENT_ID).commit(Commit::Every(COMMIT_EVERY)).open().await;
    opened.map_err(CliError::consume(&args.topic))
}

struct Session {
    topic: TopicName,
    consumer: Consumer,
    printer: Printer,
    /// How long nothing may come.
    idle_max: Option<Duration>,
    /// Whether to ask for single records, so that no more is done than is printed.
    is_by_record: bool,
    /// The first record that the consumer gave out and standard output may not have.
    unwritten: Option<(PartitionId, Offset)>,
}

enum Given {
    Record(ReadRecord),
    Batch(ReadBatch),
}

impl Session {
    async fn print_all(&mut self) -> Result<(), CliError> {
        while self.printer.left > 0 {
            let given = tokio::select! {
                given = give(&mut self.consumer, self.is_by_record, &self.topic) => given,
                () = self.printer.sink.left() => return Ok(()),
                () = idle(self.idle_max) => return Ok(()),
            };
            match given {
                None => return Ok(()),
                Some(given) => self.print(given?)?,
            }
            if self.printer.write_through().await == Audience::Left {
                return Ok(());
            }
            self.unwritten = None;
        }
        Ok(())
    }

    fn print(&mut self, given: Given) -> Result<(), CliError> {
        let batch = match given {
            Given::Record(record) => {
                self.print_one(&record);
                return Ok(());
            }
            Given::Batch(batch) => batch,
        };
        let failed = |source| CliError::Read { topic: self.topic.clone(), source };
        let records = batch.records().map_err(failed)?;
        self.unwritten = Some((batch.partition(), records.next_offset()));
        for record in records {
            let record = record.map_err(|source| CliError::Read { topic: self.topic.clone(), source })?;
            self.print_one(&record);
        }
        Ok(())
    }

    fn print_one(&mut self, record: &ReadRecord) {
        self.unwritten.get_or_insert((record.partition, record.offset));
        self.printer.print(record);
    }

    /// Commits what was written, and leaves the group.
    async fn end(mut self) -> Result<(), CliError> {
        let failed = CliError::consume(&self.topic);
        if let Some((partition, first)) = self.unwritten {
            match self.consumer.seek(self.topic.as_str(), partition, first).await {
                // Another member has it by now, and begins where this one had committed.
                Ok(_) | Err(ConsumeError::NotAssigned { .. }) => {}
                // The consumer is dropped, so nothing more is committed.
                Err(error) => return Err(failed(error)),
            }
        }
        let closed = self.consumer.close().await.map_err(failed);
        self.printer.sink.finish().await?;
        closed
    }
}

async fn idle(longest: Option<Duration>) {
    match longest {
        Some(longest) => tokio::time::sleep(longest).await,
        None => std::future::pending().await,
    }
}

/// The next record or batch; what was given out before is done. Dropping the future loses nothing.
async fn give(consumer: &mut Consumer, is_by_record: bool, topic: &TopicName) -> Option<Result<Given, CliError>> {
    let failed = CliError::consume(topic);
    if is_by_record {
        consumer.next_record().await.map(|record| record.map(Given::Record).map_err(failed))
    } else {
        consumer.next_batch().await.map(|batch| batch.map(Given::Batch).map_err(failed))
    }
}
