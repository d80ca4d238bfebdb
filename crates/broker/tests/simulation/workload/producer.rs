//! Producers of one partition each: idempotent with several batches in flight, or plain and without a second try.

use bytes::Bytes;
use futures_util::future::join_all;
use highwater_types::batch::{BatchBuilder, Compression, ProducerStamp};
use highwater_types::{ErrorCode, ProducerEpoch, ProducerId, Sequence, Timestamp};

use super::{Busy, Clients, KnownTopic, next_guess, pause};
use crate::dice::Dice;
use crate::front::{Request, Response};
use crate::history::Event;
use crate::trace::now;

/// Batches in flight: as many as the broker remembers of a producer.
const IN_FLIGHT_MAX: u64 = 5;

struct Entry {
    values: Vec<u64>,
    batch: Bytes,
}

/// Sends until the end or the deletion of the topic; every batch until it is stored.
pub async fn idempotent(clients: Clients, topic: KnownTopic, number: u32) {
    let _busy = Busy::new(&clients);
    let (client, mut dice, partition) = (clients.number(), clients.dice(), topic.partition(number));
    let Response::Producer { id, epoch } = clients.insist(client, &mut dice, Request::ProducerId).await else {
        return clients.history.object("producer_ids", format!("producer {client} was refused an id for good"));
    };
    let mut sequence = Sequence::new(0);
    let mut to = *dice.pick(&clients.nodes);
    while !clients.is_ending.get() && !topic.is_going.get() {
        let mut window = Vec::new();
        for _ in 0..dice.between(1..=IN_FLIGHT_MAX) {
            let values: Vec<u64> = (0..dice.between(1..=3)).map(|_| clients.value()).collect();
            let stamp =
                ProducerStamp { id: ProducerId::new(id), epoch: ProducerEpoch::new(epoch), first_sequence: sequence };
            sequence = sequence.wrapping_add(u32::try_from(values.len()).unwrap());
            let batch = batch(&values, Some(stamp), &mut dice);
            let (producer, is_idempotent) = (client, true);
            clients.history.tell(&Event::Sent { partition, producer, values: values.clone(), is_idempotent });
            window.push(Entry { values, batch });
        }
        while !window.is_empty() {
            let calls = window.iter().map(|entry| {
                let (topic, batch) = (topic.name.clone(), entry.batch.clone());
                clients.network.call(client, to, Request::Produce { topic, partition: number, batch })
            });
            let answers = join_all(calls.collect::<Vec<_>>()).await;
            let mut left = Vec::new();
            let mut refusal = None;
            for (entry, answer) in window.into_iter().zip(answers) {
                let lost = is_lost(answer.as_ref()).filter(|_| left.is_empty());
                if let Some(words) = lost {
                    // All before it are stored: then this one comes next, or is there already.
                    let words = format!("{partition}: producer {client}, values {:?}: {words}", entry.values);
                    return clients.history.object("producers_are_not_forgotten", words);
                }
                if let Some(Response::Stored { base, .. }) = answer {
                    let values = entry.values;
                    clients.history.tell(&Event::Acked { partition, producer: client, base, values });
                } else {
                    if left.is_empty() {
                        refusal = answer;
                    }
                    left.push(entry);
                }
            }
            window = left;
            if topic.is_going.get() {
                return;
            }
            if !window.is_empty() {
                to = next_guess(refusal.as_ref(), &clients.nodes, &mut dice);
                pause(&mut dice, 5..=100).await;
            }
        }
        pause(&mut dice, 1..=400).await;
    }
}

/// Whether the server no longer knows what this producer has stored.
fn is_lost(answer: Option<&Response>) -> Option<String> {
    match answer {
        Some(Response::Refused { code, words, .. }) => {
            let is_lost = matches!(
                code,
                ErrorCode::UnknownProducer
                    | ErrorCode::OutOfOrderSequence
                    | ErrorCode::ProducerFenced
                    | ErrorCode::DuplicateSequence
            );
            is_lost.then(|| format!("{code}: {words}"))
        }
        _ => None,
    }
}

/// Sends each batch once.
pub async fn plain(clients: Clients, topic: KnownTopic, number: u32) {
    let _busy = Busy::new(&clients);
    let (client, mut dice, partition) = (clients.number(), clients.dice(), topic.partition(number));
    let mut to = *dice.pick(&clients.nodes);
    while !clients.is_ending.get() && !topic.is_going.get() {
        let values = vec![clients.value()];
        let batch = batch(&values, None, &mut dice);
        let (producer, is_idempotent) = (client, false);
        clients.history.tell(&Event::Sent { partition, producer, values: values.clone(), is_idempotent });
        let request = Request::Produce { topic: topic.name.clone(), partition: number, batch };
        let answer = clients.network.call(client, to, request).await;
        match &answer {
            Some(Response::Stored { base, .. }) => {
                clients.history.tell(&Event::Acked { partition, producer, base: *base, values });
            }
            // It may be stored.
            None | Some(Response::Refused { code: ErrorCode::OutcomeUnknown | ErrorCode::StorageFailed, .. }) => {}
            Some(_) => clients.history.tell(&Event::NotStored { partition, values }),
        }
        if !matches!(answer, Some(Response::Stored { .. })) {
            to = next_guess(answer.as_ref(), &clients.nodes, &mut dice);
        }
        pause(&mut dice, 10..=200).await;
    }
}

pub fn batch(values: &[u64], stamp: Option<ProducerStamp>, dice: &mut Dice) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    if let Some(stamp) = stamp {
        builder.set_producer(stamp);
    }
    let time = Timestamp::from_ms(1_700_000_000_000 + i64::try_from(now()).unwrap());
    for value in values {
        let mut bytes = value.to_be_bytes().to_vec();
        let padding = if dice.percent(5) { dice.between(2_000..=9_000) } else { dice.between(0..=200) };
        bytes.resize(8 + usize::try_from(padding).unwrap(), 7);
        let key = key_of(*value).map(u64::to_be_bytes);
        let delay: [(&str, Option<&[u8]>); 1] = [("delay", Some(DELAY_MS))];
        let headers = if is_delayed(*value) { delay.as_slice() } else { &[] };
        builder.append(time, key.as_ref().map(<[u8; 8]>::as_slice), Some(&bytes), headers).unwrap();
    }
    builder.finish().unwrap()
}

/// For how long messages are put off that are, in milliseconds.
const DELAY_MS: &[u8] = b"700";

/// The key of a value, which some have.
pub fn key_of(value: u64) -> Option<u64> {
    value.is_multiple_of(3).then_some(value / 3 % 6)
}

/// Whether a message with this value is not to be worked at at once.
pub fn is_delayed(value: u64) -> bool {
    value % 29 == 7
}
