//! The one task of a partition's queues: takes commands, has the engine decide, proposes, releases the answers, reads the log
//! ahead, and wakes who waits.
//!
//! Invariants:
//! - Decisions are proposed in their order, for the term they were taken in.
//! - Space on the disk is made sure of before anything is decided that would write: a decision cannot be taken back.
//! - Nobody waits for ever. Whoever waits for a decision when a term is over is told that the outcome is unknown, and a
//!   leader that lost touch with the other replicas ends its term by itself.

mod ahead;

use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use highwater_groups::queue::{
    Command, Context, Desk, GroupId, Moment, Nonce, Queue, QueueConfig, QueuesImage, WorkerId,
};
use highwater_storage::{Log, ReserveError, framed_bytes};
use highwater_types::Offset;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::error::QueueError;
use super::leading::{Entry, Leading, Made};
use super::scan::{Scanned, scan};
use super::served::{Sender, Served};
use super::state::SharedQueues;
use crate::clock::Clock;
use crate::inbox::{Inbox, Over, Refusable, Refusal, Stop};
use crate::partition::{Reader, Space, Writes};
use crate::raft::{Leadership, OWN_BYTES_MAX, ProposeError, ProposeTicket, Replica};

/// Requests that may wait for their turn; whoever sends more waits for room.
pub(crate) const REQUESTS_WAITING_MAX: usize = 256;

/// The most requests that are decided at a time.
const BATCH_REQUESTS: usize = 256;

/// The most entries under way, and their bytes: beyond this requests wait, and more of them share an entry.
const IN_FLIGHT_ENTRIES_MAX: usize = 16;
const IN_FLIGHT_BYTES_MAX: u64 = 8 << 20;

/// There must be room for so many bytes of records, beside those under way, before anything is decided that writes. The
/// rare decision that needs more ends the term if there is none.
const HEADROOM_BYTES: u64 = 256 << 10;

/// How often it is looked whether there is hope for what is under way.
const LOOK: Duration = Duration::from_millis(250);

/// How long until deadlines are looked at again that could not be met because the disk is full.
const FULL_DISK_PAUSE: Duration = Duration::from_secs(1);

/// How long until the log is read again where it could not be read.
const SCAN_PAUSE: Duration = Duration::from_millis(500);

