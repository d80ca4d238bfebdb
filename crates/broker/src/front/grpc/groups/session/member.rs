//! A member, as long as its stream lasts: what it is, what it holds, and what happens to it.
//!
//! Owns: the loop that hears the client, the coordinator, the feeds and the metadata, and the order of what the client is
//! told. What follows from each stands beside it: being given partitions in `placing`, the client's requests in `asked`.
//!
//! Invariants:
//! - The client hears of a partition before its first record, and gets none after it was told to release it.
//! - The coordinator is told that the member lives only as often as the client says so.
//! - What waits for a client that does not read is bounded: then nothing more is taken from it, and nothing is read.

mod asked;
mod placing;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use highwater_groups::stream::command::{HeartbeatError, Identity, JoinGroup, Leaver};
use highwater_groups::stream::{Answer, Command, GenerationId, GroupId, MemberId, ProtocolType};
use highwater_metadata::MetadataImage;
use highwater_proto::v1;
use highwater_proto::v1::session_response::Kind;
use highwater_types::{ErrorCode, Offset, Timestamp, TopicId, TopicPartition};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::Requests;
use super::attached::Attachment;
use super::commits::{Commits, Outcome};
use super::feed::{Credit, Item};
use super::held::Holdings;
use super::join::{Place, join};
use super::open::Opening;
use super::starts::Start;
use crate::coordinator::{CoordinatorError, CoordinatorHandle};
use crate::front::failure::Failure;
use crate::front::grpc::groups::{Groups, mismatched};
use crate::front::grpc::wire::{self, Answers};
use crate::raft::Leadership;

/// Messages that wait for the client before nothing more is taken from it.
const OUTGOING_MAX: usize = 64;
/// Records are taken from the feeds while fewer messages wait.
const OUTGOING_FOR_RECORDS: usize = 2;
/// Commits under way before nothing more is taken from the client.
const COMMITS_MAX: usize = 256;
/// Answers of feeds that wait for the stream: each feed has one more.
const ITEMS_WAITING_MAX: usize = 2;
/// How long a member whose stream broke may come back before it is taken for gone, at most.
const RETURN_PATIENCE: Duration = Duration::from_secs(5);
/// How long a member that leaves waits for its commits.
const LEAVE_PATIENCE: Duration = Duration::from_secs(5);

/// What ends a session without a failure.
enum End {
    /// The member has left its group.
    Left,
    /// The client is gone without a word.
    Gone,
    /// Another stream speaks for the member.
    Superseded,
}

/// A seek that was answered.
struct Sought {
    request: u64,
    at: TopicPartition,
    /// Which holding of the partition it was asked for.
    given: u64,
    to: Result<Offset, Failure>,
}

pub(super) struct Member {
    groups: Groups,
    handle: CoordinatorHandle,
    group: GroupId,
    opening: Opening,
    opened_at: Timestamp,
    /// The topics that were there when the stream was opened.
    known: BTreeSet<TopicId>,
    named: Arc<OnceLock<MemberId>>,
    attachment: Option<Attachment>,
    generation: Option<GenerationId>,
    /// The topics that it last joined with.
    topics: Vec<TopicId>,
    /// What the newest generation gives it.
    given: BTreeSet<TopicPartition>,
    holdings: Holdings,
    last_serial: u64,
    joining: Option<BoxFuture<'static, Result<Place, Failure>>>,
    /// Whether to join again when the joining under way is done.
    joins_again: bool,
    beating: Option<BoxFuture<'static, Result<Answer, CoordinatorError>>>,
    starting: FuturesUnordered<BoxFuture<'static, Result<Vec<Start>, Failure>>>,
    /// Whether the member was in a generation on this stream.
    has_joined: bool,
    /// Whether the client was told what it holds on this stream.
    is_told: bool,
    commits: Commits,
    seeks: FuturesUnordered<BoxFuture<'static, Sought>>,
    is_leaving: bool,
    credit: Arc<Credit>,
    items: mpsc::Receiver<Item>,
    items_in: mpsc::Sender<Item>,
    outgoing: VecDeque<Vec<Bytes>>,
    heard_at: Instant,
    bell: watch::Receiver<()>,
    /// Whether the bell rang and the coordinator was not asked since.
    has_rung: bool,
    images: watch::Receiver<Arc<MetadataImage>>,
    leadership: watch::Receiver<Leadership>,
    led: Leadership,
}

