//! The network between nodes: the transport's seam, simulated.
//!
//! A link has two lanes and each lane two ways; a way is a queue of frames with the times of their arrival. A cut keeps
//! what is under way and lets it arrive after the healing, as TCP does when its connection outlives the cut. Who is not
//! told that the other side is gone finds out by its silence.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use highwater_broker::peer::{Accept, Dialing, Frame, Hello, Link, PeerError, Pipe, Refusal, Transport};
use tokio::sync::mpsc::error::{TryRecvError, TrySendError};
use tokio::sync::{mpsc, oneshot};

use crate::network::{Machine, Network, State};
use crate::trace::note;

/// How many frames wait at either end of a way.
const FRAMES_MAX: usize = 32;
/// How long a dial waits for an answer.
const DIAL_PATIENCE: Duration = Duration::from_millis(1_500);

/// The address of a machine for other nodes.
pub fn address(machine: Machine) -> String {
    format!("node-{machine}:7401")
}

/// One machine's way to others.
pub struct SimTransport {
    pub network: Network,
    pub machine: Machine,
}

/// All links, and who listens.
#[derive(Default)]
pub struct Ways {
    listeners: BTreeMap<Machine, mpsc::Sender<Knock>>,
    dials: Vec<Dial>,
    answers: Vec<Answer>,
    links: BTreeMap<u64, SimLink>,
    made: u64,
    /// How many frames have arrived.
    pub frames: u64,
}

/// Somebody at the door.
struct Knock {
    link: u64,
    from: Machine,
    theirs: Hello,
}

struct Dial {
    at: u64,
    from: Machine,
    to: Machine,
    ours: Hello,
    reply: oneshot::Sender<Result<Link, PeerError>>,
}

/// The answer to a dial on its way back.
struct Answer {
    at: u64,
    from: Machine,
    to: Machine,
    reply: oneshot::Sender<Result<Link, PeerError>>,
    result: Result<Link, PeerError>,
}

struct SimLink {
    ways: Vec<Way>,
    /// Waits for the answer of who was dialed.
    dialer: Option<(Machine, Machine, oneshot::Sender<Result<Link, PeerError>>)>,
    /// When the side that is left learns that the other is gone; `None` while both are there.
    ends_at: Option<u64>,
    /// The side that is gone went without a word.
    is_silent: bool,
}

/// One direction of one lane.
struct Way {
    from: Machine,
    to: Machine,
    entrance: mpsc::Receiver<Frame>,
    exit: mpsc::Sender<Result<Frame, String>>,
    under_way: VecDeque<(u64, Frame)>,
    last_at: u64,
    is_over: bool,
}

impl Transport for SimTransport {
    fn dial(&self, address: &str, ours: Hello) -> Dialing {
        let unreachable =
            |reason: &str| PeerError::Unreachable { address: address.to_owned(), reason: reason.to_owned() };
        let (silent, unknown) = (unreachable("it does not answer"), unreachable("there is no such machine"));
        let number = address.strip_prefix("node-").and_then(|rest| rest.split(':').next()?.parse::<Machine>().ok());
        let (network, from) = (self.network.clone(), self.machine);
        Box::pin(async move {
            let Some(to) = number else { return Err(unknown) };
            let (reply, answer) = oneshot::channel();
            {
                let mut state = network.state();
                let at = state.now + state.delay();
                state.peers.dials.push(Dial { at, from, to, ours, reply });
            }
            match tokio::time::timeout(DIAL_PATIENCE, answer).await {
                Ok(Ok(result)) => result,
                Ok(Err(_)) | Err(_) => Err(silent),
            }
        })
    }
}

impl SimTransport {
    /// Lets others dial this machine; their links are taken in this machine's runtime.
    pub fn listen(&self, accept: Arc<dyn Accept>) {
        let (knock, mut knocks) = mpsc::channel::<Knock>(64);
        self.network.state().peers.listeners.insert(self.machine, knock);
        let (network, machine) = (self.network.clone(), self.machine);
        tokio::spawn(async move {
            while let Some(Knock { link, from, theirs }) = knocks.recv().await {
                let greeted = accept.greet(&theirs);
                note!("machine {machine} is dialed by {from}: {}", if greeted.is_ok() { "welcome" } else { "refused" });
                let taken = network.state().answer(link, greeted, theirs);
                if let Some(taken) = taken {
                    accept.accept(taken);
                }
            }
        });
    }
}

impl State {
    /// A machine is gone: those it talked to learn of it, or do not.
    pub fn machine_is_down(&mut self, machine: Machine) {
        self.peers.listeners.remove(&machine);
        self.peers.dials.retain(|dial| dial.from != machine);
        let is_silent = self.dice.percent(50);
        for link in self.peers.links.values_mut() {
            if link.ways.iter().any(|way| way.from == machine) {
                link.is_silent |= is_silent;
            }
        }
    }

    /// A machine is back: who sends to its old self is told.
    pub fn machine_is_up(&mut self, machine: Machine) {
        for link in self.peers.links.values_mut() {
            if link.ways.iter().any(|way| way.from == machine) {
                link.is_silent = false;
            }
        }
    }

