//! What a replica says about its group: members, positions, and how far each peer is.
//!
//! Owns: the picture and its words, made from openraft's metrics. Never: decides anything by it. A picture is a moment
//! old when it is read, and what only a leader knows is empty elsewhere.

use std::collections::BTreeSet;
use std::time::Duration;

use highwater_types::{LogIndex, NodeId};
use openraft::Instant as _;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::metrics::RaftMetrics;

use super::config::ELECTION_MS_MAX;
use super::pulse::Pacer;
use super::replica::Replica;
use super::supervisor::Leadership;
use super::types::{StoredMembership, TypeConfig};

/// Who belongs to a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Those whose majority commits.
    pub voters: BTreeSet<NodeId>,
    /// In the middle of a change: those whose majority is needed too, and who are the voters afterwards.
    pub incoming: Option<BTreeSet<NodeId>>,
    /// Those that get every entry and count for nothing.
    pub learners: BTreeSet<NodeId>,
}

/// How far a peer is, as its leader knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerProgress {
    /// The peer.
    pub node: NodeId,
    /// Whether its acknowledgement counts.
    pub is_voter: bool,
    /// The last entry that it is known to have on disk; `None` before it has answered.
    pub matched: Option<LogIndex>,
    /// How long ago it last answered, in milliseconds; `None` before it has.
    pub heard_ms: Option<u64>,
}

/// A replica's view of its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// What the group is called in messages.
    pub group: String,
    /// Who leads.
    pub leadership: Leadership,
    /// Who belongs to it, as of the last entry here, committed or not.
    pub members: Members,
    /// Whether that entry is committed.
    pub members_are_committed: bool,
    /// The last entry of the log here.
    pub last_index: Option<LogIndex>,
    /// The last entry that is known here to be committed.
    pub committed_index: Option<LogIndex>,
    /// The last entry that is applied here.
    pub applied_index: Option<LogIndex>,
    /// Whether this replica is being rebuilt from its peers after damage, and keeps out of elections until then.
    pub is_recovering: bool,
    /// How far the others are; empty where this replica does not lead.
    pub peers: Vec<PeerProgress>,
}

impl Members {
    /// Everybody who gets entries.
    #[must_use]
    pub fn all(&self) -> BTreeSet<NodeId> {
        self.voters.iter().chain(self.incoming.iter().flatten()).chain(&self.learners).copied().collect()
    }

    /// Those who have a say, also in the middle of a change.
    #[must_use]
    pub fn having_say(&self) -> BTreeSet<NodeId> {
        self.voters.iter().chain(self.incoming.iter().flatten()).copied().collect()
    }

    pub(super) fn of(stored: &StoredMembership) -> Self {
        let node = |id: u64| NodeId::new(id);
        let mut configs = stored.membership().get_joint_config().iter();
        let mut next = || configs.next().map(|ids| ids.iter().copied().map(node).collect::<BTreeSet<_>>());
        let voters = next().unwrap_or_default();
        let incoming = next();
        let learners = stored.membership().learner_ids().map(node).collect();
        Self { voters, incoming, learners }
    }

    fn is_voter(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.incoming.as_ref().is_some_and(|ids| ids.contains(&node))
    }
}

impl ReplicaStatus {
    /// How many entries a peer lacks of what the leader has; `None` for one that never answered.
    #[must_use]
    pub fn lag_of(&self, peer: &PeerProgress) -> Option<u64> {
        let end = |index: Option<LogIndex>| index.map_or(0, |index| index.next().get());
        peer.matched.map(|_| end(self.last_index).saturating_sub(end(peer.matched)))
    }
}

impl Replica {
    /// What this replica knows of its group at this moment.
    #[must_use]
    pub fn status(&self) -> ReplicaStatus {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        let members = Members::of(&metrics.membership_config);
        let peers = peers(&metrics, &members, self.pacer());
        let index = |id: &Option<super::types::LogId>| id.as_ref().map(|id| LogIndex::new(id.index));
        ReplicaStatus {
            group: self.group().to_owned(),
            leadership: *self.leadership().borrow(),
            members,
            members_are_committed: metrics.membership_config == metrics.committed_membership_config,
            last_index: metrics.last_log_index.map(LogIndex::new),
            committed_index: index(&metrics.local_committed),
            applied_index: index(&metrics.last_applied),
            is_recovering: self.is_recovering(),
            peers,
        }
    }
}

impl Replica {
    /// Whether a majority of the voters has answered this replica as their leader within the last election time-out;
    /// where it does not lead, whether it knows who does.
    pub(crate) fn is_in_touch(&self) -> bool {
        let metrics = self.raft().metrics();
        let metrics = metrics.borrow_watched();
        if !metrics.state.is_leader() {
            return metrics.current_leader.is_some_and(|leader| leader != metrics.id);
        }
        let is_alone = metrics.membership_config.voter_ids().eq([metrics.id]);
        is_alone
            || self.pacer().is_quiet()
            || metrics.last_quorum_acked.is_some_and(|at| at.elapsed() < Duration::from_millis(ELECTION_MS_MAX))
    }
}

fn peers(metrics: &RaftMetrics<TypeConfig>, members: &Members, pacer: &Pacer) -> Vec<PeerProgress> {
    let Some(replication) = &metrics.replication else { return Vec::new() };
    let heard_ms = |id: &u64| {
        let heard = metrics.heartbeat.as_ref().and_then(|heard| heard.get(id))?.as_ref()?;
        u64::try_from(heard.elapsed().as_millis()).ok()
    };
    let others = replication.iter().filter(|(id, _)| **id != metrics.id);
    let progress = others.map(|(id, matched)| {
        let node = NodeId::new(*id);
        let matched = matched.as_ref().map(|matched| LogIndex::new(matched.index));
        // By an answer to the core, or to a pulse.
        let heard_ms = heard_ms(id).into_iter().chain(pacer.agreed_ms(node)).min();
        PeerProgress { node, is_voter: members.is_voter(node), matched, heard_ms }
    });
    progress.collect()
}