impl Member {
    pub(super) fn new(
        groups: Groups,
        handle: CoordinatorHandle,
        group: GroupId,
        opening: Opening,
    ) -> Result<Self, Failure> {
        let (items_in, items) = mpsc::channel(ITEMS_WAITING_MAX);
        let mut images = groups.context.controller.image();
        let image = Arc::clone(&images.borrow_and_update());
        let topics = opening.subscription.topics(&image);
        let known = topics.iter().copied().collect();
        let mut leadership = handle.leadership();
        let led = *leadership.borrow_and_update();
        let named = Arc::new(OnceLock::new());
        let attachment = opening.member.clone().map(|member| groups.attached.attach(group.clone(), member));
        if let Some(member) = &opening.member {
            let _first = named.set(member.clone());
        }
        let credit = Arc::new(Credit::default());
        credit.give(opening.credit);
        Ok(Self {
            opened_at: groups.context.clock.now(),
            known,
            named,
            attachment,
            generation: opening.generation,
            topics,
            given: BTreeSet::new(),
            holdings: Holdings::default(),
            last_serial: 0,
            joining: None,
            joins_again: false,
            beating: None,
            starting: FuturesUnordered::new(),
            has_joined: false,
            is_told: false,
            commits: Commits::default(),
            seeks: FuturesUnordered::new(),
            is_leaving: false,
            credit,
            items,
            items_in,
            outgoing: VecDeque::new(),
            heard_at: groups.context.clock.instant(),
            bell: handle.bell(&group),
            has_rung: false,
            images,
            leadership,
            led,
            groups,
            handle,
            group,
            opening,
        })
    }

    /// Lasts until the client has left or is gone, or the session cannot go on here.
    pub(super) async fn run(mut self, mut requests: Requests, answers: Answers) -> Result<(), Failure> {
        self.begin_join();
        match self.serve(&mut requests, &answers).await {
            Ok(End::Left | End::Superseded) => Ok(()),
            Ok(End::Gone) if self.attachment.is_none() && self.opening.instance.is_none() => {
                // It does not know its name yet, so it cannot come back.
                self.leave().await;
                Ok(())
            }
            Ok(End::Gone) => {
                self.await_return();
                Ok(())
            }
            Err(failure) => {
                if is_out(failure.code) && self.opening.instance.is_none() {
                    // It comes back as another member, if at all. A static one comes back to its place.
                    self.leave().await;
                }
                Err(failure)
            }
        }
    }

    async fn serve(&mut self, requests: &mut Requests, answers: &Answers) -> Result<End, Failure> {
        let shutdown = self.groups.context.shutdown.requested();
        tokio::pin!(shutdown);
        loop {
            // With what it has begun: the group goes on there without it.
            let is_done = self.commits.len() == 0 && self.starting.is_empty() && self.outgoing.is_empty();
            if self.is_leaving && is_done {
                self.leave().await;
                return Ok(End::Left);
            }
            let waiting = self.outgoing.len();
            let takes_requests = waiting < OUTGOING_MAX && self.commits.len() < COMMITS_MAX && !self.is_leaving;
            // A client says that it lives from when it is in a generation.
            let is_in = self.has_joined;
            let silent_at = self.heard_at + self.patience();
            tokio::select! {
                biased;
                () = &mut shutdown => return Err(Failure::shutting_down()),
                () = superseded(self.attachment.as_ref()) => return Ok(End::Superseded),
                turn = answers.ready(), if waiting > 0 => match (turn, self.outgoing.pop_front()) {
                    (Ok(turn), Some(pieces)) => turn.send(pieces),
                    _ => return Ok(End::Gone),
                },
                () = answers.gone(), if waiting == 0 => return Ok(End::Gone),
                _ = self.leadership.changed() => self.follow_leader()?,
                placed = of(&mut self.joining) => {
                    self.joining = None;
                    self.place(placed?).await?;
                }
                Some(starts) = self.starting.next(), if !self.starting.is_empty() => self.start(starts?),
                done = self.commits.next() => self.committed(done)?,
                Some(sought) = self.seeks.next(), if !self.seeks.is_empty() => self.sought(sought),
                beat = of(&mut self.beating) => {
                    self.beating = None;
                    self.beaten(beat)?;
                }
                request = requests.next(), if takes_requests => match request {
                    Some(Ok(request)) => self.take(request).await?,
                    Some(Err(_)) | None => return Ok(End::Gone),
                },
                Some(item) = self.items.recv(), if waiting < OUTGOING_FOR_RECORDS && self.credit.is_left() => {
                    self.pass_on(item);
                }
                _ = self.bell.changed() => {
                    self.has_rung = true;
                    self.beat_if_rung();
                }
                changed = self.images.changed() => match changed {
                    Ok(()) => self.look_at_topics(),
                    Err(_) => return Err(Failure::shutting_down()),
                },
                () = tokio::time::sleep_until(silent_at), if is_in => return Err(self.is_silent()),
            }
        }
    }