/// What is looked at: a group's desk, the queue, and the time; or why not.
pub(crate) type Looked<'a> = Result<(&'a Desk, &'a Queue, &'a Context), QueueError>;
/// `Sync`, because a request is kept in the task while it waits.
pub(crate) type Look = Box<dyn FnOnce(Looked<'_>) + Send + Sync>;

/// What a queue task is asked.
pub(crate) enum Request {
    /// A command, and where its answer goes.
    Command { group: GroupId, command: Command, reply: Sender },
    /// Make a group.
    Create { group: GroupId, config: QueueConfig, from_end: bool, reply: Made },
    /// Look at a group.
    Look { group: GroupId, look: Look },
    /// Tell when there is something for a worker.
    Wait { group: GroupId, worker: WorkerId, wake: oneshot::Sender<()> },
    /// The log begins later.
    Trimmed,
}

impl Refusable for Request {
    fn refuse(self, refusal: Refusal) {
        let error = match refusal {
            Refusal::NotLeader { leader } => QueueError::NotLeader { leader },
            Refusal::Stopped => QueueError::Stopped,
        };
        match self {
            Self::Command { reply, .. } => drop(reply.send(Err(error))),
            Self::Create { reply, .. } => drop(reply.send(Err(error))),
            Self::Look { look, .. } => look(Err(error)),
            // Dropped: whoever waits asks, and hears why.
            Self::Wait { .. } | Self::Trimmed => {}
        }
    }
}

type Scans = FuturesUnordered<BoxFuture<'static, Scanned>>;

pub(crate) struct QueueTask {
    replica: Replica,
    log: Log,
    reader: Reader,
    space: Space,
    image: SharedQueues,
    clock: Clock,
    /// The zero of this task's moments.
    started: Instant,
    inbox: Inbox<Request>,
    committed: watch::Receiver<Offset>,
    /// Whether the leadership is being handed over: then nothing is taken in until it is clear who leads.
    held_back: watch::Receiver<bool>,
    look: Interval,
}

impl QueueTask {
    pub(crate) fn new(
        reader: Reader,
        space: Space,
        image: SharedQueues,
        clock: Clock,
        requests: mpsc::Receiver<Request>,
    ) -> Self {
        let (replica, log) = (reader.replica.clone(), reader.log.clone());
        let (inbox, held_back) = (Inbox::new(requests, replica.leadership()), replica.held_back());
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (started, committed) = (clock.instant(), reader.committed.clone());
        Self { replica, log, reader, space, image, clock, started, inbox, committed, held_back, look }
    }

    /// Runs until told to stop.
    pub(crate) async fn run(mut self, stop: impl Future<Output = ()> + Send) {
        tokio::pin!(stop);
        while let Some(led) = self.inbox.until_led(stop.as_mut()).await {
            if matches!(self.lead(led, stop.as_mut()).await, Over::Stop) {
                break;
            }
        }
        self.inbox.close().await;
    }

    /// Decides, as long as this node leads in this term.
    async fn lead(&mut self, led: Leadership, mut stop: Stop<'_>) -> Over {
        let mut leading = Leading::new(led.term);
        let over = self.decide_all(&mut leading, stop.as_mut()).await;
        let left = leading.end();
        self.space.claim(Writes::Queues, 0);
        match over {
            Over::Stop => over,
            Over::Changed => self.inbox.end_term(led, left, Entry::fail, stop).await,
        }
    }

    /// Decides until the term is over, and says why.
    async fn decide_all(&mut self, leading: &mut Leading, mut stop: Stop<'_>) -> Over {
        let mut taken = Vec::with_capacity(BATCH_REQUESTS);
        let mut scans = Scans::new();
        let mut full_until = self.started;
        taken.extend(self.inbox.early());
        taken.push(Request::Trimmed);
        self.take_in(leading, &mut taken).await;
        loop {
            self.propose(leading).await;
            self.wake(leading);
            if leading.has_fallen() {
                return Over::Changed;
            }
            self.start_scans(leading, &mut scans);
            let is_held_back = *self.held_back.borrow_and_update();
            let has_room = leading.in_flight.len() < IN_FLIGHT_ENTRIES_MAX
                && leading.in_flight.bytes() < IN_FLIGHT_BYTES_MAX
                && !is_held_back;
            let due = self.next_deadline(leading).map(|due| due.max(full_until));
            tokio::select! {
                biased;
                (entry, outcome) = leading.in_flight.next() => match outcome {
                    Ok(_committed) => {
                        let context = self.context();
                        leading.committed(&self.image.lock(), entry, &context);
                    }
                    Err(error) => {
                        tracing::debug!(%error, "what was decided about queues is not committed");
                        return Over::Changed;
                    }
                },
                () = &mut stop => return Over::Stop,
                changed = self.inbox.leadership.changed() => {
                    let led = self.inbox.led();
                    if changed.is_err() || !led.serves_writes || led.term != leading.term {
                        return Over::Changed;
                    }
                }
                // The replica holds the other end, and this task the replica.
                _ = self.held_back.changed() => {}
                count = self.inbox.requests.recv_many(&mut taken, BATCH_REQUESTS), if has_room => {
                    if count == 0 {
                        return Over::Stop;
                    }
                    self.take_in(leading, &mut taken).await;
                }
                Some(scanned) = scans.next(), if has_room && !scans.is_empty() => self.scanned(leading, scanned),
                // More of the log may be read ahead.
                changed = self.committed.changed(), if !leading.served.is_empty() => {
                    // The replica has stopped by itself, and will say so.
                    if changed.is_err() {
                        return Over::Changed;
                    }
                }
                () = until(due), if has_room => match self.reserve(leading) {
                    Ok(()) => self.tick(leading),
                    Err(_full) => full_until = self.clock.instant() + FULL_DISK_PAUSE,
                },
                _ = self.look.tick(), if !leading.in_flight.is_empty() => {
                    if leading.in_flight.hopeless(0, self.clock.instant(), self.replica.is_in_touch()).is_some() {
                        return Over::Changed;
                    }
                }
            }
        }
    }
}

impl QueueTask {
    /// Decides requests in their order.
    async fn take_in(&self, leading: &mut Leading, taken: &mut Vec<Request>) {
        let refusal = self.reserve(leading).err();
        for request in taken.drain(..) {
            match request {
                Request::Command { reply, .. } if let Some(full) = &refusal => drop(reply.send(Err(full.clone()))),
                Request::Create { reply, .. } if let Some(full) = &refusal => drop(reply.send(Err(full.clone()))),
                Request::Command { group, command, reply } => self.decide(leading, &group, command, Some(reply)),
                Request::Create { group, config, from_end, reply } => {
                    let start = if from_end { *self.committed.borrow() } else { self.reader.log_start() };
                    leading.create(&self.image.lock(), group, config, start, reply);
                }
                Request::Look { group, look } => self.show(leading, &group, look),
                Request::Wait { group, worker, wake } => self.wait(leading, &group, worker, wake),
                Request::Trimmed if refusal.is_some() => {}
                Request::Trimmed => self.trim(leading),
            }
            if leading.is_full() {
                self.propose(leading).await;
            }
        }
    }

    fn decide(&self, leading: &mut Leading, group: &GroupId, command: Command, reply: Option<Sender>) {
        let context = self.context();
        let image = self.image.lock();
        leading.decide(&image, group, &context, || self.nonce(), command, reply);
    }

    fn show(&self, leading: &mut Leading, group: &GroupId, look: Look) {
        let context = self.context();
        let image = self.image.lock();
        match leading.served(&image, group, &context, || self.nonce()) {
            Ok((served, queue)) => look(Ok((&served.desk, queue, &context))),
            Err(unknown) => look(Err(unknown)),
        }
    }

    /// Has a worker wait. Where there is no such group the wait is dropped: whoever waits asks, and hears it.
    fn wait(&self, leading: &mut Leading, group: &GroupId, worker: WorkerId, wake: oneshot::Sender<()>) {
        let context = self.context();
        if let Ok((served, _)) = leading.served(&self.image.lock(), group, &context, || self.nonce()) {
            served.wait(worker, wake);
        }
    }

    /// What retention took, or clients deleted, is done for every group.
    fn trim(&self, leading: &mut Leading) {
        let start = self.reader.log_start();
        let behind: Vec<GroupId> = self.image.lock().behind(start).cloned().collect();
        for group in behind {
            self.decide(leading, &group, Command::Trim { start }, None);
        }
    }

    /// What is due by the clock.
    fn tick(&self, leading: &mut Leading) {
        let context = self.context();
        let image = self.image.lock();
        let groups: Vec<GroupId> = leading.served.keys().cloned().collect();
        for group in groups {
            let Some(queue) = image.queue(&group) else { continue };
            let decision = leading.served.get_mut(&group).map(|served| served.desk.tick(queue, &context));
            if let Some(decision) = decision {
                leading.take_in(&group, decision);
            }
        }
    }

    /// Sends what was decided on its way.
    async fn propose(&self, leading: &mut Leading) {
        let Some((proposal, entry)) = leading.entry() else { return };
        let bytes = framed_bytes(proposal.payload.len());
        let needed = self.space.claim(Writes::Queues, leading.in_flight.bytes() + bytes) + OWN_BYTES_MAX;
        // One that finds no room ends the term instead of the replica.
        let ticket = match leading.has_fallen() || self.log.reserve(needed).is_err() {
            true => ProposeTicket::refused(ProposeError::NotLeader { leader: None }),
            false => self.replica.submit(proposal).await,
        };
        leading.in_flight.push(ticket, entry, bytes, self.clock.instant());
    }

    /// Whether there is room for what decisions may write, beside all that is under way.
    fn reserve(&self, leading: &Leading) -> Result<(), QueueError> {
        let needed = self.space.claim(Writes::Queues, leading.in_flight.bytes() + HEADROOM_BYTES) + OWN_BYTES_MAX;
        self.log.reserve(needed).map_err(|error| match error {
            ReserveError::Closed | ReserveError::Poisoned(_) => QueueError::Stopped,
            full => QueueError::DiskFull { reason: full.to_string() },
        })
    }

    /// When something is due in a group, if anything is to come.
    fn next_deadline(&self, leading: &Leading) -> Option<Instant> {
        if leading.served.is_empty() {
            return None;
        }
        let context = self.context();
        let image: &QueuesImage = &self.image.lock();
        let due = |(group, served): (&GroupId, &Served)| {
            let due = image.queue(group).and_then(|queue| served.desk.next_deadline(queue, &context));
            due.map(|due| self.instant_of(due, &context)).into_iter().chain(served.scans_after).min()
        };
        leading.served.iter().filter_map(due).min()
    }

    fn context(&self) -> Context {
        let passed = self.clock.instant().duration_since(self.started);
        Context {
            now: Moment::new(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)),
            wall: self.clock.now(),
            log_end: *self.committed.borrow(),
        }
    }

    /// Not before the millisecond has passed: a moment is a whole one.
    fn instant_of(&self, moment: Moment, context: &Context) -> Instant {
        /// What has a date is looked at again by then: the wall clock may be set.
        const FAR_MS: u64 = 1_000;
        let ahead_ms = moment.get().saturating_sub(context.now.get()).min(FAR_MS);
        self.started + Duration::from_millis(context.now.get() + ahead_ms)
    }

    fn nonce(&self) -> Nonce {
        // Both halves: each has bits that say what kind of id it is.
        let (high, low) = self.clock.unique_id().as_u64_pair();
        Nonce::new(high ^ low)
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
