//! What is wrong with the cluster: a pure function over the image and what the nodes say of their replicas.
//!
//! Owns: which findings there are, how bad each is, and its words: what is wrong, with which thing, and what to do.
//!
//! Never: takes the absence of an answer for good news. A node that did not answer is a finding, and what only it could
//! say is reported as not known.

mod moves;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use highwater_metadata::{Assignment, Member, MetadataImage, NodeState, Topic};
use highwater_proto::internal::v1::{NodeHeartbeat, ReplicaDescription};
use highwater_storage::LogKey;
use highwater_types::{NodeId, TopicPartition};

use super::METADATA_LOG;

pub use self::moves::MoveAges;
pub(crate) use self::moves::Moves;

/// A replica that lacks no more entries than this is in sync.
const IN_SYNC_ENTRIES: u64 = 1_024;

/// A replica that answered its leader no longer ago than this is in sync.
const IN_SYNC_MS: u64 = 3_000;

/// A move that has stood at the same step for so long gets on only while something is copied.
const MOVE_AGE_MAX: Duration = Duration::from_secs(60);

/// A disk with less than this share of its bytes free is low: not far above the floor, at which records are refused, so
/// that a cluster that has used its disks for years is not ill for that alone.
const DISK_LOW: f64 = 0.06;

/// How many findings of one kind are told one by one; the rest is counted.
const TOLD_MAX: usize = 20;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something is under way or wanted; nothing needs to be done.
    Notice,
    /// Everything works, and one more failure may change that.
    Warning,
    /// Something does not work.
    Critical,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// A short stable name of the kind, for programs.
    pub kind: &'static str,
    /// What is wrong, with which thing.
    pub text: String,
    /// What to do about it.
    pub advice: &'static str,
}

/// What one node said.
#[derive(Clone, Debug, Default)]
pub struct NodeReport {
    /// Its replicas, by the bytes of their keys' logs; `None`: it did not answer.
    pub replicas: Option<Vec<ReplicaDescription>>,
    /// Its last sign of life, if the controller has one.
    pub heartbeat: Option<NodeHeartbeat>,
}

impl Severity {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// All that is wrong, the worst first.
#[must_use]
pub fn problems(image: &MetadataImage, reports: &BTreeMap<NodeId, NodeReport>, moves: &MoveAges) -> Vec<Problem> {
    let mut found = Found::default();
    let groups = Groups::new(reports);
    for member in image.members() {
        node(member, reports.get(&member.node()), image, &mut found);
    }
    metadata_group(image, &groups, reports, &mut found);
    for (id, topic, held) in image.partitions() {
        if let Some(leader) = partition(id, topic, held, &groups, &mut found)
            && held.is_moving()
        {
            moving(&named(id, topic), held, leader, image, moves.get(&id).copied(), &mut found);
        }
    }
    found.finish()
}

/// The findings so far.
#[derive(Default)]
struct Found {
    problems: Vec<Problem>,
    untold: BTreeMap<(Severity, &'static str), (usize, &'static str)>,
}

impl Found {
    fn note(&mut self, severity: Severity, kind: &'static str, text: String, advice: &'static str) {
        if self.problems.iter().filter(|problem| problem.kind == kind).count() < TOLD_MAX {
            self.problems.push(Problem { severity, kind, text, advice });
        } else {
            self.untold.entry((severity, kind)).or_insert((0, advice)).0 += 1;
        }
    }

    fn finish(mut self) -> Vec<Problem> {
        for ((severity, kind), (count, advice)) in self.untold {
            self.problems.push(Problem {
                severity,
                kind,
                text: format!("and {count} more of the kind {kind}"),
                advice,
            });
        }
        self.problems.sort_by_key(|problem| std::cmp::Reverse(problem.severity));
        self.problems
    }
}

/// What the nodes say of each group.
struct Groups<'a> {
    by_key: BTreeMap<&'a [u8], BTreeMap<NodeId, &'a ReplicaDescription>>,
    answered: BTreeSet<NodeId>,
}

impl<'a> Groups<'a> {
    fn new(reports: &'a BTreeMap<NodeId, NodeReport>) -> Self {
        let mut by_key: BTreeMap<&[u8], BTreeMap<NodeId, &ReplicaDescription>> = BTreeMap::new();
        for (node, report) in reports {
            for replica in report.replicas.iter().flatten() {
                by_key.entry(&replica.key).or_default().insert(*node, replica);
            }
        }
        let answered = reports.iter().filter(|(_, report)| report.replicas.is_some()).map(|(node, _)| *node).collect();
        Self { by_key, answered }
    }

