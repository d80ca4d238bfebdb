//! The simulated network: what is under way between machines, for how long, and what is cut.
//!
//! Nothing here runs by itself: the world asks for what has arrived, millisecond by millisecond. Machine 0 is everybody
//! who is not a node: clients.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::dice::Dice;
use crate::front::{Call, Request, Response};

/// A machine: 0 is the clients', the nodes' follow.
pub type Machine = usize;
pub const CLIENTS: Machine = 0;

/// How long a client waits for an answer.
const CLIENT_PATIENCE: Duration = Duration::from_secs(4);

/// The network. Clones are the same.
#[derive(Clone)]
pub struct Network(Arc<Mutex<State>>);

pub struct State {
    pub now: u64,
    pub dice: Dice,
    /// From whom to whom nothing passes.
    pub cuts: BTreeSet<(Machine, Machine)>,
    /// The longest that a message takes, in milliseconds.
    pub delay_max: u64,
    /// Client messages that are lost, of a hundred.
    pub lost_percent: u64,
    /// What is lost of them so far.
    pub lost: u64,
    doors: BTreeMap<Machine, mpsc::Sender<Call>>,
    under_way: BTreeMap<(u64, u64), Parcel>,
    sent: u64,
    /// When the newest message of a client to a node arrives: one client's messages stay in order.
    last_of: BTreeMap<(u64, Machine), u64>,
    pub peers: crate::peers::Ways,
}

enum Parcel {
    Call { to: Machine, call: Call },
    Reply { from: Machine, reply: oneshot::Sender<Response>, response: Response },
}

impl Network {
    pub fn new(dice: Dice) -> Self {
        Self(Arc::new(Mutex::new(State {
            now: 0,
            dice,
            cuts: BTreeSet::new(),
            delay_max: 2,
            lost_percent: 0,
            lost: 0,
            doors: BTreeMap::new(),
            under_way: BTreeMap::new(),
            sent: 0,
            last_of: BTreeMap::new(),
            peers: crate::peers::Ways::default(),
        })))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// A node opens its door to clients, or closes it.
    pub fn set_door(&self, node: Machine, door: Option<mpsc::Sender<Call>>) {
        let mut state = self.state();
        match door {
            Some(door) => drop(state.doors.insert(node, door)),
            None => drop(state.doors.remove(&node)),
        }
    }

    /// Sends a client's request on its way at once; resolves with the answer, or with nothing when none came in time.
    pub fn call(&self, client: u64, to: Machine, request: Request) -> impl Future<Output = Option<Response>> + use<> {
        let (reply, answer) = oneshot::channel();
        let mut state = self.state();
        let earliest = state.last_of.get(&(client, to)).copied().unwrap_or(0);
        let at = (state.now + state.delay()).max(earliest);
        state.last_of.insert((client, to), at);
        state.send(at, Parcel::Call { to, call: Call { request, reply } });
        drop(state);
        let network = self.clone();
        async move {
            let answered = async {
                let response = answer.await.ok()?;
                // The way back.
                let (reply, arrived) = oneshot::channel();
                {
                    let mut state = network.state();
                    let at = state.now + state.delay();
                    state.send(at, Parcel::Reply { from: to, reply, response });
                }
                arrived.await.ok()
            };
            tokio::time::timeout(CLIENT_PATIENCE, answered).await.ok().flatten()
        }
    }

    /// Delivers what arrives in this millisecond.
    pub fn deliver(&self, now: u64) {
        let mut state = self.state();
        state.now = now;
        while let Some(first) = state.under_way.first_entry().filter(|first| first.key().0 <= now) {
            let parcel = first.remove();
            state.arrive(parcel);
        }
        crate::peers::deliver(&mut state);
    }
}

impl State {
    /// Everything passes again, and quickly.
    pub fn heal(&mut self) {
        self.cuts.clear();
        self.delay_max = 2;
        self.lost_percent = 0;
    }

    pub fn delay(&mut self) -> u64 {
        // Mostly fast, as networks are.
        if self.dice.percent(80) { 1 } else { self.dice.between(1..=self.delay_max) }
    }

    pub fn is_cut(&self, from: Machine, to: Machine) -> bool {
        self.cuts.contains(&(from, to))
    }

    fn send(&mut self, at: u64, parcel: Parcel) {
        self.sent += 1;
        self.under_way.insert((at, self.sent), parcel);
    }

    fn arrive(&mut self, parcel: Parcel) {
        let (from, to) = match &parcel {
            Parcel::Call { to, .. } => (CLIENTS, *to),
            Parcel::Reply { from, .. } => (*from, CLIENTS),
        };
        let is_lost = self.lost_percent > 0 && self.dice.percent(self.lost_percent);
        if is_lost || self.is_cut(from, to) {
            self.lost += 1;
            return;
        }
        match parcel {
            // A door that is closed or full drops the call, and the client waits for its time-out.
            Parcel::Call { to, call } => {
                if let Some(door) = self.doors.get(&to) {
                    let _closed_or_full = door.try_send(call);
                }
            }
            Parcel::Reply { reply, response, .. } => {
                let _client_gave_up = reply.send(response);
            }
        }
    }
}
