//! Readers: one follows a partition record by record, one asks for its end.

use highwater_types::ErrorCode;

use super::{Clients, KnownTopic, next_guess, pause};
use crate::front::{Request, Response};
use crate::history::Event;
use crate::trace::now;

/// Reads on from where it is, and now and then again from the start.
pub async fn follow(clients: Clients, topic: KnownTopic, number: u32) {
    let (client, mut dice, partition) = (clients.number(), clients.dice(), topic.partition(number));
    let mut to = *dice.pick(&clients.nodes);
    let mut at = 0;
    while !topic.is_going.get() {
        let (since, from) = (now(), at);
        let request = Request::Read { topic: topic.name.clone(), partition: number, from };
        match clients.network.call(client, to, request).await {
            Some(Response::Records(read)) => {
                at = read.next;
                clients.history.tell(&Event::WasRead { partition, from, read, since });
            }
            Some(Response::Refused { code: ErrorCode::OffsetOutOfRange, words, .. }) if !topic.is_going.get() => {
                let words = format!("{partition}: a reader had read up to {from} and was told: {words}");
                clients.history.object("readers_are_not_sent_away", words);
            }
            other => to = next_guess(other.as_ref(), &clients.nodes, &mut dice),
        }
        if dice.percent(2) {
            at = 0;
        }
        pause(&mut dice, 10..=150).await;
    }
}

/// Asks for the end.
pub async fn ends(clients: Clients, topic: KnownTopic, number: u32) {
    let (client, mut dice, partition) = (clients.number(), clients.dice(), topic.partition(number));
    while !topic.is_going.get() {
        let since = now();
        // Any node: one that led once, and does not know yet that it does no more, is the interesting one.
        let to = *dice.pick(&clients.nodes);
        let request = Request::End { topic: topic.name.clone(), partition: number };
        if let Some(Response::End(end)) = clients.network.call(client, to, request).await {
            clients.history.tell(&Event::End { partition, end, since });
        }
        pause(&mut dice, 5..=100).await;
    }
}
