//! A set of offsets as ranges: a million neighbours cost as much as one.
//!
//! Invariant: ranges are not empty, do not overlap and do not touch.

use std::collections::BTreeMap;

use highwater_types::{Offset, OffsetRange};

/// A set of offsets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet {
    /// The end of each range, by its start.
    ranges: BTreeMap<Offset, Offset>,
}

impl RangeSet {
    /// How many ranges there are: what the set costs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The ranges in order.
    pub fn iter(&self) -> impl Iterator<Item = OffsetRange> {
        self.ranges.iter().map(|(start, end)| OffsetRange { start: *start, end: *end })
    }

    /// The first range.
    #[must_use]
    pub fn first(&self) -> Option<OffsetRange> {
        self.ranges.first_key_value().map(|(start, end)| OffsetRange { start: *start, end: *end })
    }

    /// The range that an offset lies in.
    #[must_use]
    pub fn range_of(&self, offset: Offset) -> Option<OffsetRange> {
        let (start, end) = self.ranges.range(..=offset).next_back()?;
        (offset < *end).then_some(OffsetRange { start: *start, end: *end })
    }

    /// The first range that starts at an offset or after it.
    #[must_use]
    pub fn next_after(&self, offset: Offset) -> Option<OffsetRange> {
        self.ranges.range(offset..).next().map(|(start, end)| OffsetRange { start: *start, end: *end })
    }

    /// Adds a range. Returns how many offsets of it were not in the set.
    pub fn insert(&mut self, range: OffsetRange) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let (mut start, mut end, mut fresh) = (range.start, range.end, range.len());
        // The range before may touch or overlap, and so may any that start inside or right behind.
        let before = self.ranges.range(..start).next_back().map(|(start, end)| (*start, *end));
        let first = before.filter(|(_, end)| *end >= start).map_or(start, |(start, _)| start);
        while let Some((found, its_end)) = self.ranges.range(first..=end).next().map(|(start, end)| (*start, *end)) {
            fresh -= its_end.min(range.end).records_since(found.max(range.start));
            (start, end) = (start.min(found), end.max(its_end));
            self.ranges.remove(&found);
        }
        self.ranges.insert(start, end);
        fresh
    }

    /// Takes a range away.
    pub fn remove(&mut self, range: OffsetRange) {
        if range.is_empty() {
            return;
        }
        // What reaches in from before is cut first, so that the rest starts inside.
        if let Some(before) = self.range_of(range.start).filter(|before| before.start < range.start) {
            self.ranges.insert(before.start, range.start);
            self.ranges.insert(range.start, before.end);
        }
        while let Some((start, end)) =
            self.ranges.range(range.start..range.end).next().map(|(start, end)| (*start, *end))
        {
            self.ranges.remove(&start);
            if end > range.end {
                self.ranges.insert(range.end, end);
            }
        }
    }
}

/// Offsets that come in order, as ranges.
#[must_use]
pub fn from_sorted(offsets: impl IntoIterator<Item = Offset>) -> Vec<OffsetRange> {
    let mut ranges: Vec<OffsetRange> = Vec::new();
    for offset in offsets {
        let end = offset.saturating_add(1);
        match ranges.last_mut() {
            Some(last) if last.end == offset => last.end = end,
            _ => ranges.push(OffsetRange { start: offset, end }),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn range(start: u64, length: u64) -> OffsetRange {
        OffsetRange::new(Offset::new(start).unwrap(), Offset::new(start + length).unwrap())
    }

    proptest! {
        #[test]
        fn it_is_a_set(changes in prop::collection::vec((any::<bool>(), 0_u64..60, 0_u64..12), 1..40)) {
            let (mut set, mut model) = (RangeSet::default(), BTreeSet::new());
            for (is_added, start, length) in changes {
                if is_added {
                    let fresh = (start..start + length).filter(|offset| model.insert(*offset)).count();
                    prop_assert_eq!(set.insert(range(start, length)), fresh as u64);
                } else {
                    model.retain(|offset| !(start..start + length).contains(offset));
                    set.remove(range(start, length));
                }
                let offsets = model.iter().map(|offset| Offset::new(*offset).unwrap());
                prop_assert_eq!(set.iter().collect::<Vec<_>>(), from_sorted(offsets));
                for offset in 0..75 {
                    let found = set.range_of(Offset::new(offset).unwrap());
                    prop_assert_eq!(found.is_some(), model.contains(&offset));
                }
            }
        }
    }
}
