//! The one timer of a node's groups, and the pulse: one message to each other node, in which this node says of which groups
//! it is the leader and that nothing is under way there. It stands for the heartbeats of all of them.
//!
//! Owns: the pace of each replica beside its core, the task that looks at all replicas of a node, and what goes between two
//! nodes. Never: judges; [`pace`](super::pace) does.
//!
//! ```text
//!   leader's node:    look at all ──► pulse: (group, term, last entry)... ──► every member's node: agreed, but for these
//!   follower's node:  look at all ──► a group whose leader was not heard for too long ──► the core asks for votes
//! ```
//!
//! A pulse promises nothing by itself: a leader that is gone, or a replica that was closed, is not in the next one, and
//! the members find out as they would by missing heartbeats.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, stream};
use highwater_storage::LogKey;
use highwater_types::{LogIndex, NodeId, Term};
use openraft::alias::WatchReceiverOf;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::metrics::RaftMetrics;
use openraft::{Instant as _, ServerState};
use tokio::time::Instant;

use super::groups::{Group, Groups};
use super::network::PeerNetwork;
use super::pace::{Pace, Still, Verdict, View};
use super::recovery::Recovery;
use super::types::{Raft, TypeConfig};
use super::wire::{self, Reply};
use crate::clock::Clock;
use crate::peer::{Lane, Peers, Timing};

/// Between two looks at all replicas. Every second look sends a pulse.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How long a pulse waits for its answer. While it does, no other is sent there.
const PATIENCE: Duration = Duration::from_secs(1);

/// The most groups of one message.
const GROUPS_MAX: usize = 2_000;

/// How many cores are told to campaign or to send heartbeats at a time. Telling one waits only while its inbox is full.
const TOLD_MAX: usize = 256;

/// A replica's pace, beside its core.
pub(super) struct Pacer {
    raft: Raft,
    metrics: WatchReceiverOf<TypeConfig, RaftMetrics<TypeConfig>>,
    clock: Clock,
    recovery: Recovery,
    /// Which follower goes first differs from group to group.
    turn: u64,
    /// Another number for each replica: campaigns that fail are repeated out of step.
    chance: u64,
    pace: Mutex<Pace>,
    /// Whether the core is being told something.
    is_told: AtomicBool,
}

impl Pacer {
    pub(super) fn new(key: LogKey, raft: Raft, recovery: Recovery, clock: Clock) -> Self {
        let turn = u64::from(crc32fast::hash(&key.to_bytes()));
        let (metrics, is_told) = (raft.metrics(), AtomicBool::new(false));
        let chance = turn ^ metrics.borrow_watched().id;
        Self { metrics, raft, clock, recovery, turn, chance, pace: Mutex::default(), is_told }
    }

