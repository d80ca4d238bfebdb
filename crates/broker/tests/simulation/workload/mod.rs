//! What clients do in a run.

pub mod admin;
pub mod groups;
pub mod producer;
pub mod queues;
pub mod reader;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use highwater_types::TopicName;

use crate::dice::Dice;
use crate::front::{Request, Response};
use crate::history::{History, Partition};
use crate::network::{Machine, Network};

/// What every client has. Clones are the same.
#[derive(Clone)]
pub struct Clients {
    pub network: Network,
    pub history: History,
    pub nodes: Rc<Vec<Machine>>,
    dice: Rc<RefCell<Dice>>,
    values: Rc<Cell<u64>>,
    numbers: Rc<Cell<u64>>,
    /// Set when nothing new is to be begun.
    pub is_ending: Rc<Cell<bool>>,
    /// Clients that are not done.
    pub busy: Rc<Cell<u64>>,
    /// Set when all is sent, and groups are to finish.
    pub is_draining: Rc<Cell<bool>>,
    /// Members and operators of groups that are not done.
    pub in_groups: Rc<Cell<u64>>,
    pub topics: Rc<RefCell<Vec<KnownTopic>>>,
}

/// A topic that the clients use.
#[derive(Clone)]
pub struct KnownTopic {
    pub name: TopicName,
    pub id: [u8; 16],
    pub partitions: u32,
    /// Set before its deletion is asked for.
    pub is_going: Rc<Cell<bool>>,
}

impl KnownTopic {
    pub fn partition(&self, number: u32) -> Partition {
        Partition { topic: self.id, number }
    }
}

impl Clients {
    pub fn new(network: Network, history: History, nodes: Vec<Machine>, dice: Dice) -> Self {
        Self {
            network,
            history,
            nodes: Rc::new(nodes),
            dice: Rc::new(RefCell::new(dice)),
            values: Rc::default(),
            numbers: Rc::default(),
            is_ending: Rc::default(),
            busy: Rc::default(),
            is_draining: Rc::default(),
            in_groups: Rc::default(),
            topics: Rc::default(),
        }
    }

    pub fn dice(&self) -> Dice {
        self.dice.borrow_mut().part()
    }

    /// A number for a client.
    pub fn number(&self) -> u64 {
        self.numbers.set(self.numbers.get() + 1);
        self.numbers.get()
    }

    /// A value that nobody sent before.
    pub fn value(&self) -> u64 {
        self.values.set(self.values.get() + 1);
        self.values.get()
    }

    /// Asks one node after another until one answers with something else than a refusal that may pass.
    pub async fn insist(&self, client: u64, dice: &mut Dice, request: Request) -> Response {
        loop {
            let to = *dice.pick(&self.nodes);
            match self.network.call(client, to, request.clone()).await {
                Some(Response::Refused { code, .. }) if code.is_retryable() => {}
                Some(response) => return response,
                None => {}
            }
            pause(dice, 10..=200).await;
        }
    }
}

/// Counts a client as busy while it lives.
pub struct Busy(Rc<Cell<u64>>);

impl Busy {
    pub fn new(clients: &Clients) -> Self {
        clients.busy.set(clients.busy.get() + 1);
        Self(Rc::clone(&clients.busy))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Counts a member or operator of a group while it lives.
pub struct Left(Rc<Cell<u64>>);

impl Left {
    pub fn new(clients: &Clients) -> Self {
        clients.in_groups.set(clients.in_groups.get() + 1);
        Self(Rc::clone(&clients.in_groups))
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

pub async fn pause(dice: &mut Dice, ms: std::ops::RangeInclusive<u64>) {
    tokio::time::sleep(Duration::from_millis(dice.between(ms))).await;
}

/// The node that leads, if the refusal named one; else any.
pub fn next_guess(response: Option<&Response>, nodes: &[Machine], dice: &mut Dice) -> Machine {
    if let Some(Response::Refused { leader: Some(leader), .. }) = response
        && let Some(machine) = nodes.iter().find(|machine| **machine as u64 == leader.get())
        && dice.percent(90)
    {
        return *machine;
    }
    *dice.pick(nodes)
}
