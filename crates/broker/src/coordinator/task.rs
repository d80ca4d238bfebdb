//! The one task of a coordinator: takes commands, has the engine decide, proposes, releases the answers.
//!
//! Invariants:
//! - Decisions are proposed in their order, for the term they were taken in.
//! - Space on the disk is made sure of before anything is decided that would write: a decision cannot be taken back.
//! - Whoever waits for a decision when a term is over, also because the node stops, is told that the outcome is unknown:
//!   what was decided for them may be under way, and be committed by another leader.
//! - Nobody waits for ever. A leader that lost touch with the other replicas tells everybody who waits that the outcome
//!   is unknown, and decides again when all that was under way has come to an end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use highwater_groups::stream::limits::TICK_BYTES_MAX;
use highwater_groups::stream::{Command, Config, Context, Decision, GroupsImage, Moment, Sessions, Ticket};
use highwater_metadata::MetadataImage;
use highwater_storage::{Log, ReserveError, framed_bytes};
use highwater_types::TopicId;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::bell::Bells;
use super::error::CoordinatorError;
use super::leading::{Leading, Sender};
use super::state::SharedImage;
use crate::clock::Clock;
use crate::inbox::{Inbox, Over, Refusable, Refusal, Stop};
use crate::raft::{Leadership, OWN_BYTES_MAX, ProposeError, ProposeTicket, Replica};

/// The most commands that are decided at a time.
const BATCH_REQUESTS: usize = 256;

/// The most entries under way: beyond this commands wait, and more of them share an entry.
const IN_FLIGHT_ENTRIES_MAX: usize = 16;

/// There must be room for so many bytes of records, beside those under way, before anything is decided that writes. The
/// disk sets them aside for good, so they are few; the rare decision that needs more ends the term if there is none.
const HEADROOM_BYTES: u64 = 768 << 10;
const _: () = assert!(HEADROOM_BYTES > TICK_BYTES_MAX as u64);

/// How often it is looked whether there is hope for what is under way.
const LOOK: Duration = Duration::from_millis(250);

/// How long until deadlines are looked at again that could not be met because the disk is full.
const FULL_DISK_PAUSE: Duration = Duration::from_secs(1);

/// A command on its way, and where its answer goes.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) command: Command,
    pub(super) reply: Sender,
}

impl Refusable for Request {
    fn refuse(self, refusal: Refusal) {
        let error = match refusal {
            Refusal::NotLeader { leader } => CoordinatorError::NotCoordinator { leader },
            Refusal::Stopped => CoordinatorError::Stopped,
        };
        let _gone = self.reply.send(Err(error));
    }
}

pub(super) struct Task {
    replica: Replica,
    log: Log,
    image: SharedImage,
    images: watch::Receiver<Arc<MetadataImage>>,
    clock: Clock,
    /// The zero of this task's moments.
    started: Instant,
    config: Config,
    inbox: Inbox<Request>,
    topics: Topics,
    bells: Bells,
    /// Whether the leadership is being handed over: then nothing is taken in until it is clear who leads.
    held_back: watch::Receiver<bool>,
    look: Interval,
}

impl Task {
    #[expect(clippy::too_many_arguments, reason = "put together once, by the coordinator")]
    pub(super) fn new(
        replica: Replica,
        log: Log,
        image: SharedImage,
        images: watch::Receiver<Arc<MetadataImage>>,
        clock: Clock,
        config: Config,
        requests: mpsc::Receiver<Request>,
        bells: Bells,
    ) -> Self {
        let (inbox, held_back) = (Inbox::new(requests, replica.leadership()), replica.held_back());
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (started, topics) = (clock.instant(), Topics::of(&images.borrow()));
        Self { replica, log, image, images, clock, started, config, inbox, topics, bells, held_back, look }
    }

    /// Runs until `stop`. What was not taken in by then is answered as not done.
    pub(super) async fn run(mut self, stop: impl Future<Output = ()> + Send) {
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
        let (over, left) = {
            let image = self.image.lock().clone();
            // What was deleted while nobody led, or was told and not committed, is told now.
            let now = Arc::clone(&self.images.borrow_and_update());
            let deleted = self.topics.deleted_of(&now, &image);
            let sessions = self.with_context(|context| Sessions::new(self.config, &image, context));
            let mut leading = Leading::new(led.term, sessions, self.bells.clone());
            drop(image);
            let over = self.decide_all(&mut leading, deleted, stop.as_mut()).await;
            (over, leading.end())
        };
        match over {
            Over::Stop => over,
            Over::Changed => self.inbox.end_term(led, left, drop, stop).await,
        }
    }