    fn replicas(&self, key: LogKey) -> impl Iterator<Item = (NodeId, &'a ReplicaDescription)> {
        let found = self.by_key.get(&key.to_bytes()[..]);
        found.into_iter().flatten().map(|(node, replica)| (*node, *replica))
    }

    /// The replica that leads; of two that say so, the one of the later term.
    fn leader(&self, key: LogKey) -> Option<(NodeId, &'a ReplicaDescription)> {
        self.replicas(key).filter(|(_, replica)| replica.is_leader).max_by_key(|(_, replica)| replica.term)
    }
}

fn node(member: &Member, report: Option<&NodeReport>, image: &MetadataImage, found: &mut Found) {
    let (node, address) = (member.node(), &member.registration.address);
    let is_silent = report.is_none_or(|report| report.replicas.is_none());
    if member.is_fenced {
        let advice = "start it again; if its data is lost, replace it by a new node and decommission it";
        let text = format!("node {node} ({address}) does not answer the controller and is fenced");
        found.note(Severity::Critical, "node-fenced", text, advice);
    } else if is_silent {
        let advice = "see whether it runs, and whether the network between the nodes lets it through";
        found.note(
            Severity::Critical,
            "node-silent",
            format!("node {node} ({address}) does not answer this node"),
            advice,
        );
    }
    let held = image.partitions().filter(|(_, _, held)| held.holds(node)).count();
    match member.state {
        NodeState::Active => {}
        NodeState::Draining => {
            let advice = "take it back with `highwater cluster drain --undo` when the work on it is done";
            found.note(Severity::Notice, "node-draining", format!("node {node} is being drained"), advice);
        }
        NodeState::Decommissioning => {
            let text = format!("node {node} is being decommissioned and holds {held} replicas");
            let moves = image.partitions().any(|(_, _, assignment)| assignment.holds(node) && assignment.is_moving());
            match held == 0 || moves {
                true => found.note(Severity::Notice, "node-decommissioning", text, "wait until it is done"),
                false => {
                    let text = format!("{text}, none of which moves: no other node can take them now");
                    let advice = "add a node, or bring back one that does not answer";
                    found.note(Severity::Warning, "decommission-stuck", text, advice);
                }
            }
        }
    }
    if let Some(beat) = report.and_then(|report| report.heartbeat.as_ref()) {
        disk(node, beat, found);
    }
}

fn disk(node: NodeId, beat: &NodeHeartbeat, found: &mut Found) {
    let advice = "add disk, delete topics, or shorten their retention; at the floor the node refuses records";
    let gib = |bytes: u64| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30));
    let (free, total) = (gib(beat.free_bytes), gib(beat.total_bytes));
    if beat.is_disk_full {
        let text = format!("the disk of node {node} is full ({free} of {total} free): it refuses records");
        found.note(Severity::Critical, "disk-full", text, advice);
    } else if beat.total_bytes > 0 && (beat.free_bytes as f64) < beat.total_bytes as f64 * DISK_LOW {
        let text = format!("the disk of node {node} is nearly full: {free} of {total} free");
        found.note(Severity::Warning, "disk-low", text, advice);
    }
}

fn metadata_group(
    image: &MetadataImage,
    groups: &Groups<'_>,
    reports: &BTreeMap<NodeId, NodeReport>,
    found: &mut Found,
) {
    let Some((_, leader)) = groups.leader(METADATA_LOG) else {
        let text = "the cluster's metadata has no leader: nothing about topics and nodes can be changed".to_owned();
        let advice = "bring back a majority of the nodes that vote on the metadata";
        found.note(Severity::Critical, "controller-missing", text, advice);
        return;
    };
    let voters: BTreeSet<NodeId> = leader.voters.iter().copied().map(NodeId::new).collect();
    let is_up = |node: &&NodeId| {
        image.member(**node).is_some_and(|member| !member.is_fenced)
            && reports.get(node).is_some_and(|report| report.replicas.is_some())
    };
    let up = voters.iter().filter(is_up).count();
    if voters.len() > 1 && up <= voters.len() / 2 + 1 && up < voters.len() {
        let text = format!(
            "{up} of the {} nodes that vote on the metadata answer; one fewer and it stands still",
            voters.len()
        );
        let advice = "bring the others back, or replace them";
        found.note(Severity::Warning, "controller-at-risk", text, advice);
    }
    if voters.len() < 3 && image.members().len() >= 3 {
        let text = format!("{} of {} nodes vote on the metadata", voters.len(), image.members().len());
        let advice = "wait: the controller makes it three when enough nodes answer";
        found.note(Severity::Warning, "controller-few-voters", text, advice);
    }
    recovering(METADATA_LOG, "the cluster's metadata", groups, found);
}

fn named(id: TopicPartition, topic: &Topic) -> String {
    format!("partition {} of topic '{}'", id.partition, topic.name)
}

