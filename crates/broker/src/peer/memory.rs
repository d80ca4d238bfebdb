//! The network in memory: several nodes in one process, and links that a test cuts, delays and breaks.
//!
//! Makes no choices of its own: a frame takes as long as the given function says, on tokio's clock, and a cut link keeps
//! its frames until it is healed or given up, as TCP does. Frames of a lane stay in order whatever their delays.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::error::PeerError;
use super::frame::Frame;
use super::hello::{self, Hello, Refusal};
use super::transport::{Accept, Dialing, Lane, Link, Pipe, Transport};
use crate::clock::Clock;

/// Frames under way on one lane of one link.
const UNDER_WAY_MAX: usize = 64;

/// A frame about to travel, for the function that says how long it takes.
#[derive(Clone, Copy, Debug)]
pub struct Hop<'a> {
    /// The address that sends.
    pub from: &'a str,
    /// The address that is sent to.
    pub to: &'a str,
    /// The lane.
    pub lane: Lane,
    /// Its size.
    pub bytes: usize,
}

type Delay = dyn Fn(Hop<'_>) -> Duration + Send + Sync;
type Cuts = BTreeSet<(String, String)>;

/// A network. Clones are the same network.
#[derive(Clone)]
pub struct MemoryNetwork(Arc<Inner>);

struct Inner {
    clock: Clock,
    delay: Box<Delay>,
    /// From whom to whom nothing travels.
    cuts: watch::Sender<Cuts>,
    places: Mutex<BTreeMap<String, Place>>,
}

#[derive(Default)]
struct Place {
    listener: Option<Arc<dyn Accept>>,
    /// Cancelled when every connection from and to it breaks.
    life: CancellationToken,
}

impl MemoryNetwork {
    /// A network without delays.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self::with_delays(clock, |_| Duration::ZERO)
    }

    /// A network whose frames take as long as `delay` says.
    #[must_use]
    pub fn with_delays(clock: Clock, delay: impl Fn(Hop<'_>) -> Duration + Send + Sync + 'static) -> Self {
        let (cuts, _) = watch::channel(Cuts::new());
        Self(Arc::new(Inner { clock, delay: Box::new(delay), cuts, places: Mutex::default() }))
    }

    /// The way out of the node at `address`.
    #[must_use]
    pub fn transport(&self, address: &str) -> MemoryTransport {
        MemoryTransport { network: self.clone(), address: address.to_owned() }
    }

    /// Lets the node at `address` be dialed.
    pub fn listen(&self, address: &str, accept: Arc<dyn Accept>) {
        self.places().entry(address.to_owned()).or_default().listener = Some(accept);
    }

    /// The node at `address` is gone: its connections break at once, and nobody answers there.
    pub fn vanish(&self, address: &str) {
        if let Some(place) = self.places().remove(address) {
            place.life.cancel();
        }
    }

    /// Its connections break at once; new ones are made.
    pub fn break_links(&self, address: &str) {
        if let Some(place) = self.places().get_mut(address) {
            std::mem::take(&mut place.life).cancel();
        }
    }

    /// Nothing passes between the two any more, nor does either learn of it.
    pub fn cut(&self, one: &str, other: &str) {
        self.cut_one_way(one, other);
        self.cut_one_way(other, one);
    }

    /// Nothing passes from one to the other.
    pub fn cut_one_way(&self, from: &str, to: &str) {
        self.0.cuts.send_modify(|cuts| {
            cuts.insert((from.to_owned(), to.to_owned()));
        });
    }

    /// Everything passes again between the two, what was held back too.
    pub fn heal(&self, one: &str, other: &str) {
        self.0.cuts.send_modify(|cuts| {
            cuts.retain(|(from, to)| !((from == one && to == other) || (from == other && to == one)));
        });
    }

    /// Everything passes again.
    pub fn heal_all(&self) {
        self.0.cuts.send_modify(BTreeSet::clear);
    }

    fn places(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Place>> {
        self.0.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn until_open(&self, from: &str, to: &str) {
        let is_open = |cuts: &Cuts| cuts.is_empty() || !cuts.contains(&(from.to_owned(), to.to_owned()));
        let mut cuts = self.0.cuts.subscribe();
        // This network has the sender: it does not go away.
        let _ = cuts.wait_for(is_open).await;
    }

    async fn dial(self, from: String, to: String, ours: Hello) -> Result<Link, PeerError> {
        let took = (self.0.delay)(Hop { from: &from, to: &to, lane: Lane::Urgent, bytes: 0 });
        if !took.is_zero() {
            sleep(took).await;
        }
        self.until_open(&from, &to).await;
        self.until_open(&to, &from).await;
        let (listener, lives) = {
            let mut places = self.places();
            let listener = places.get(&to).and_then(|place| place.listener.clone());
            let mut life = |address: &str| places.entry(address.to_owned()).or_default().life.clone();
            (listener, [life(&from), life(&to)])
        };
        let unreachable = |reason: &str| PeerError::Unreachable { address: to.clone(), reason: reason.to_owned() };
        let listener = listener.ok_or_else(|| unreachable("nobody listens there"))?;
        let refused = |refusal| PeerError::Refused { address: to.clone(), refusal };
        // As bytes, as on a real wire.
        let greeted = hello::decode(hello::encode(&ours)).and_then(|ours| listener.greet(&ours));
        let theirs = greeted.map_err(|refusal| refused(Refusal::Theirs { words: refusal.to_string() }))?;
        let lane = |lane| {
            let (to_there, there) = self.wire(&from, &to, lane, &lives);
            let (to_here, here) = self.wire(&to, &from, lane, &lives);
            (Pipe { to_peer: to_there, from_peer: here }, Pipe { to_peer: to_here, from_peer: there })
        };
        let (urgent, their_urgent) = lane(Lane::Urgent);
        let (bulk, their_bulk) = lane(Lane::Bulk);
        listener.accept(Link { theirs: ours, urgent: their_urgent, bulk: their_bulk });
        Ok(Link { theirs, urgent, bulk })
    }

    fn wire(
        &self,
        from: &str,
        to: &str,
        lane: Lane,
        lives: &[CancellationToken; 2],
    ) -> (mpsc::Sender<Frame>, mpsc::Receiver<Result<Frame, String>>) {
        let (entrance, frames) = mpsc::channel(1);
        let (arriving, exit) = mpsc::channel(1);
        let wire = Wire {
            network: self.clone(),
            from: from.to_owned(),
            to: to.to_owned(),
            lane,
            under_way: VecDeque::new(),
            last_at: self.0.clock.instant(),
        };
        let [one, other] = lives.clone();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = one.cancelled() => {}
                () = other.cancelled() => {}
                () = wire.run(frames, arriving) => {}
            }
        });
        (entrance, exit)
    }
}