    /// Decides until the term is over, and says why.
    async fn decide_all(&mut self, leading: &mut Leading, deleted: Vec<Command>, mut stop: Stop<'_>) -> Over {
        let mut taken = Vec::with_capacity(BATCH_REQUESTS);
        let mut full_until = self.started;
        self.tell(leading, deleted);
        taken.extend(self.inbox.early());
        self.take_in(leading, &mut taken).await;
        self.propose(leading).await;
        loop {
            let is_held_back = *self.held_back.borrow_and_update();
            let has_room = leading.in_flight.len() < IN_FLIGHT_ENTRIES_MAX && !is_held_back;
            let due = self.instant_of(leading.sessions.next_deadline()).max(full_until);
            tokio::select! {
                biased;
                (position, outcome) = leading.in_flight.next() => match outcome {
                    Ok(_committed) => leading.committed(position),
                    Err(error) => {
                        tracing::debug!(%error, "what a coordinator decided is not committed");
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
                changed = self.images.changed(), if has_room => {
                    if changed.is_err() {
                        return Over::Stop;
                    }
                    let image = Arc::clone(&self.images.borrow_and_update());
                    let changes = self.topics.follow(&image);
                    self.tell(leading, changes);
                }
                count = self.inbox.requests.recv_many(&mut taken, BATCH_REQUESTS), if has_room => {
                    if count == 0 {
                        return Over::Stop;
                    }
                    self.take_in(leading, &mut taken).await;
                }
                () = tokio::time::sleep_until(due), if has_room => match self.reserve(leading) {
                    Ok(()) => {
                        let decision = self.decide(leading, Sessions::tick);
                        leading.take_in(decision);
                    }
                    Err(_full) => full_until = self.clock.instant() + FULL_DISK_PAUSE,
                },
                _ = self.look.tick(), if !leading.in_flight.is_empty() => {
                    if leading.in_flight.hopeless(0, self.clock.instant(), self.replica.is_in_touch()).is_some() {
                        return Over::Changed;
                    }
                }
            }
            self.propose(leading).await;
            if leading.has_fallen() {
                return Over::Changed;
            }
        }
    }

    /// Tells the engine what became of topics.
    fn tell(&self, leading: &mut Leading, changes: Vec<Command>) {
        for command in changes {
            let ticket = leading.own_ticket();
            self.decide_command(leading, ticket, command);
        }
    }

    fn decide_command(&self, leading: &mut Leading, ticket: Ticket, command: Command) {
        let decision =
            self.decide(leading, |sessions, groups, context| sessions.decide(groups, ticket, command, context));
        leading.take_in(decision);
    }

    /// Decides commands in their order.
    async fn take_in(&self, leading: &mut Leading, taken: &mut Vec<Request>) {
        let refusal = self.reserve(leading).err();
        for Request { command, reply } in taken.drain(..) {
            if let Some(full) = refusal.as_ref().filter(|_| may_write(&command)) {
                let _gone = reply.send(Err(full.clone()));
                continue;
            }
            let ticket = leading.admit(reply);
            self.decide_command(leading, ticket, command);
            if leading.is_full() {
                self.propose(leading).await;
            }
        }
    }

    /// Sends what was decided on its way.
    async fn propose(&self, leading: &mut Leading) {
        let Some((proposal, position)) = leading.entry() else { return };
        let bytes = framed_bytes(proposal.payload.len());
        let needed = leading.in_flight.bytes() + bytes + OWN_BYTES_MAX;
        // One that finds no room ends the term instead of the group.
        let ticket = match leading.has_fallen() || self.log.reserve(needed).is_err() {
            true => ProposeTicket::refused(ProposeError::NotLeader { leader: None }),
            false => self.replica.submit(proposal).await,
        };
        leading.in_flight.push(ticket, position, bytes, self.clock.instant());
    }

    /// Whether there is room for what decisions may write, beside all that is under way.
    fn reserve(&self, leading: &Leading) -> Result<(), CoordinatorError> {
        let needed = leading.in_flight.bytes() + HEADROOM_BYTES + OWN_BYTES_MAX;
        self.log.reserve(needed).map_err(|error| match error {
            ReserveError::Closed | ReserveError::Poisoned(_) => CoordinatorError::Stopped,
            full => CoordinatorError::DiskFull { reason: full.to_string() },
        })
    }

    fn decide(
        &self,
        leading: &mut Leading,
        decide: impl FnOnce(&mut Sessions, &GroupsImage, &Context<'_>) -> Decision,
    ) -> Decision {
        let groups = self.image.lock();
        self.with_context(|context| decide(&mut leading.sessions, &groups, context))
    }

    fn with_context<T>(&self, f: impl FnOnce(&Context<'_>) -> T) -> T {
        let image = Arc::clone(&self.images.borrow());
        let partitions = |topic: TopicId| image.topic_by_id(topic).map_or(0, |topic| topic.partition_count());
        f(&Context {
            now: self.moment(),
            wall: self.clock.now(),
            nonce: self.clock.unique_id().as_u128(),
            partitions: &partitions,
        })
    }

    fn moment(&self) -> Moment {
        let passed = self.clock.instant().duration_since(self.started);
        Moment::new(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX))
    }

    /// Not before the millisecond has passed: a moment is a whole one.
    fn instant_of(&self, moment: Moment) -> Instant {
        const FAR: Duration = Duration::from_secs(24 * 3_600);
        self.started + Duration::from_millis(moment.get()).min(self.clock.instant().duration_since(self.started) + FAR)
    }
}

/// Whether it may lead to records, and so needs space.
fn may_write(command: &Command) -> bool {
    // Only who assigns brings something with it.
    let is_plain_sync = matches!(command, Command::Sync(sync) if sync.assignments.is_empty());
    let is_question = matches!(
        command,
        Command::Heartbeat { .. }
            | Command::FetchOffsets { .. }
            | Command::DescribeGroup { .. }
            | Command::ListGroups { .. }
    );
    !is_plain_sync && !is_question
}

/// The topics as they were when last looked at, to tell the engine what became of them.
struct Topics {
    counts: BTreeMap<TopicId, u32>,
    /// Those that were there once and are not.
    gone: BTreeSet<TopicId>,
}

impl Topics {
    fn of(image: &MetadataImage) -> Self {
        Self { counts: counts(image), gone: BTreeSet::new() }
    }

    /// What changed. Images only ever get newer, so a topic that was there and is not is deleted, for ever.
    fn follow(&mut self, image: &MetadataImage) -> Vec<Command> {
        let before = std::mem::replace(&mut self.counts, counts(image));
        let gone: Vec<TopicId> = before.keys().filter(|topic| !self.counts.contains_key(topic)).copied().collect();
        self.gone.extend(&gone);
        let is_grown = |(topic, count): &(&TopicId, &u32)| before.get(topic).is_some_and(|before| before != *count);
        let grown = self.counts.iter().filter(is_grown).map(|(topic, _)| Command::TopicGrown { topic: *topic });
        let deleted = gone.into_iter().map(|topic| Command::TopicDeleted { topic });
        deleted.chain(grown).collect()
    }

    /// The topics that are gone and that groups still have offsets in; of the others nothing need be remembered.
    fn deleted_of(&mut self, image: &MetadataImage, groups: &GroupsImage) -> Vec<Command> {
        drop(self.follow(image));
        let offsets = groups.groups().flat_map(|(_, group)| group.offsets.iter());
        let read: BTreeSet<TopicId> = offsets.map(|(at, _)| at.topic).collect();
        self.gone.retain(|topic| read.contains(topic));
        self.gone.iter().map(|topic| Command::TopicDeleted { topic: *topic }).collect()
    }
}

fn counts(image: &MetadataImage) -> BTreeMap<TopicId, u32> {
    image.topics().map(|topic| (topic.id, topic.partition_count())).collect()
}

#[cfg(test)]
mod tests {
    use highwater_groups::stream::{CommittedOffset, GroupId, GroupRecord};
    use highwater_metadata::{MetadataRecord, Topic, TopicSettings};
    use highwater_types::{LogIndex, Offset, PartitionId, Timestamp, TopicName, TopicPartition};

    use super::*;

    #[test]
    fn a_deletion_is_told_at_each_term_until_no_group_has_offsets_there() {
        let id = TopicId::from_bytes([7; 16]);
        let topic = Topic {
            id,
            name: TopicName::new("orders").unwrap(),
            created_at: Timestamp::default(),
            replicas: 1,
            partitions: Vec::new(),
            settings: TopicSettings::default(),
        };
        let mut image = MetadataImage::default();
        image.replay_entry(LogIndex::new(1), &[MetadataRecord::TopicCreated(topic)]);
        let mut topics = Topics::of(&image);
        let committed = CommittedOffset {
            offset: Offset::ZERO,
            leader_epoch: None,
            metadata: String::new(),
            committed_at: Timestamp::default(),
            expires_at: None,
        };
        let (group, at) =
            (GroupId::new("readers").unwrap(), TopicPartition { topic: id, partition: PartitionId::new(0) });
        let offsets = vec![(at, committed)];
        let mut groups = GroupsImage::default();
        groups.replay(&GroupRecord::OffsetsCommitted { group, committed_at: Timestamp::default(), offsets });
        assert!(topics.deleted_of(&image, &groups).is_empty());
        image.replay_entry(LogIndex::new(2), &[MetadataRecord::TopicDeleted { topic: id }]);
        // Nobody led meanwhile; then what was told was not committed, and another term begins.
        for _ in 0..2 {
            assert_eq!(topics.deleted_of(&image, &groups), [Command::TopicDeleted { topic: id }]);
        }
        groups.replay(&GroupRecord::TopicDeleted { topic: id });
        assert!(topics.deleted_of(&image, &groups).is_empty());
    }
}