/// Gives what the replica that leads it says.
fn partition<'a>(
    id: TopicPartition,
    topic: &Topic,
    held: &Assignment,
    groups: &Groups<'a>,
    found: &mut Found,
) -> Option<&'a ReplicaDescription> {
    let key = LogKey::new(id.topic.to_bytes(), id.partition.get());
    let name = named(id, topic);
    recovering(key, &name, groups, found);
    let Some((node, leader)) = groups.leader(key) else {
        let silent = held.replicas.iter().filter(|node| !groups.answered.contains(node)).count();
        match silent <= held.replicas.len() / 2 {
            true => {
                let text = format!("{name} has no leader");
                let advice = "wait a few seconds; if it stays, look into the logs of its nodes";
                found.note(Severity::Critical, "leader-missing", text, advice);
            }
            false => {
                let text = format!("{name} has no leader: {silent} of its nodes [{held}] do not answer");
                let advice = "bring back a majority of its nodes; until then it takes no records";
                found.note(Severity::Critical, "leader-missing", text, advice);
            }
        }
        return None;
    };
    let in_sync = |node: &&NodeId| {
        let peer = leader.peers.iter().find(|peer| peer.node == node.get());
        peer.is_some_and(|peer| {
            peer.lag.is_some_and(|lag| lag <= IN_SYNC_ENTRIES) && peer.heard_ms.is_some_and(|heard| heard <= IN_SYNC_MS)
        })
    };
    let behind: Vec<String> =
        held.replicas.iter().filter(|other| **other != node && !in_sync(other)).map(ToString::to_string).collect();
    if !behind.is_empty() {
        let (count, all) = (held.replicas.len() - behind.len(), held.replicas.len());
        let severity = if count <= all / 2 { Severity::Critical } else { Severity::Warning };
        let text = format!("{name} has {count} of {all} replicas in sync; behind: [{}]", behind.join(","));
        let advice = "bring back the nodes that are behind, or wait while they catch up";
        found.note(severity, "replicas-behind", text, advice);
    }
    Some(leader)
}

/// A move of a partition that has a leader, and for how long it has stood at this step.
fn moving(
    name: &str,
    held: &Assignment,
    leader: &ReplicaDescription,
    image: &MetadataImage,
    age: Option<Duration>,
    found: &mut Found,
) {
    let dead: Vec<String> = held
        .wanted()
        .iter()
        .filter(|node| image.member(**node).is_none_or(|member| member.is_fenced))
        .map(ToString::to_string)
        .collect();
    if !dead.is_empty() {
        let text = format!("{name} is moving ({held}), and cannot go on: [{}] do not answer", dead.join(","));
        let advice = "bring them back, or take the move back with `highwater cluster move --cancel`";
        found.note(Severity::Warning, "move-stuck", text, advice);
        return;
    }
    let stuck = age.filter(|age| *age >= MOVE_AGE_MAX).and_then(|age| Some((stands_still(held, leader)?, age)));
    match stuck {
        Some((why, age)) => {
            let text = format!("{name} has been moving for {} s ({held}) and does not get on: {why}", age.as_secs());
            let advice = "look into the logs of its leader and of the new nodes; `highwater cluster move --cancel` takes \
                          it back";
            found.note(Severity::Warning, "move-stuck", text, advice);
        }
        None => found.note(Severity::Notice, "moving", format!("{name} is moving: {held}"), "wait until it is done"),
    }
}

/// Why a move that takes long does not get on, as its leader sees it; nothing while a new replica is being filled.
fn stands_still(held: &Assignment, leader: &ReplicaDescription) -> Option<String> {
    for node in held.added() {
        let Some(peer) = leader.peers.iter().find(|peer| peer.node == node.get()) else {
            return Some(format!("its leader has not begun to fill node {node}"));
        };
        if peer.heard_ms.is_none_or(|heard| heard > IN_SYNC_MS) {
            return Some(format!("node {node} does not answer its leader"));
        }
        if peer.lag.is_none_or(|lag| lag > IN_SYNC_ENTRIES) {
            return None;
        }
    }
    Some("the new replicas have everything, but the members are not changed".to_owned())
}

fn recovering(key: LogKey, name: &str, groups: &Groups<'_>, found: &mut Found) {
    for (node, _) in groups.replicas(key).filter(|(_, replica)| replica.is_recovering) {
        let text = format!("the replica of {name} on node {node} was damaged and is rebuilt from the others");
        let advice = "wait until it is done; what was damaged is kept in `quarantine` in the node's data directory";
        found.note(Severity::Warning, "replica-recovering", text, advice);
    }
}

#[cfg(test)]
mod tests;