    /// Joins the next generation, with what it holds and reads now.
    fn begin_join(&mut self) {
        if self.joining.is_some() {
            self.joins_again = true;
            return;
        }
        let member = self.named.get().cloned();
        let mut owned: BTreeSet<TopicPartition> = self.holdings.owned().into_iter().collect();
        if !self.is_told {
            owned.extend(self.held_before().into_keys());
        }
        let owned = owned.into_iter().collect();
        let command = JoinGroup {
            group: self.group.clone(),
            needs_known_id: member.is_none() && self.opening.instance.is_none(),
            member,
            instance: self.opening.instance.clone(),
            client: self.opening.client.clone(),
            session_timeout_ms: self.opening.session_timeout_ms,
            rebalance_timeout_ms: self.opening.rebalance_timeout_ms,
            protocol_type: ProtocolType::session(),
            protocols: self.opening.protocols.clone(),
            subscription: Some(self.topics.clone()),
            owned,
            can_skip_assignment: true,
        };
        // What rang before is what it joins for.
        self.has_rung = false;
        let joining = join(self.handle.clone(), command, self.generation, Arc::clone(&self.named));
        self.joining = Some(Box::pin(joining));
    }

    /// What an earlier stream of the member read, and where it goes on; without topics that are gone.
    fn held_before(&self) -> BTreeMap<TopicPartition, Offset> {
        let id = |name: &v1::PartitionName| self.groups.partition_id(&name.topic, name.partition).ok();
        self.opening.held.iter().filter_map(|(name, position)| Some((id(name)?, *position))).collect()
    }

    /// Who the member is in its generation; nothing before it is in one.
    fn identity(&self) -> Option<Identity> {
        let (member, generation) = (self.named.get()?.clone(), self.generation?);
        Some(Identity { member, instance: self.opening.instance.clone(), generation })
    }

    /// Tells the coordinator that the member lives, and learns whether the group rebalances.
    fn beat(&mut self) {
        let Some(by) = self.identity().filter(|_| self.beating.is_none() && self.joining.is_none()) else { return };
        let (handle, group) = (self.handle.clone(), self.group.clone());
        self.beating = Some(Box::pin(async move { handle.ask(Command::Heartbeat { group, by }).await }));
    }

    /// The group rebalances, perhaps: asks as soon as nothing else is asked.
    fn beat_if_rung(&mut self) {
        if self.has_rung && self.beating.is_none() && self.joining.is_none() {
            self.has_rung = false;
            self.beat();
        }
    }

    fn beaten(&mut self, answer: Result<Answer, CoordinatorError>) -> Result<(), Failure> {
        let beaten = self.heartbeat_answered(answer);
        self.beat_if_rung();
        beaten
    }