    /// Whoever was dialed has answered; makes both ends of the link.
    fn answer(&mut self, number: u64, greeted: Result<Hello, Refusal>, theirs: Hello) -> Option<Link> {
        let (from, to, reply) = self.peers.links.get_mut(&number)?.dialer.take()?;
        let at = self.now + self.delay();
        let (result, taken) = match greeted {
            Ok(hello) => {
                let link = self.peers.links.get_mut(&number)?;
                let mut lane = || {
                    let (to_there, entrance) = mpsc::channel(FRAMES_MAX);
                    let (exit, there) = mpsc::channel(FRAMES_MAX);
                    link.ways.push(Way::new(from, to, entrance, exit));
                    let (to_here, entrance) = mpsc::channel(FRAMES_MAX);
                    let (exit, here) = mpsc::channel(FRAMES_MAX);
                    link.ways.push(Way::new(to, from, entrance, exit));
                    (Pipe { to_peer: to_there, from_peer: here }, Pipe { to_peer: to_here, from_peer: there })
                };
                let (urgent, their_urgent) = lane();
                let (bulk, their_bulk) = lane();
                let taken = Link { theirs, urgent: their_urgent, bulk: their_bulk };
                (Ok(Link { theirs: hello, urgent, bulk }), Some(taken))
            }
            Err(refusal) => {
                self.peers.links.remove(&number);
                let refusal = Refusal::Theirs { words: refusal.to_string() };
                (Err(PeerError::Refused { address: address(to), refusal }), None)
            }
        };
        self.peers.answers.push(Answer { at, from: to, to: from, reply, result });
        taken
    }
}

impl Way {
    fn new(
        from: Machine,
        to: Machine,
        entrance: mpsc::Receiver<Frame>,
        exit: mpsc::Sender<Result<Frame, String>>,
    ) -> Self {
        Self { from, to, entrance, exit, under_way: VecDeque::new(), last_at: 0, is_over: false }
    }
}

/// Delivers what arrives in this millisecond.
pub fn deliver(state: &mut State) {
    let mut ways = std::mem::take(&mut state.peers);
    dials(state, &mut ways);
    answers(state, &mut ways);
    ways.links.retain(|_, link| step(state, link, &mut ways.frames));
    // Nothing else adds to them while the state is held.
    state.peers = ways;
}

fn dials(state: &State, ways: &mut Ways) {
    for dial in std::mem::take(&mut ways.dials) {
        if dial.reply.is_closed() {
            continue;
        }
        if dial.at > state.now || state.is_cut(dial.from, dial.to) {
            ways.dials.push(dial);
            continue;
        }
        let Dial { from, to, ours, reply, .. } = dial;
        let Some(listener) = ways.listeners.get(&to) else {
            let refused = PeerError::Unreachable { address: address(to), reason: "nobody listens there".to_owned() };
            ways.answers.push(Answer { at: state.now + 1, from: to, to: from, reply, result: Err(refused) });
            continue;
        };
        ways.made += 1;
        if listener.try_send(Knock { link: ways.made, from, theirs: ours }).is_ok() {
            let link = SimLink { ways: Vec::new(), dialer: Some((from, to, reply)), ends_at: None, is_silent: false };
            ways.links.insert(ways.made, link);
        }
    }
}

fn answers(state: &State, ways: &mut Ways) {
    for answer in std::mem::take(&mut ways.answers) {
        if answer.at > state.now || state.is_cut(answer.from, answer.to) {
            if !answer.reply.is_closed() {
                ways.answers.push(answer);
            }
        } else {
            let _gave_up = answer.reply.send(answer.result);
        }
    }
}

/// One millisecond of a link; returns whether it is still there.
fn step(state: &mut State, link: &mut SimLink, frames: &mut u64) -> bool {
    if let Some((_, _, reply)) = &link.dialer {
        return !reply.is_closed();
    }
    let mut gone = None;
    for way in &mut link.ways {
        while way.under_way.len() < FRAMES_MAX {
            match way.entrance.try_recv() {
                Ok(frame) => {
                    way.last_at = way.last_at.max(state.now + state.delay());
                    way.under_way.push_back((way.last_at, frame));
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    way.is_over = true;
                    gone = Some((way.from, way.to));
                    break;
                }
            }
        }
        if way.exit.is_closed() {
            gone = Some((way.to, way.from));
        }
        if state.is_cut(way.from, way.to) {
            continue;
        }
        while let Some((_, frame)) = way.under_way.pop_front_if(|(at, _)| *at <= state.now) {
            match way.exit.try_send(Ok(frame)) {
                Ok(()) => *frames += 1,
                Err(TrySendError::Full(Ok(frame))) => {
                    way.under_way.push_front((state.now, frame));
                    break;
                }
                Err(_) => break,
            }
        }
    }
    let Some((gone, left)) = gone else { return true };
    // Word of it travels like a frame, after those before it.
    let last = link.ways.iter().filter(|way| way.from == gone).map(|way| way.last_at).max().unwrap_or(0);
    let ends_at = match link.ends_at {
        Some(ends_at) => ends_at,
        None => {
            let ends_at = (state.now + state.delay()).max(last);
            link.ends_at = Some(ends_at);
            ends_at
        }
    };
    link.is_silent || state.is_cut(gone, left) || state.now < ends_at
}
