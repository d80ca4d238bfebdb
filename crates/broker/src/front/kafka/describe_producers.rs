//! `DescribeProducers`: the idempotent producers that partitions remember.

use std::collections::HashSet;

use highwater_types::{ProducerEpoch, TopicPartition};

use super::call::Call;
use super::context::Context;
use super::error::{KafkaCode, Refusal, code_of, message_of};
use super::wire::{Malformed, Reader, Writer};
use crate::partition::ProducerSummary;

/// The most producers of one answer: a partition remembers thousands, and a request may name thousands of partitions.
const PRODUCERS_MAX: usize = 65_536;

pub(super) fn answer(mut call: Call, context: &Context) -> Result<Writer, Malformed> {
    let topics = call.body.array(|body| {
        let topic = (body.text()?, body.array(Reader::i32)?);
        body.tags()?;
        Ok(topic)
    })?;
    call.body.tags()?;
    let mut told = Told::default();
    let mut body = call.writer();
    body.i32(0);
    body.array(topics, |body, (topic, partitions)| {
        body.text(&topic);
        body.array(partitions, |body, partition| {
            let found = told.find(&topic, partition, context);
            body.i32(partition);
            body.i16(code_of(&found));
            body.nullable_text(message_of(&found));
            body.array(found.unwrap_or_default(), |body, producer| write(body, &producer));
            body.tags();
        });
        body.tags();
    });
    body.tags();
    Ok(body)
}

/// What the answer holds already.
#[derive(Default)]
struct Told {
    partitions: HashSet<TopicPartition>,
    producers: usize,
}

impl Told {
    fn find(&mut self, topic: &str, partition: i32, context: &Context) -> Result<Vec<ProducerSummary>, Refusal> {
        let at = context.partition_at(topic, partition)?;
        let handle = context.led(topic, partition)?;
        if !self.partitions.insert(at) {
            return Err(Refusal::new(KafkaCode::INVALID_REQUEST, "the partition is named more than once"));
        }
        let producers = handle.producers();
        self.producers += producers.len();
        if self.producers > PRODUCERS_MAX {
            let message =
                format!("one answer has at most {PRODUCERS_MAX} producers; ask for fewer partitions at a time");
            return Err(Refusal::new(KafkaCode::INVALID_REQUEST, message));
        }
        Ok(producers)
    }
}

fn write(body: &mut Writer, producer: &ProducerSummary) {
    body.i64(producer.id.get());
    body.i32(ProducerEpoch::get(producer.epoch).into());
    body.i32(producer.last_sequence.get());
    body.i64(producer.last_seen.as_ms());
    // No transactions: nobody coordinates one, and none is open.
    body.i32(-1);
    body.i64(-1);
    body.tags();
}