    fn heartbeat_answered(&mut self, answer: Result<Answer, CoordinatorError>) -> Result<(), Failure> {
        match answer? {
            Answer::Heartbeat(Ok(())) => Ok(()),
            Answer::Heartbeat(Err(HeartbeatError::RebalanceInProgress { .. })) => {
                if self.joining.is_none() {
                    self.begin_join();
                }
                Ok(())
            }
            // Asked before it joined again.
            Answer::Heartbeat(Err(_)) if self.joining.is_some() => Ok(()),
            Answer::Heartbeat(Err(refused)) => Err(refused.into()),
            other => Err(mismatched(&other)),
        }
    }

    fn committed(&mut self, done: super::commits::Done) -> Result<(), Failure> {
        let Some(now) = self.identity() else { return Ok(()) };
        match self.commits.judge(done, &now, self.joining.is_some()) {
            Outcome::Answered(mut said, committed) => {
                said.refused.extend(committed.refused.into_iter().map(|one| self.groups.refused(one)));
                self.tell(Kind::Committed(said));
                Ok(())
            }
            Outcome::Early => {
                if self.joining.is_none() {
                    self.begin_join();
                }
                Ok(())
            }
            Outcome::Over(failure) => Err(failure),
        }
    }

    /// Another node coordinates the group by now, or this one again but not the way it did.
    fn follow_leader(&mut self) -> Result<(), Failure> {
        let led = *self.leadership.borrow_and_update();
        if led.serves_writes && led.term == self.led.term {
            return Ok(());
        }
        Err(CoordinatorError::NotCoordinator { leader: led.other_leader() }.into())
    }

    /// Topics may have come or gone that the member reads.
    fn look_at_topics(&mut self) {
        let image = Arc::clone(&self.images.borrow_and_update());
        let topics = self.opening.subscription.topics(&image);
        if topics == self.topics {
            return;
        }
        let came: Vec<TopicId> = topics.iter().filter(|topic| !self.topics.contains(topic)).copied().collect();
        self.begin_with_new(&image, &came);
        self.topics = topics;
        self.begin_join();
    }

    fn tell(&mut self, kind: Kind) {
        self.outgoing.push_back(wire::pieces_of_message(&v1::SessionResponse { kind: Some(kind) }));
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(self.opening.session_timeout_ms.into())
    }

    fn is_silent(&self) -> Failure {
        let ms = self.opening.session_timeout_ms;
        let message = format!("the member was silent for its session time-out of {ms} ms and is out of its group");
        Failure::new(ErrorCode::UnknownMember, message)
    }

    /// Leaves the group, as far as there is anything to leave.
    async fn leave(&mut self) {
        let Some(member) = self.named.get() else { return };
        let member = Leaver { member: Some(member.clone()), instance: self.opening.instance.clone() };
        let leave = self.handle.ask(Command::Leave { group: self.group.clone(), members: vec![member] });
        // Who cannot be told finds out by the session time-out.
        let _late = tokio::time::timeout(LEAVE_PATIENCE, leave).await;
    }

    /// The client may come back with another stream. A member that does not is out, unless it is static: then it has its
    /// place until its session ends.
    fn await_return(self) {
        let Some(attachment) = self.attachment.filter(|_| self.opening.instance.is_none()) else { return };
        let patience = RETURN_PATIENCE.min(Duration::from_millis(self.opening.session_timeout_ms.into()));
        let (handle, group, tasks) = (self.handle, self.group, self.groups.context.shutdown.clone());
        let stopped = tasks.requested();
        tasks.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(patience) => {}
                () = attachment.superseded() => {}
                () = stopped => return,
            }
            if attachment.is_current() {
                let member = Leaver { member: Some(attachment.member().clone()), instance: None };
                let _moved = handle.ask(Command::Leave { group, members: vec![member] }).await;
            }
        });
    }
}

/// Whether the member is no member any more.
const fn is_out(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::UnknownMember | ErrorCode::IllegalGeneration)
}

/// The result of what is under way; never, when nothing is.
async fn of<T>(under_way: &mut Option<BoxFuture<'static, T>>) -> T {
    match under_way {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn superseded(attachment: Option<&Attachment>) {
    match attachment {
        Some(attachment) => attachment.superseded().await,
        None => std::future::pending().await,
    }
}
