//! The committed offsets of one group, packed: a partition costs 32 bytes, and more only with text or an own expiry.
//!
//! Invariants: topics and the partitions of each are sorted; no topic is empty; `metadata_bytes` is what the texts add
//! up to.

use std::collections::BTreeMap;

use highwater_types::{LeaderEpoch, Offset, PartitionId, Timestamp, TopicId, TopicPartition};

/// How far a group has read one partition: the offset of the record that it reads next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next record to read.
    pub offset: Offset,
    /// The leader epoch of the last record that was read, when the reader knew it.
    pub leader_epoch: Option<LeaderEpoch>,
    /// A text of the reader's; usually empty.
    pub metadata: String,
    /// When it was committed.
    pub committed_at: Timestamp,
    /// When it may go if the group is empty, when the reader said so itself.
    pub expires_at: Option<Timestamp>,
}

/// What is kept of it. No epoch is -1, as on the wire; what few offsets have stands apart.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Slot {
    partition: PartitionId,
    leader_epoch: i32,
    offset: Offset,
    committed_at: Timestamp,
    extra: Option<Box<Extra>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Extra {
    metadata: Box<str>,
    expires_at: Option<Timestamp>,
}

// A node holds a million of these.
const _: () = assert!(size_of::<Slot>() == 32);

impl Slot {
    fn new(partition: PartitionId, committed: &CommittedOffset) -> Self {
        let CommittedOffset { offset, leader_epoch, ref metadata, committed_at, expires_at } = *committed;
        let has_extra = !metadata.is_empty() || expires_at.is_some();
        let extra = has_extra.then(|| Box::new(Extra { metadata: metadata.as_str().into(), expires_at }));
        Self { partition, leader_epoch: leader_epoch.map_or(-1, LeaderEpoch::get), offset, committed_at, extra }
    }

    fn metadata(&self) -> &str {
        self.extra.as_ref().map_or("", |extra| &extra.metadata)
    }

    fn expires_at(&self) -> Option<Timestamp> {
        self.extra.as_ref().and_then(|extra| extra.expires_at)
    }

    fn committed(&self) -> CommittedOffset {
        CommittedOffset {
            offset: self.offset,
            leader_epoch: (self.leader_epoch >= 0).then(|| LeaderEpoch::new(self.leader_epoch)),
            metadata: self.metadata().to_owned(),
            committed_at: self.committed_at,
            expires_at: self.expires_at(),
        }
    }
}

/// The committed offsets of one group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OffsetTable {
    topics: BTreeMap<TopicId, Vec<Slot>>,
    metadata_bytes: usize,
}

impl OffsetTable {
    /// How many partitions have an offset.
    #[must_use]
    pub fn len(&self) -> usize {
        self.topics.values().map(Vec::len).sum()
    }

    /// Whether none has.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// How many bytes the texts beside the offsets fill.
    #[must_use]
    pub fn metadata_bytes(&self) -> usize {
        self.metadata_bytes
    }

    /// The offset of one partition.
    #[must_use]
    pub fn get(&self, at: TopicPartition) -> Option<CommittedOffset> {
        let slots = self.topics.get(&at.topic)?;
        let found = slots.binary_search_by_key(&at.partition, |slot| slot.partition).ok()?;
        slots.get(found).map(Slot::committed)
    }

    /// Whether a partition has an offset.
    #[must_use]
    pub fn contains(&self, at: TopicPartition) -> bool {
        let slots = self.topics.get(&at.topic);
        slots.is_some_and(|slots| slots.binary_search_by_key(&at.partition, |slot| slot.partition).is_ok())
    }

    /// Every offset, sorted by topic and partition.
    pub fn iter(&self) -> impl Iterator<Item = (TopicPartition, CommittedOffset)> {
        self.slots().map(|(at, slot)| (at, slot.committed()))
    }

    /// The topics that have offsets, with how many.
    pub(crate) fn topics(&self) -> impl ExactSizeIterator<Item = (TopicId, usize)> {
        self.topics.iter().map(|(topic, slots)| (*topic, slots.len()))
    }

