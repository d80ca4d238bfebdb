//! What there is to do for the groups that this node leads, at one look.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use highwater_metadata::{Assignment, MetadataImage};
use highwater_types::{NodeId, PartitionId, Term, TopicId, TopicPartition};
use tokio::time::Instant;

use super::{Shepherd, by_id};
use crate::raft::{Replica, ReplicaStatus};

/// How long the preferred leader must have been fit to lead before it leads again: a node that comes and goes would
/// take its leaderships along each time.
const CALM: Duration = Duration::from_secs(10);

/// Stands for the metadata group, whose log has this key. No topic has that id.
const METADATA: TopicPartition = TopicPartition { topic: TopicId::from_bytes([0; 16]), partition: PartitionId::new(0) };

/// One thing to do for one group.
pub(super) struct Errand {
    pub(super) partition: TopicPartition,
    pub(super) replica: Replica,
    /// Of the assignment that asks for it.
    pub(super) generation: u32,
    pub(super) what: What,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Another node should lead.
    Lead { to: NodeId },
    /// Others should be the members.
    Members { voters: BTreeSet<NodeId>, is_move: bool },
    /// The members are as they should be, and the controller does not know it yet.
    Finish,
}

/// What earlier looks found, of the groups that this node leads.
#[derive(Debug, Default)]
pub(super) struct Memory(BTreeMap<TopicPartition, Seen>);

#[derive(Clone, Copy, Debug)]
struct Seen {
    term: Term,
    generation: u32,
    /// Whether the assignment changed since this node leads: then an operator waits.
    is_asked: bool,
    /// Who should lead, and since when.
    better: Option<(NodeId, Instant)>,
}

/// Looks at every group; returns at most `room` errands for groups that are not busy.
pub(super) fn look(
    shepherd: &Shepherd,
    image: &MetadataImage,
    memory: &mut Memory,
    busy: &BTreeSet<TopicPartition>,
    room: usize,
) -> Vec<Errand> {
    let groups = by_id(&shepherd.partitions.borrow());
    let (mut errands, mut seen) = (Vec::new(), BTreeMap::new());
    if let Some(to) = shepherd.better_controller(image).filter(|_| room > 0 && !busy.contains(&METADATA)) {
        let (replica, what) = (shepherd.metadata.clone(), What::Lead { to });
        errands.push(Errand { partition: METADATA, replica, generation: 0, what });
    }
    for (partition, replica) in groups {
        let led = *replica.leadership().borrow();
        let Some(held) = image.assignment(partition).filter(|_| led.is_leader && led.serves_writes) else { continue };
        let status = replica.status();
        let what = members(held, &status).or_else(|| {
            let better = shepherd.better(image, held, &status);
            let now = shepherd.clock.instant();
            let before = memory.0.get(&partition).copied();
            let entry = Seen::next(before, led.term, held.generation, better, now);
            seen.insert(partition, entry);
            let is_urgent = entry.is_asked || !may_stay(shepherd, image, held);
            let is_due = entry.better.is_some_and(|(_, since)| is_urgent || now.duration_since(since) >= CALM);
            better.filter(|_| is_due).map(|to| What::Lead { to })
        });
        if let Some(what) = what.filter(|_| errands.len() < room && !busy.contains(&partition)) {
            errands.push(Errand { partition, replica, generation: held.generation, what });
        }
    }
    memory.0 = seen;
    errands
}

/// What there is to do so that the members are those that the image wants.
fn members(held: &Assignment, status: &ReplicaStatus) -> Option<What> {
    let voters: BTreeSet<NodeId> = held.wanted().iter().copied().collect();
    let members = &status.members;
    let is_so = members.incoming.is_none() && members.voters == voters && members.learners.is_empty();
    match (is_so, held.is_moving()) {
        (true, false) => None,
        (true, true) if status.members_are_committed => Some(What::Finish),
        (_, is_move) => Some(What::Members { voters, is_move }),
    }
}

fn may_stay(shepherd: &Shepherd, image: &MetadataImage, held: &Assignment) -> bool {
    let is_active =
        image.member(shepherd.node).is_some_and(|member| member.state == highwater_metadata::NodeState::Active);
    is_active && held.wanted().contains(&shepherd.node)
}

impl Seen {
    fn next(before: Option<Self>, term: Term, generation: u32, better: Option<NodeId>, now: Instant) -> Self {
        let before = before.filter(|before| before.term == term);
        let is_asked = before.is_some_and(|before| before.is_asked || before.generation != generation);
        let since = before.and_then(|before| before.better).filter(|(node, _)| Some(*node) == better);
        let better = better.map(|node| since.unwrap_or((node, now)));
        // Once the right one leads, the next change of leaders is nobody's wish.
        Self { term, generation, is_asked: is_asked && better.is_some(), better }
    }
}