    fn pace(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something is about to be written. Returns whether the lease has to be renewed before.
    pub(super) fn wake(&self) -> bool {
        self.pace().wake(self.clock.instant())
    }

    /// The lease was renewed, or could not be.
    pub(super) fn renewed(&self) {
        self.pace().renewed();
    }

    /// An append of the leader was taken.
    pub(super) fn hear(&self, leader: NodeId, term: Term) {
        self.pace().hear(leader, term, self.clock.instant());
    }

    /// Whether this replica vouches for its leader against a candidate.
    pub(super) fn vouches_against(&self, candidate: NodeId) -> bool {
        self.pace().vouches_against(candidate, self.clock.instant())
    }

    /// The leader gives up its place.
    pub(super) fn forget_leader(&self) {
        self.pace().forget_leader();
    }

    /// Whether this leader needs no heartbeats, as a majority agrees that nothing is under way.
    pub(super) fn is_quiet(&self) -> bool {
        self.pace().is_quiet()
    }

    /// How long ago a member last agreed to a pulse, in milliseconds.
    pub(super) fn agreed_ms(&self, node: NodeId) -> Option<u64> {
        let at = self.pace().agreed_at(node)?;
        u64::try_from(self.clock.instant().duration_since(at).as_millis()).ok()
    }

    /// Whether this replica agrees to what the node that leads says.
    fn take(&self, from: NodeId, said: Still) -> bool {
        let view = self.view();
        self.pace().take_pulse(&view, from, said, self.clock.instant())
    }

    /// Judges what the metrics show; returns what there is to tell the others.
    fn look(&self, now: Instant) -> (Verdict, Option<(Still, Vec<NodeId>)>) {
        let view = self.view();
        let mut pace = self.pace();
        let verdict = pace.look(&view, now, self.chance);
        match view {
            View::Leads { others, .. } => (verdict, pace.pulse().map(|still| (still, others))),
            _ => (verdict, None),
        }
    }

    fn view(&self) -> View {
        match view(&self.metrics.borrow_watched(), self.turn) {
            View::Follows { .. } | View::Neither { .. } if self.recovery.is_on() => View::Watches,
            view => view,
        }
    }

    /// Tells the core, unless it is still being told the last time.
    async fn tell(self: Arc<Self>, verdict: Verdict) {
        if verdict == Verdict::Rest || self.is_told.swap(true, Ordering::AcqRel) {
            return;
        }
        // A core that is gone has no use for it.
        let _ = match verdict {
            Verdict::Campaign => self.raft.trigger().elect(true).await,
            _ => self.raft.trigger().heartbeat().await,
        };
        self.is_told.store(false, Ordering::Release);
    }
}

fn view(metrics: &RaftMetrics<TypeConfig>, turn: u64) -> View {
    let term = Term::new(metrics.vote.leader_id.term);
    let last = metrics.last_log_index;
    let is_committed = last.is_some() && metrics.local_committed.as_ref().map(|id| id.index) == last;
    let still = last.filter(|_| is_committed).map(|last| Still { term, last: LogIndex::new(last) });
    let leader = metrics.current_leader.filter(|_| metrics.vote.committed);
    if let (ServerState::Leader, Some(replication), true) =
        (metrics.state, &metrics.replication, metrics.vote.committed)
    {
        let others = replication.keys().filter(|id| **id != metrics.id).copied().map(NodeId::new).collect();
        return View::Leads { others, still, quorum_age: metrics.last_quorum_acked.map(|at| at.elapsed()) };
    }
    match (leader.filter(|leader| *leader != metrics.id), rank(metrics, leader, turn)) {
        (Some(leader), rank) => View::Follows { leader: NodeId::new(leader), term, still, rank },
        (None, Some(rank)) => View::Neither { rank },
        (None, None) => View::Watches,
    }
}

/// Its place in the row of those who may lead next; nothing when it has no vote.
fn rank(metrics: &RaftMetrics<TypeConfig>, leader: Option<u64>, turn: u64) -> Option<u32> {
    let voters: BTreeSet<u64> = metrics.membership_config.voter_ids().filter(|id| Some(*id) != leader).collect();
    let place = voters.iter().position(|id| *id == metrics.id)? as u64;
    u32::try_from((place + turn) % voters.len() as u64).ok()
}

/// What was said to one node, and which of it that node did not agree to.
struct Answered {
    node: NodeId,
    sent_at: Instant,
    said: Vec<(LogKey, Still)>,
    /// Places in `said`; `None` when there was no answer.
    refused: Option<BTreeSet<u32>>,
}

impl PeerNetwork {
    /// Looks after the pace of all replicas of this node until `stop`. Without it nobody is elected.
    pub async fn keep_pulse(self, clock: Clock, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        // Only looks: a node that was not stopped in order must not be kept by this.
        let (peers, groups) = (self.peers().cloned(), self.groups().downgrade());
        drop(self);
        let (mut under_way, mut busy) = (FuturesUnordered::new(), BTreeSet::new());
        let mut sends = false;
        while let Some(groups) = groups.upgrade() {
            sends = !sends;
            let (verdicts, to_say) = look(&groups, clock.instant());
            for (node, said) in to_say {
                if let Some(peers) = peers.clone().filter(|_| sends && busy.insert(node)) {
                    under_way.push(send(peers, node, said, clock.instant()));
                }
            }
            let told = stream::iter(verdicts).for_each_concurrent(TOLD_MAX, |(pacer, verdict)| pacer.tell(verdict));
            let round = async { tokio::join!(told, tokio::time::sleep(LOOK_INTERVAL)) };
            tokio::pin!(round);
            loop {
                tokio::select! {
                    biased;
                    () = &mut stop => return,
                    Some(answered) = under_way.next(), if !under_way.is_empty() => {
                        let answered: Vec<Answered> = answered;
                        answered.iter().for_each(|answered| {
                            busy.remove(&answered.node);
                            note(&groups, answered);
                        });
                    }
                    _ = &mut round => break,
                }
            }
        }
        stop.await;
    }
}

type ToSay = BTreeMap<NodeId, Vec<(LogKey, Still)>>;

/// What the cores are to be told, and the other nodes.
fn look(groups: &Groups, now: Instant) -> (Vec<(Arc<Pacer>, Verdict)>, ToSay) {
    let (mut verdicts, mut to_say) = (Vec::new(), ToSay::new());
    groups.for_each(|key, group| {
        let (verdict, pulse) = group.pacer.look(now);
        // A replica on a full disk votes for others, who can write.
        let is_able = verdict != Verdict::Campaign || group.make_room_for_own().is_ok();
        if verdict != Verdict::Rest && is_able {
            verdicts.push((Arc::clone(&group.pacer), verdict));
        }
        if let Some((still, others)) = pulse {
            others.into_iter().for_each(|node| to_say.entry(node).or_default().push((key, still)));
        }
    });
    (verdicts, to_say)
}

async fn send(peers: Peers, node: NodeId, said: Vec<(LogKey, Still)>, sent_at: Instant) -> Vec<Answered> {
    let peers = &peers;
    let parts = said.chunks(GROUPS_MAX).map(|part| async move {
        let body = wire::encode_pulse(part);
        let answered = async {
            let mut answer = peers.send_raft(node, Lane::Urgent, Timing::Soon, body, PATIENCE).await.ok()?;
            match wire::decode_reply(answer.get().await.ok()?).ok()? {
                Reply::Pulse { refused } => Some(refused),
                _ => None,
            }
        };
        let refused = tokio::time::timeout(PATIENCE, answered).await.ok().flatten();
        Answered { node, sent_at, said: part.to_vec(), refused }
    });
    futures_util::future::join_all(parts).await
}

fn note(groups: &Groups, answered: &Answered) {
    let Some(refused) = &answered.refused else { return };
    for (place, (key, still)) in (0..).zip(&answered.said) {
        if let Some(group) = groups.get(*key) {
            let agrees = !refused.contains(&place);
            group.pacer.pace().answered(answered.node, *still, answered.sent_at, agrees);
        }
    }
}

/// The answer to a pulse.
pub(super) fn take(groups: &Groups, from: NodeId, said: &[(LogKey, Still)]) -> Reply {
    let agrees = |key: LogKey, still: Still| groups.get(key).is_some_and(|group| takes(&group, from, still));
    let refused = (0..).zip(said).filter(|(_, (key, still))| !agrees(*key, *still)).map(|(place, _)| place).collect();
    Reply::Pulse { refused }
}

fn takes(group: &Group, from: NodeId, still: Still) -> bool {
    group.pacer.take(from, still)
}
