//! Queue groups: workers that share the messages of the first partition of each topic, and an operator of each group, who makes it where there
//! are new partitions, changes things now and then, and sees in the end that every message is done or dead.
//!
//! Nothing is judged here but what an invariant cannot see: that everything comes to its end.

mod meddling;
mod operator;
mod way;
mod worker;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use highwater_groups::queue::{AckToken, Backoff, GroupId, Order, QueueConfig};
use tokio::task::spawn_local;

use super::{Clients, KnownTopic, Left, pause};
use crate::history::Queue;
use worker::Worker;

/// How many workers each group has.
const WORKERS: [u64; 2] = [3, 2];

/// How long a lease lasts, in milliseconds: short, so that some run out.
pub const LEASE_MS: u64 = 1_500;

/// The longest lease with all that it is extended by.
const LEASE_TOTAL_MS_MAX: u64 = 6_000;

/// After so many failures a message is dead.
const ATTEMPTS_MAX: u32 = 3;

/// How many tokens of others are remembered, to be shown by somebody who should not have them.
const TOKENS_MAX: usize = 64;

/// A queue group, and whether all is done.
#[derive(Clone)]
pub(super) struct KnownQueues {
    number: usize,
    id: GroupId,
    config: QueueConfig,
    is_over: Rc<Cell<bool>>,
    /// Tokens that workers had lately.
    tokens: Rc<RefCell<VecDeque<(Place, AckToken)>>>,
}

/// A partition of a topic.
#[derive(Clone)]
pub(super) struct Place {
    topic: KnownTopic,
    number: u32,
}

impl KnownQueues {
    fn new(number: usize) -> Self {
        let id = GroupId::new(&format!("queue-{number}")).unwrap();
        // The first one takes its messages as they come, the second one keeps the order of each key.
        let (order, backoff) = match number {
            0 => (Order::None, Backoff::Fixed { pause_ms: 100 }),
            _ => (Order::Key, Backoff::None),
        };
        let config = QueueConfig {
            lease_ms: LEASE_MS,
            lease_total_ms_max: LEASE_TOTAL_MS_MAX,
            attempts_max: ATTEMPTS_MAX,
            backoff,
            order,
            look_ahead: 64,
            breaker: None,
            ..QueueConfig::default()
        };
        Self { number, id, config, is_over: Rc::default(), tokens: Rc::default() }
    }

    fn at(&self, place: &Place) -> Queue {
        Queue { group: self.number, partition: place.topic.partition(place.number) }
    }

    fn note(&self, place: &Place, token: AckToken) {
        let mut tokens = self.tokens.borrow_mut();
        if tokens.len() == TOKENS_MAX {
            tokens.pop_front();
        }
        tokens.push_back((place.clone(), token));
    }
}

/// The first partition of every topic: more would cost as much time as all the rest of a run.
fn places(clients: &Clients) -> Vec<Place> {
    let topics = clients.topics.borrow();
    topics.iter().map(|topic| Place { topic: topic.clone(), number: 0 }).collect()
}

/// One group or the other, sometimes both, with their workers.
pub fn run(clients: &Clients) {
    let chance = clients.dice().between(0..=4);
    let is_there = |number: usize| chance == 4 || chance % 2 == number as u64;
    for (number, workers) in WORKERS.into_iter().enumerate().filter(|(number, _)| is_there(*number)) {
        let group = KnownQueues::new(number);
        spawn_local(operator::run(clients.clone(), group.clone(), Left::new(clients)));
        for _ in 0..workers {
            spawn_local(work(clients.clone(), group.clone(), Left::new(clients)));
        }
    }
}

/// One worker after another.
async fn work(clients: Clients, group: KnownQueues, _left: Left) {
    let mut dice = clients.dice();
    while !group.is_over.get() {
        Worker::new(&clients, &group).live().await;
        pause(&mut dice, 20..=1_000).await;
    }
}
