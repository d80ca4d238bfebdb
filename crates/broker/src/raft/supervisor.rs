//! Who leads a group, as far as this replica can vouch for it, and whether the replica still lives.
//!
//! Never believes metrics alone: a core that panicked looks healthy there, so it is called every few seconds. And a
//! new leader is not ready before it has applied everything its log held when it came to lead: until then it does not
//! know what is committed, nor what producers have stored.

use std::time::Duration;

use highwater_storage::Log;
use highwater_types::{EntryId, LeaderEpoch, NodeId, Term};
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::types::{Raft, TypeConfig};

/// How often the core is called to see whether it still answers.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);

/// What a replica knows of its group's leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The node that leads, if known.
    pub leader: Option<NodeId>,
    /// The term that this is about.
    pub term: Term,
    /// The same as users see it.
    pub epoch: LeaderEpoch,
    /// Whether this replica leads.
    pub is_leader: bool,
    /// Whether it leads and has applied everything from before its term: it may check and take writes, and knows what
    /// is committed.
    pub serves_writes: bool,
}

impl Leadership {
    /// The node to ask instead of this one. Nothing while this one leads, even if it does not serve yet.
    #[must_use]
    pub fn other_leader(&self) -> Option<NodeId> {
        self.leader.filter(|_| !self.is_leader)
    }
}

/// A replica that stopped by itself: the node cannot go on without it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the replica of group {group} stopped: {reason}")]
pub struct ReplicaFailure {
    /// The group.
    pub group: String,
    /// Why.
    pub reason: String,
}

/// What the supervisor watches and where it publishes.
pub(super) struct Supervisor {
    pub(super) group: String,
    pub(super) raft: Raft,
    pub(super) log: Log,
    pub(super) applied: watch::Receiver<Option<EntryId>>,
    pub(super) leadership: watch::Sender<Leadership>,
    pub(super) failure: watch::Sender<Option<ReplicaFailure>>,
    pub(super) stop: CancellationToken,
}

impl Supervisor {
    /// Publishes until told to stop, or until the replica fails.
    pub(super) async fn run(mut self) {
        let stop = self.stop.clone();
        let reason = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            // Asked to stop meanwhile: then the core has gone because of that.
            reason = self.watch() => Some(reason).filter(|_| !stop.is_cancelled()),
        };
        self.leadership.send_replace(Leadership::default());
        if let Some(reason) = reason {
            tracing::error!(group = self.group, reason, "the replica stopped by itself");
            self.failure.send_replace(Some(ReplicaFailure { group: self.group, reason }));
        }
    }

    /// Returns why the replica failed.
    async fn watch(&mut self) -> String {
        let mut metrics = self.raft.server_metrics();
        let mut probe = tokio::time::interval(PROBE_INTERVAL);
        // What has to be applied before this node is ready in the term that it leads.
        let mut barrier: Option<(Term, Option<EntryId>)> = None;
        loop {
            let seen = self.look(&metrics.borrow_watched(), &mut barrier);
            self.leadership.send_if_modified(|leadership| std::mem::replace(leadership, seen) != seen);
            let waits_for_applied = seen.is_leader && !seen.serves_writes;
            let lives = tokio::select! {
                changed = metrics.changed() => changed.map_err(|_| "its core has gone".to_owned()),
                changed = self.applied.changed(), if waits_for_applied => {
                    changed.map_err(|_| "its state machine has gone".to_owned())
                }
                _ = probe.tick() => {
                    self.raft.with_raft_state(|_| ()).await.map_err(|fatal| fatal.to_string())
                }
            };
            if let Err(reason) = lives {
                return self.raft.with_raft_state(|_| ()).await.map_or_else(|fatal| fatal.to_string(), |()| reason);
            }
        }
    }

    fn look(
        &mut self,
        metrics: &openraft::metrics::RaftServerMetrics<TypeConfig>,
        barrier: &mut Option<(Term, Option<EntryId>)>,
    ) -> Leadership {
        let term = Term::new(metrics.vote.leader_id.term);
        let is_leader = metrics.state == ServerState::Leader && metrics.vote.committed;
        if !is_leader {
            *barrier = None;
        } else if barrier.is_none_or(|(of, _)| of != term) {
            // Everything from before this term is in the log by now: only this node appends, and only in this term.
            *barrier = Some((term, self.log.state().last));
        }
        let applied = *self.applied.borrow_and_update();
        Leadership {
            leader: metrics.current_leader.map(NodeId::new),
            term,
            epoch: term.into(),
            is_leader,
            serves_writes: barrier.is_some_and(|(_, last)| applied >= last),
        }
    }
}
