//! The survey: what the nodes say of themselves and of their replicas, gathered by whichever node is asked.
//!
//! Owns: the report of this node, asking the others for theirs, and what follows from several reports of one partition.
//!
//! Never: invents what nobody answered: that is absent. Never waits long for a node: who does not answer at once is one
//! of the findings.

mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use highwater_metadata::{Assignment, MetadataImage};
use highwater_proto::internal::v1::control_request::Kind as Ask;
use highwater_proto::internal::v1::control_response::Kind as Answer;
use highwater_proto::internal::v1::{ControlRequest, DescribeReplicas, ReplicasDescribed};
use highwater_types::{LeaderEpoch, LogIndex, NodeId, Offset, Term, TopicPartition};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::controller::health::{MoveAges, Moves};
use crate::node::Duties;
use crate::peer::Peers;
use crate::raft::{Members, PeerProgress};
use crate::router::Router;
use crate::usage::{self, Usage, UsageError};

/// A replica that lacks no more entries than this, and is heard of, is in sync: under load some are always on their way.
const IN_SYNC_ENTRIES: u64 = 256;
/// A replica that was not heard of for so long is not in sync.
const IN_SYNC_SILENCE_MS: u64 = 3_000;
/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
const ASKED_AT_A_TIME: usize = 16;

/// Asks the nodes. Clones are the same.
#[derive(Clone)]
pub(crate) struct Survey {
    router: Router,
    duties: Duties,
    peers: Peers,
    clock: Clock,
    started_at: Instant,
    moves: Moves,
}

/// What one node says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeReport {
    /// The node.
    pub node: NodeId,
    /// Its version.
    pub version: String,
    /// Free space where its data is, in bytes.
    pub data_free_bytes: u64,
    /// The size of the filesystem that its data is on, in bytes.
    pub data_total_bytes: u64,
    /// Whether it refuses records because its disk is too full.
    pub is_disk_full: bool,
    /// Partitions that it leads.
    pub leaders: u32,
    /// What its process has used.
    pub usage: Usage,
    /// Time since it started, in seconds.
    pub uptime_seconds: f64,
    /// The name of its process.
    pub process: String,
    /// How long ago the node that asks heard of it, in milliseconds.
    pub heard_ms: u64,
}

/// What one node says of one of its replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaReport {
    /// Who leads, as it knows.
    pub leader: Option<NodeId>,
    /// The term of that.
    pub term: Term,
    /// Whether it leads itself, and serves.
    pub serves: bool,
    /// The members of its group.
    pub members: Members,
    /// The last entry of its log.
    pub last_index: Option<LogIndex>,
    /// Where its records begin.
    pub log_start: Offset,
    /// The first offset that it does not know to be committed.
    pub high_watermark: Offset,
    /// The first offset that it does not have.
    pub log_end: Offset,
    /// Its size on disk.
    pub size_bytes: u64,
    /// Whether it fetches its log again after damage.
    pub is_recovering: bool,
    /// How far the others are, where it leads.
    pub peers: Vec<PeerProgress>,
}

/// The reports of replicas, by partition and node.
#[derive(Clone, Debug, Default)]
pub struct Replicas(BTreeMap<TopicPartition, BTreeMap<NodeId, ReplicaReport>>);

/// What a replica does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It leads.
    Leader,
    /// It follows and votes.
    Follower,
    /// It catches up.
    Learner,
}

/// How one replica stands among the others of its partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// What it does.
    pub role: Option<Role>,
    /// Whether its vote counts.
    pub is_voter: Option<bool>,
    /// Whether it has, or is about to have, everything.
    pub is_in_sync: Option<bool>,
    /// How many entries it lacks.
    pub lag_entries: Option<u64>,
    /// How many records it lacks.
    pub lag_records: Option<u64>,
    /// Its size on disk.
    pub size_bytes: Option<u64>,
    /// Whether it fetches its log again after damage.
    pub is_recovering: Option<bool>,
}