/// One direction of one lane of one link.
struct Wire {
    network: MemoryNetwork,
    from: String,
    to: String,
    lane: Lane,
    under_way: VecDeque<(Instant, Frame)>,
    last_at: Instant,
}

impl Wire {
    async fn run(mut self, mut frames: mpsc::Receiver<Frame>, arriving: mpsc::Sender<Result<Frame, String>>) {
        let mut is_open = true;
        while is_open || !self.under_way.is_empty() {
            tokio::select! {
                biased;
                () = arriving.closed() => {
                    // The word of it has to come back first.
                    self.network.until_open(&self.to, &self.from).await;
                    return;
                }
                room = self.arrival(&arriving), if !self.under_way.is_empty() => match (room, self.under_way.pop_front()) {
                    (Some(room), Some((_, frame))) => room.send(Ok(frame)),
                    _ => return,
                },
                frame = frames.recv(), if is_open && self.under_way.len() < UNDER_WAY_MAX => match frame {
                    Some(frame) => self.depart(frame),
                    None => is_open = false,
                },
            }
        }
        // That nothing more comes is told like any frame.
        self.network.until_open(&self.from, &self.to).await;
    }

    fn depart(&mut self, frame: Frame) {
        let Self { from, to, lane, .. } = &*self;
        let took = (self.network.0.delay)(Hop { from, to, lane: *lane, bytes: frame.len() });
        self.last_at = self.last_at.max(self.network.0.clock.instant() + took);
        self.under_way.push_back((self.last_at, frame));
    }

    /// Waits until the first frame has arrived.
    async fn arrival<'a>(
        &self,
        arriving: &'a mpsc::Sender<Result<Frame, String>>,
    ) -> Option<mpsc::Permit<'a, Result<Frame, String>>> {
        let (at, _) = self.under_way.front()?;
        sleep_until(*at).await;
        self.network.until_open(&self.from, &self.to).await;
        arriving.reserve().await.ok()
    }
}

/// The way out of one node of a [`MemoryNetwork`].
#[derive(Clone, Debug)]
pub struct MemoryTransport {
    network: MemoryNetwork,
    address: String,
}

impl Transport for MemoryTransport {
    fn dial(&self, address: &str, ours: Hello) -> Dialing {
        Box::pin(self.network.clone().dial(self.address.clone(), address.to_owned(), ours))
    }
}

impl fmt::Debug for MemoryNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let listening: Vec<_> = self.places().keys().cloned().collect();
        f.debug_struct("MemoryNetwork").field("places", &listening).finish_non_exhaustive()
    }
}
