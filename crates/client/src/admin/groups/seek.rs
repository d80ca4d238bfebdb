//! Where a group is to go on reading, and what that changes.
//!
//! Never: computes an offset. A position becomes one at the server, which knows what is kept.

use highwater_proto::v1;
use highwater_types::{Offset, PartitionId};

use crate::position::Position;

/// Where a group is to go on reading.
///
/// Name each partition once, either itself or with all of its topic.
///
/// ```
/// use highwater_client::{PartitionId, Position, SeekGroup, SeekTo};
/// let seek = SeekGroup::new("billing")
///     .topic("orders", Position::Start)
///     .partition("payments", PartitionId::new(2), SeekTo::Shift(-100))
///     .validate_only(true);
/// # let _ = seek;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "describes a seek; `Admin::seek_group` does it"]
pub struct SeekGroup {
    group: String,
    targets: Vec<Target>,
    is_forced: bool,
    is_validate_only: bool,
}

/// A place for a group to go on from: one that the partition names, or one that the committed offset names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SeekTo {
    /// There. An offset out of what is kept is taken for the nearest that is.
    Position(Position),
    /// So many records on from the committed offset, or back when negative; no further than what is kept.
    Shift(i64),
}

/// What a seek changed, or would change, in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeekChange {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: PartitionId,
    /// The offset before; `None` when none was committed.
    pub from: Option<Offset>,
    /// The offset then.
    pub to: Offset,
    /// The first offset that is kept.
    pub log_start: Offset,
    /// The first offset that is not committed.
    pub log_end: Offset,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    topic: String,
    partition: Option<PartitionId>,
    to: SeekTo,
}

impl SeekGroup {
    /// A seek of this group that has no targets yet.
    pub fn new(group: impl Into<String>) -> Self {
        Self { group: group.into(), targets: Vec::new(), is_forced: false, is_validate_only: false }
    }

    /// All partitions of a topic are read from there.
    pub fn topic(mut self, topic: impl Into<String>, to: impl Into<SeekTo>) -> Self {
        self.targets.push(Target { topic: topic.into(), partition: None, to: to.into() });
        self
    }

    /// One partition of a topic is read from there.
    pub fn partition(mut self, topic: impl Into<String>, partition: PartitionId, to: impl Into<SeekTo>) -> Self {
        self.targets.push(Target { topic: topic.into(), partition: Some(partition), to: to.into() });
        self
    }

    /// Do it although the group has members: their generation ends, what they commit in it is refused, and they join
    /// again and go on from the new offsets.
    pub fn force(mut self, force: bool) -> Self {
        self.is_forced = force;
        self
    }

    /// Check everything and change nothing.
    pub fn validate_only(mut self, only: bool) -> Self {
        self.is_validate_only = only;
        self
    }

    pub(super) fn topics(&self) -> impl Iterator<Item = &str> {
        self.targets.iter().map(|target| target.topic.as_str())
    }

    pub(super) fn into_wire(self) -> v1::SeekGroupRequest {
        v1::SeekGroupRequest {
            group: self.group,
            targets: self.targets.into_iter().map(Target::into_wire).collect(),
            force: self.is_forced,
            validate_only: self.is_validate_only,
        }
    }
}

impl From<Position> for SeekTo {
    fn from(position: Position) -> Self {
        Self::Position(position)
    }
}

impl Target {
    fn into_wire(self) -> v1::SeekTarget {
        use v1::seek_target::To;
        let to = match self.to {
            SeekTo::Position(position) => To::Position(position.to_wire()),
            SeekTo::Shift(records) => To::Shift(records),
        };
        v1::SeekTarget { topic: self.topic, partition: self.partition.map(PartitionId::get), to: Some(to) }
    }
}

impl SeekChange {
    pub(super) fn from_wire(change: v1::SeekChange) -> Option<Self> {
        Some(Self {
            topic: change.topic,
            partition: PartitionId::new(change.partition),
            from: change.from.and_then(Offset::from_wire),
            to: Offset::from_wire(change.to)?,
            log_start: Offset::from_wire(change.log_start)?,
            log_end: Offset::from_wire(change.log_end)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_reaches_the_wire() {
        use v1::seek_target::To;
        let seek = SeekGroup::new("g").topic("a", Position::End).partition("b", PartitionId::new(2), SeekTo::Shift(-7));
        assert_eq!(seek.topics().collect::<Vec<_>>(), ["a", "b"]);
        let wire = seek.clone().into_wire();
        assert_eq!((wire.group.as_str(), wire.force, wire.validate_only), ("g", false, false));
        assert_eq!(wire.targets[0].partition, None, "all partitions");
        assert_eq!(wire.targets[0].to, Some(To::Position(Position::End.to_wire())));
        assert_eq!((wire.targets[1].partition, wire.targets[1].to), (Some(2), Some(To::Shift(-7))));
        let wire = seek.force(true).validate_only(true).into_wire();
        assert!(wire.force && wire.validate_only);
    }

    #[test]
    fn a_change_without_a_new_offset_is_none() {
        let wire = v1::SeekChange { from: None, to: 5, log_start: 2, log_end: 9, ..v1::SeekChange::default() };
        assert_eq!(SeekChange::from_wire(wire.clone()).map(|change| change.from), Some(None));
        assert_eq!(SeekChange::from_wire(v1::SeekChange { to: -1, ..wire }), None);
    }
}