impl std::fmt::Debug for Survey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Survey").field("node", &self.router.node()).finish_non_exhaustive()
    }
}

impl Survey {
    pub(crate) fn new(router: Router, duties: Duties, peers: Peers, clock: Clock) -> Self {
        let started_at = clock.instant();
        Self { router, duties, peers, clock, started_at, moves: Moves::default() }
    }

    /// Notices since when partitions move, until it is asked to stop.
    pub(crate) fn follow_moves(
        &self,
        images: watch::Receiver<Arc<MetadataImage>>,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let following = self.moves.clone().follow(images, self.clock.clone());
        async move {
            tokio::select! {
                () = stop => {}
                () = following => {}
            }
        }
    }

    /// How long each partition that moves has been at the same step.
    pub(crate) fn move_ages(&self) -> MoveAges {
        self.moves.ages(self.clock.instant())
    }

    /// What this node says of itself.
    pub(crate) fn own(&self) -> Result<NodeReport, UsageError> {
        let gate = self.router.disk_gate();
        Ok(NodeReport {
            node: self.router.node(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            data_free_bytes: gate.free_bytes(),
            data_total_bytes: gate.total_bytes(),
            is_disk_full: gate.check().is_err(),
            leaders: self.duties.leader_count(),
            usage: Usage::read()?,
            uptime_seconds: self.clock.instant().duration_since(self.started_at).as_secs_f64(),
            process: usage::process_name(&self.clock).to_owned(),
            heard_ms: 0,
        })
    }

    /// Who votes about the metadata, as this node knows.
    pub(crate) fn metadata_members(&self) -> Members {
        self.duties.metadata_members()
    }

    /// Answers another node that asks.
    pub(crate) fn answer(&self, request: &DescribeReplicas) -> ReplicasDescribed {
        let replicas = if request.only_node { Vec::new() } else { self.duties.describe(&request.keys).replicas };
        ReplicasDescribed { replicas, node: self.own().ok().as_ref().map(wire::node) }
    }

    /// What all nodes say of themselves; those that do not answer are missing.
    pub(crate) async fn nodes(&self) -> Result<BTreeMap<NodeId, NodeReport>, UsageError> {
        let own = self.own()?;
        let mut reports = BTreeMap::from([(own.node, own)]);
        let request = DescribeReplicas { keys: Vec::new(), only_node: true };
        for (node, answer) in self.ask(self.others(), &request).await {
            if let Some(described) = answer.node {
                reports.insert(node, wire::node_report(node, described, self.heard_ms(node)));
            }
        }
        Ok(reports)
    }

    /// What the nodes that hold these partitions, or any, say of them.
    pub(crate) async fn replicas(&self, keys: Option<Vec<TopicPartition>>) -> Replicas {
        let mut replicas = Replicas::default();
        if keys.as_ref().is_some_and(Vec::is_empty) {
            return replicas;
        }
        for (node, described) in self.described(keys).await {
            replicas.add(node, described.replicas.into_iter().filter_map(wire::replica_report));
        }
        replicas
    }

    /// The same in the words of the nodes; those that do not answer are missing.
    pub(crate) async fn described(&self, keys: Option<Vec<TopicPartition>>) -> Vec<(NodeId, ReplicasDescribed)> {
        let others = match &keys {
            None => self.others(),
            Some(keys) => {
                let image = self.router.image();
                let held = keys.iter().filter_map(|key| image.assignment(*key));
                let holders: BTreeSet<NodeId> = held.flat_map(Assignment::holders).collect();
                self.others().intersection(&holders).copied().collect()
            }
        };
        let keys = keys.map(|keys| keys.into_iter().map(wire::key).collect());
        let request = DescribeReplicas { keys: keys.unwrap_or_default(), only_node: false };
        let mut answers = self.ask(others, &request).await;
        answers.push((self.router.node(), self.answer(&request)));
        answers
    }

    /// The other nodes of the cluster that there is a connection to: to wait for the others would help nobody.
    fn others(&self) -> BTreeSet<NodeId> {
        let image = self.router.image();
        let nodes = image.nodes().map(|node| node.node);
        nodes.filter(|node| *node != self.router.node() && self.peers.is_connected(*node)).collect()
    }

    async fn ask(&self, nodes: BTreeSet<NodeId>, request: &DescribeReplicas) -> Vec<(NodeId, ReplicasDescribed)> {
        let ask = async |node| {
            let request = ControlRequest { kind: Some(Ask::DescribeReplicas(request.clone())) };
            let answer = tokio::time::timeout(PATIENCE, self.peers.ask(node, request)).await;
            match answer.ok()?.ok()?.kind? {
                Answer::ReplicasDescribed(described) => Some((node, described)),
                _ => None,
            }
        };
        let answers = stream::iter(nodes).map(ask).buffer_unordered(ASKED_AT_A_TIME);
        answers.filter_map(std::future::ready).collect().await
    }

    fn heard_ms(&self, node: NodeId) -> u64 {
        let heard = self.peers.heard(node).unwrap_or_default();
        u64::try_from(heard.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Replicas {
    /// Takes in what a node says.
    pub fn add(&mut self, node: NodeId, reports: impl IntoIterator<Item = (TopicPartition, ReplicaReport)>) {
        for (key, report) in reports {
            self.0.entry(key).or_default().insert(node, report);
        }
    }

    /// Whether a node answered that it leads a partition and serves it.
    #[must_use]
    pub fn is_served(&self, key: TopicPartition) -> bool {
        self.led(key).is_some()
    }

    /// The report of the node that leads a partition: of several that say so, the one with the newest term.
    #[must_use]
    pub fn led(&self, key: TopicPartition) -> Option<(NodeId, &ReplicaReport)> {
        let reports = self.0.get(&key)?.iter();
        let leading = reports.filter(|(_, report)| report.serves).max_by_key(|(_, report)| report.term)?;
        Some((*leading.0, leading.1))
    }

    /// Who leads a partition: who says so, or whom the newest of the others names.
    #[must_use]
    pub fn leader(&self, key: TopicPartition) -> Option<(NodeId, LeaderEpoch)> {
        if let Some((leader, report)) = self.led(key) {
            return Some((leader, report.term.into()));
        }
        let newest = self.0.get(&key)?.values().max_by_key(|report| report.term)?;
        Some((newest.leader?, newest.term.into()))
    }

    /// The report that knows most of what the partition holds.
    #[must_use]
    pub fn best(&self, key: TopicPartition) -> Option<&ReplicaReport> {
        let furthest = || self.0.get(&key)?.values().max_by_key(|report| report.high_watermark);
        self.led(key).map(|(_, report)| report).or_else(furthest)
    }

    /// How one replica stands.
    #[must_use]
    pub fn standing(&self, key: TopicPartition, node: NodeId) -> Standing {
        let own = self.0.get(&key).and_then(|reports| reports.get(&node));
        let mut standing = Standing {
            size_bytes: own.map(|report| report.size_bytes),
            is_recovering: own.map(|report| report.is_recovering),
            ..Standing::default()
        };
        let Some((leader, report)) = self.led(key) else { return standing };
        let is_voter = report.members.voters.contains(&node)
            || report.members.incoming.as_ref().is_some_and(|incoming| incoming.contains(&node));
        standing.is_voter = Some(is_voter);
        if node == leader {
            standing.role = Some(Role::Leader);
            standing.is_in_sync = Some(true);
            (standing.lag_entries, standing.lag_records) = (Some(0), Some(0));
            return standing;
        }
        if report.members.all().contains(&node) {
            standing.role = Some(if is_voter { Role::Follower } else { Role::Learner });
        }
        standing.lag_records = own.map(|own| report.log_end.get().saturating_sub(own.log_end.get()));
        let Some(progress) = report.peers.iter().find(|peer| peer.node == node) else {
            standing.is_in_sync = Some(false);
            return standing;
        };
        let end = |index: Option<LogIndex>| index.map_or(0, |index| index.next().get());
        let lag = progress.matched.map(|_| end(report.last_index).saturating_sub(end(progress.matched)));
        let is_heard = progress.heard_ms.is_some_and(|ms| ms <= IN_SYNC_SILENCE_MS);
        standing.lag_entries = lag;
        standing.is_in_sync = Some(is_heard && lag.is_some_and(|lag| lag <= IN_SYNC_ENTRIES));
        standing
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use highwater_types::{PartitionId, TopicId};

    use super::*;

    const KEY: TopicPartition =
        TopicPartition { topic: TopicId::new(uuid::Uuid::nil()), partition: PartitionId::new(0) };

    fn node(number: u64) -> NodeId {
        NodeId::new(number)
    }

    fn report(leader: u64, term: u64, end: u64) -> ReplicaReport {
        ReplicaReport {
            leader: Some(node(leader)),
            term: Term::new(term),
            serves: false,
            members: Members { voters: BTreeSet::from([node(1), node(2), node(3)]), ..Members::default() },
            last_index: Some(LogIndex::new(end)),
            log_start: Offset::ZERO,
            high_watermark: Offset::ZERO.saturating_add(end),
            log_end: Offset::ZERO.saturating_add(end),
            size_bytes: 10,
            is_recovering: false,
            peers: Vec::new(),
        }
    }

    fn of_leader(end: u64, peers: &[(u64, u64, u64)]) -> ReplicaReport {
        let peers = peers.iter().map(|(number, matched, heard_ms)| PeerProgress {
            node: node(*number),
            is_voter: true,
            matched: Some(LogIndex::new(*matched)),
            heard_ms: Some(*heard_ms),
        });
        ReplicaReport { serves: true, peers: peers.collect(), ..report(1, 5, end) }
    }

    #[test]
    fn the_newest_leader_speaks_for_the_partition() {
        let mut replicas = Replicas::default();
        assert_eq!(replicas.leader(KEY), None);
        replicas.add(node(2), [(KEY, report(2, 4, 7))]);
        assert_eq!(replicas.leader(KEY).map(|(leader, _)| leader), Some(node(2)), "by hearsay, when nobody leads");
        assert!(!replicas.is_served(KEY));
        replicas.add(node(2), [(KEY, ReplicaReport { serves: true, ..report(2, 4, 7) })]);
        replicas.add(node(1), [(KEY, of_leader(900, &[]))]);
        assert_eq!(replicas.leader(KEY).map(|(leader, _)| leader), Some(node(1)), "the other was deposed");
        assert_eq!(replicas.best(KEY).unwrap().high_watermark.get(), 900);
    }

    #[test]
    fn a_replica_is_in_sync_while_it_is_heard_of_and_lacks_little() {
        let mut replicas = Replicas::default();
        replicas.add(node(1), [(KEY, of_leader(1_000, &[(2, 990, 50), (3, 990, 60_000)]))]);
        replicas.add(node(2), [(KEY, report(1, 5, 990))]);
        let two = replicas.standing(KEY, node(2));
        assert_eq!((two.role, two.is_in_sync, two.lag_entries), (Some(Role::Follower), Some(true), Some(10)));
        assert_eq!((two.lag_records, two.size_bytes), (Some(10), Some(10)));
        let three = replicas.standing(KEY, node(3));
        assert_eq!((three.is_in_sync, three.lag_records, three.size_bytes), (Some(false), None, None));
        let four = replicas.standing(KEY, node(4));
        assert_eq!((four.role, four.is_voter, four.is_in_sync), (None, Some(false), Some(false)));
        let silent = Replicas::default().standing(KEY, node(1));
        assert_eq!(silent, Standing::default(), "nothing is known, and nothing is made up");
    }
}
