//! Giving out: what the program gets when it asks for more.

use super::{Current, Out, Phase, Ready, Release, RevocationStep, State};
use crate::consumer::error::ConsumeError;
use crate::consumer::held::Mark;
use crate::consumer::rebalance::TopicPartitionName;
use crate::reader::{ReadBatch, ReadError, ReadRecord, ReadRecords};

/// A batch to be taken apart, which may take a while, and then to be given to [`State::install`].
#[derive(Debug)]
pub(in crate::consumer) struct Taken {
    pub(in crate::consumer) batch: ReadBatch,
    partition: TopicPartitionName,
    serial: u64,
}

/// What there is for a program that asks for a record.
#[derive(Debug)]
pub(in crate::consumer) enum Next {
    Record(ReadRecord),
    Batch(Taken),
    Failed(ConsumeError),
    Wait,
    End,
}

/// What there is for a program that asks for a batch.
#[derive(Debug)]
pub(in crate::consumer) enum NextBatch {
    Batch(ReadBatch),
    Failed(ConsumeError),
    Wait,
    End,
}

impl State {
    /// The program is done with what it was given.
    pub(in crate::consumer) fn come_back(&mut self) {
        self.asks = self.asks.wrapping_add(1);
        self.wakes_task |= std::mem::take(&mut self.is_ask_awaited);
        if let Out::Of { partition, .. } = std::mem::replace(&mut self.out, Out::Nothing) {
            // Perhaps that is what its revocation waits for.
            let waits = self.revocations.front().filter(|revocation| revocation.step == RevocationStep::Waiting);
            self.wakes_task |= waits.is_some_and(|revocation| revocation.partitions.contains(&partition));
        }
    }

    /// The next record, or what is in its way.
    pub(in crate::consumer) fn next_record(&mut self) -> Next {
        self.come_back();
        if let Some(error) = self.failure.take() {
            return Next::Failed(error);
        }
        if self.phase != Phase::Running {
            return Next::End;
        }
        if let Some(current) = &mut self.current {
            let before = current.given();
            match current.records.next() {
                Some(Ok(record)) => {
                    self.out = Out::OfCurrent { before };
                    return Next::Record(record);
                }
                Some(Err(error)) => {
                    let partition = current.partition.clone();
                    return Next::Failed(self.halt(partition, error));
                }
                None => self.close_current(),
            }
        }
        match self.ready.pop_front() {
            Some(Ready::Batch { partition, batch }) => {
                self.take_credit(batch.bytes().len());
                let serial = self.partitions.get(&partition).map_or(0, |held| held.serial);
                Next::Batch(Taken { batch, partition, serial })
            }
            Some(Ready::Failed { error, .. }) => Next::Failed(error),
            None => Next::Wait,
        }
    }

    /// The records of a batch that was taken; dropped when its partition went on without it.
    pub(in crate::consumer) fn install(
        &mut self,
        taken: Taken,
        records: Result<ReadRecords, ReadError>,
    ) -> Option<ConsumeError> {
        let held = self.partitions.get(&taken.partition);
        if held.is_none_or(|held| held.serial != taken.serial || held.release != Release::No) {
            return None;
        }
        match records {
            Ok(records) => {
                self.current = Some(Current { partition: taken.partition, records });
                None
            }
            Err(error) => Some(self.halt(taken.partition, error)),
        }
    }

    /// The next batch, or what is left of the one whose records were asked for.
    pub(in crate::consumer) fn next_batch(&mut self) -> NextBatch {
        self.come_back();
        if let Some(error) = self.failure.take() {
            return NextBatch::Failed(error);
        }
        if self.phase != Phase::Running {
            return NextBatch::End;
        }
        if let Some(current) = self.current.take() {
            let before = current.given();
            let rest = current.records.batch().clone().starting_at(before.offset);
            if before.offset < rest.next_offset() {
                return NextBatch::Batch(self.give_out(current.partition, rest, before));
            }
            self.current = Some(current);
            self.close_current();
        }
        match self.ready.pop_front() {
            Some(Ready::Batch { partition, batch }) => {
                self.take_credit(batch.bytes().len());
                let before = self.given(&partition).unwrap_or(Mark::at(batch.next_offset()));
                NextBatch::Batch(self.give_out(partition, batch, before))
            }
            Some(Ready::Failed { error, .. }) => NextBatch::Failed(error),
            None => NextBatch::Wait,
        }
    }

    fn give_out(&mut self, partition: TopicPartitionName, batch: ReadBatch, before: Mark) -> ReadBatch {
        if let Some(held) = self.partitions.get_mut(&partition) {
            held.given = Mark { offset: batch.next_offset(), leader_epoch: Some(batch.header().leader_epoch) };
        }
        self.out = Out::Of { partition, before };
        batch
    }

    /// A batch turned out to be unreadable: its partition stays where that was found.
    fn halt(&mut self, partition: TopicPartitionName, source: ReadError) -> ConsumeError {
        self.drop_waiting(&partition);
        if let Some(held) = self.partitions.get_mut(&partition) {
            held.has_failed = true;
            self.wakes_task = true;
        }
        ConsumeError::Unreadable { partition, source: Box::new(source) }
    }
}
