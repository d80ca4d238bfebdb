//! One partition in memory, with the rules of idempotent producing.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use highwater_client::{ErrorCode, Offset, limits};
use highwater_types::LeaderEpoch;
use highwater_types::batch::{BatchHeader, ValidBatch, records, stamp};

#[derive(Default)]
pub struct Log {
    pub batches: Vec<(BatchHeader, Bytes)>,
    pub start: u64,
    pub end: u64,
    producers: HashMap<i64, Producer>,
}

#[derive(Default)]
struct Producer {
    epoch: i16,
    next_sequence: i32,
    /// First sequence and offset of the last five batches.
    remembered: VecDeque<(i32, u64)>,
}

pub struct Stored {
    pub base_offset: u64,
    pub record_count: u32,
    pub duplicate: bool,
}

impl Log {
    pub fn append(&mut self, batch: &Bytes) -> Result<Stored, (ErrorCode, String)> {
        let valid = ValidBatch::check(batch.clone(), limits::BATCH_BYTES_MAX)
            .map_err(|error| (error.code(), error.to_string()))?;
        let record_count = valid.header().record_count;
        if let Some(stamp) = valid.header().producer {
            let producer = self.producers.entry(stamp.id.get()).or_default();
            let (epoch, first) = (stamp.epoch.get(), stamp.first_sequence.get());
            if epoch < producer.epoch {
                return Err((ErrorCode::ProducerFenced, format!("epoch {epoch} is over")));
            }
            if epoch > producer.epoch && first == 0 {
                *producer = Producer { epoch, ..Producer::default() };
            }
            if let Some((_, base_offset)) = producer.remembered.iter().find(|(sequence, _)| *sequence == first) {
                return Ok(Stored { base_offset: *base_offset, record_count, duplicate: true });
            }
            if first < producer.next_sequence {
                return Err((ErrorCode::DuplicateSequence, format!("sequence {first} is long stored")));
            }
            if first > producer.next_sequence && producer.next_sequence == 0 {
                return Err((ErrorCode::UnknownProducer, format!("{first}, not 0")));
            }
            if first > producer.next_sequence {
                return Err((ErrorCode::OutOfOrderSequence, format!("{first}, not {}", producer.next_sequence)));
            }
            producer.next_sequence += i32::try_from(record_count).unwrap();
            producer.remembered.push_back((first, self.end));
            if producer.remembered.len() > limits::PRODUCER_BATCHES_IN_FLIGHT_MAX {
                producer.remembered.pop_front();
            }
        }
        let base_offset = self.end;
        self.end += u64::from(record_count);
        let mut stamped = batch.to_vec();
        let first16 = stamped[..16].try_into().unwrap();
        stamped[..16].copy_from_slice(&stamp(Offset::new(base_offset).unwrap(), LeaderEpoch::new(1), first16));
        let stamped = Bytes::from(stamped);
        self.batches.push((BatchHeader::read(&stamped).unwrap(), stamped));
        Ok(Stored { base_offset, record_count, duplicate: false })
    }

    pub fn values(&self) -> Vec<String> {
        let all = self.batches.iter().flat_map(|(_, batch)| records(batch.clone()).unwrap());
        all.map(|record| String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap()).collect()
    }

    /// The first batch that ends after `from`.
    pub fn batch_from(&self, from: u64) -> Option<(BatchHeader, Bytes)> {
        self.batches.iter().find(|(header, _)| header.next_offset().get() > from).cloned()
    }
}