    /// The partitions that may go at `now` from a group that has been empty since `empty_since`, with when each was
    /// committed.
    pub(crate) fn expired(
        &self,
        now: Timestamp,
        empty_since: Option<Timestamp>,
        retention_ms: u64,
    ) -> impl Iterator<Item = (TopicPartition, Timestamp)> {
        let is_expired = move |slot: &Slot| match slot.expires_at() {
            Some(expires_at) => now >= expires_at,
            None => {
                let unused_since = empty_since.map_or(slot.committed_at, |since| since.max(slot.committed_at));
                now >= unused_since && now.ms_since(unused_since) >= retention_ms
            }
        };
        self.slots().filter(move |(_, slot)| is_expired(slot)).map(|(at, slot)| (at, slot.committed_at))
    }

    /// Sets the offset of one partition, whatever it was.
    pub(crate) fn set(&mut self, at: TopicPartition, committed: &CommittedOffset) {
        let slot = Slot::new(at.partition, committed);
        self.metadata_bytes += slot.metadata().len();
        let slots = self.topics.entry(at.topic).or_default();
        // Partitions mostly come in order, so the place is mostly at the end or already there.
        match slots.binary_search_by_key(&at.partition, |slot| slot.partition) {
            Ok(found) => {
                if let Some(held) = slots.get_mut(found) {
                    self.metadata_bytes -= held.metadata().len();
                    *held = slot;
                }
            }
            Err(place) => slots.insert(place, slot),
        }
    }

    /// Removes the offset of one partition, if `is_right` says so of when it was committed.
    pub(crate) fn remove_if(&mut self, at: TopicPartition, is_right: impl FnOnce(Timestamp) -> bool) {
        let Some(slots) = self.topics.get_mut(&at.topic) else { return };
        let Ok(found) = slots.binary_search_by_key(&at.partition, |slot| slot.partition) else { return };
        if slots.get(found).is_some_and(|slot| is_right(slot.committed_at)) {
            self.metadata_bytes -= slots.remove(found).metadata().len();
        }
        if slots.is_empty() {
            self.topics.remove(&at.topic);
        }
    }

    /// Removes what is known of a topic. Returns whether there was anything.
    pub(crate) fn remove_topic(&mut self, topic: TopicId) -> bool {
        let removed = self.topics.remove(&topic);
        let texts = removed.iter().flatten().map(|slot| slot.metadata().len());
        self.metadata_bytes -= texts.sum::<usize>();
        removed.is_some()
    }

    fn slots(&self) -> impl Iterator<Item = (TopicPartition, &Slot)> {
        self.topics.iter().flat_map(|(topic, slots)| {
            slots.iter().map(|slot| (TopicPartition { topic: *topic, partition: slot.partition }, slot))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(topic: u8, partition: u32) -> TopicPartition {
        TopicPartition { topic: TopicId::from_bytes([topic; 16]), partition: PartitionId::new(partition) }
    }

    fn committed(offset: u64, metadata: &str) -> CommittedOffset {
        CommittedOffset {
            offset: Offset::new(offset).unwrap(),
            leader_epoch: Some(LeaderEpoch::new(3)),
            metadata: metadata.to_owned(),
            committed_at: Timestamp::from_ms(1_000),
            expires_at: None,
        }
    }

    #[test]
    fn the_last_value_stands_and_texts_are_counted() {
        let mut table = OffsetTable::default();
        table.set(at(1, 7), &committed(10, "ten"));
        table.set(at(1, 2), &committed(20, ""));
        table.set(at(1, 7), &committed(5, "a"));
        assert_eq!(table.get(at(1, 7)), Some(committed(5, "a")));
        assert_eq!((table.len(), table.metadata_bytes()), (2, 1));
        assert!(table.remove_topic(TopicId::from_bytes([1; 16])));
        assert!(table.is_empty());
        assert_eq!(table.metadata_bytes(), 0);
    }

    #[test]
    fn an_offset_expires_after_the_group_was_left_and_after_it_was_committed() {
        let mut table = OffsetTable::default();
        table.set(at(1, 0), &committed(10, ""));
        let expired =
            |now, since: i64| table.expired(Timestamp::from_ms(now), Some(Timestamp::from_ms(since)), 500).count();
        assert_eq!(expired(1_499, 0), 0);
        assert_eq!(expired(1_500, 0), 1);
        assert_eq!(expired(1_500, 1_200), 0);
        // A clock that was set back expires nothing.
        assert_eq!(table.expired(Timestamp::from_ms(0), None, 0).count(), 0);
    }
}
