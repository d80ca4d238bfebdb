//! Whether the frames of a segment are what they should be. Pure: frames in, problems out.
//!
//! What follows the end that the manifest knows may be torn, or dropped by a truncation, and is no problem. What lies
//! before it, or what a later frame vouches for, must be there.

use highwater_storage::EntryKind;
use highwater_storage::inspect::FrameDump;
use highwater_storage::log::manifest::SegmentFacts;
use highwater_storage::log::{SegmentHeader, SegmentHeaderError};

/// Something that is wrong with a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// Where, in bytes from the start of the file.
    pub(super) position: u64,
    /// What.
    pub(super) what: String,
}

/// How much good there is in a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) frames: u64,
    pub(super) records: u64,
    /// Frames after the segment's logical end, which count no more.
    pub(super) dropped: u64,
}

/// Goes through a segment frame by frame.
#[derive(Debug)]
pub(super) struct Checker {
    facts: Option<SegmentFacts>,
    is_open: bool,
    counts: Counts,
    next_index: Option<u64>,
    next_offset: Option<u64>,
    /// A bad frame beyond the known end, of which later frames may say that it was durable.
    suspect: Option<Problem>,
}

impl Checker {
    /// A segment of which the manifest knows `facts`; entries may follow those only when it is open.
    pub(super) fn new(facts: Option<SegmentFacts>, is_open: bool) -> Self {
        let next_index = facts.map(|facts| facts.base_index.get());
        let next_offset = facts.map(|facts| facts.base_offset.get());
        Self { facts, is_open, counts: Counts::default(), next_index, next_offset, suspect: None }
    }

    /// Takes the segment's header.
    pub(super) fn header(&mut self, header: &Result<SegmentHeader, SegmentHeaderError>) -> Option<Problem> {
        let problem = |what: String| Some(Problem { position: 0, what });
        let header = match (header, self.facts) {
            (Ok(header), _) => header,
            // Prepared ahead of its use, or not yet acknowledged: nothing in it counts.
            (Err(_), None) if self.is_open => return None,
            (Err(error), _) => return problem(error.to_string()),
        };
        let found = (header.base_index.get(), header.base_offset.get());
        match (self.next_index, self.next_offset) {
            (Some(index), Some(offset)) if (index, offset) != found => problem(format!(
                "it begins at entry {} and offset {}, the manifest says entry {index} and offset {offset}",
                found.0, found.1
            )),
            _ => {
                (self.next_index, self.next_offset) = (Some(found.0), Some(found.1));
                None
            }
        }
    }

    /// Takes the next frame.
    pub(super) fn frame(&mut self, frame: &FrameDump) -> Option<Problem> {
        let known_end = self.facts.map_or(0, |facts| facts.end.position);
        let header = match &frame.header {
            Ok(header) => header,
            Err(error) if frame.position < known_end => {
                (self.next_index, self.next_offset) = (None, None);
                let what = format!("{error}, although the segment is durable up to byte {known_end}");
                return Some(Problem { position: frame.position, what });
            }
            Err(error) => {
                let what = format!("{error}, although a later frame says that this was durable");
                self.suspect.get_or_insert(Problem { position: frame.position, what });
                return None;
            }
        };
        if self.facts.is_some() && !self.is_open && frame.position >= known_end {
            self.counts.dropped += 1;
            return None;
        }
        let expected_index = self.next_index;
        if let Some(suspect) = self.suspect.take() {
            (self.next_index, self.next_offset) = (None, None);
            if expected_index.is_some_and(|index| header.durable_through > index) {
                return Some(suspect);
            }
        }
        self.counts.frames += 1;
        self.counts.records += u64::from(header.record_count);
        let what = self.order(header.id.index.get()).or_else(|| self.batch(frame, header.kind, header.record_count));
        self.next_index = Some(header.id.index.get() + 1);
        self.next_offset = self.next_offset.map(|offset| offset + u64::from(header.record_count));
        what.map(|what| Problem { position: frame.position, what })
    }

    fn order(&self, index: u64) -> Option<String> {
        let expected = self.next_index.filter(|expected| *expected != index)?;
        Some(format!("it is entry {index}, after entry {}", expected.saturating_sub(1)))
    }

    fn batch(&mut self, frame: &FrameDump, kind: EntryKind, record_count: u32) -> Option<String> {
        if kind != EntryKind::Data {
            return None;
        }
        let Some(batch) = &frame.batch else { return Some("its payload is no record batch".to_owned()) };
        if frame.is_batch_sound() == Some(false) {
            return Some("the checksum of its batch does not match".to_owned());
        }
        let base = batch.base_offset.get();
        let offsets = batch.next_offset().records_since(batch.base_offset);
        if offsets != u64::from(record_count) {
            return Some(format!("its batch takes {offsets} offsets, the frame says {record_count}"));
        }
        match self.next_offset.replace(base) {
            Some(expected) if expected != base => Some(format!("its batch begins at offset {base}, not {expected}")),
            _ => None,
        }
    }

    /// What is still missing when there are no more frames.
    pub(super) fn finish(&mut self) -> Option<Problem> {
        let facts = self.facts?;
        let expected = facts.end.last.index.get() + 1;
        let reached = self.next_index?;
        let what = format!("entries {reached} to {} are missing", facts.end.last.index);
        (reached < expected).then_some(Problem { position: facts.end.position, what })
    }

    /// How much good there was.
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use highwater_client::Bytes;
    use highwater_storage::frame::{FrameError, FrameHeader};
    use highwater_storage::log::SegmentNumber;
    use highwater_storage::log::manifest::SegmentEnd;
    use highwater_types::{EntryId, LogIndex, Offset};

    use super::*;

    /// A segment of entries 0 to `last`, known up to byte `position`.
    fn facts(last: u64, position: u64) -> Option<SegmentFacts> {
        let end = SegmentEnd {
            position,
            last: EntryId::new(1, last),
            next_offset: Offset::ZERO,
            max_timestamp: None,
            membership_position: None,
        };
        let (base_index, base_offset) = (LogIndex::new(0), Offset::ZERO);
        Some(SegmentFacts { number: SegmentNumber::FIRST, base_index, base_offset, end })
    }

    fn good(position: u64, index: u64, durable_through: u64) -> FrameDump {
        let id = EntryId::new(1, index);
        let header = FrameHeader { kind: EntryKind::Blank, record_count: 0, id, durable_through, payload_bytes: 0 };
        FrameDump { position, header: Ok(header), payload: Bytes::new(), batch: None }
    }

    fn bad(position: u64) -> FrameDump {
        FrameDump { position, header: Err(FrameError::BadChecksum), payload: Bytes::new(), batch: None }
    }

    /// Where a segment of these frames is wrong.
    fn wrong(facts: Option<SegmentFacts>, is_open: bool, frames: &[FrameDump]) -> Vec<u64> {
        let mut checker = Checker::new(facts, is_open);
        let mut found: Vec<_> = frames.iter().filter_map(|frame| checker.frame(frame)).collect();
        found.extend(checker.finish());
        found.into_iter().map(|problem| problem.position).collect()
    }

    #[test]
    fn a_bad_frame_before_the_known_end_is_damage() {
        assert_eq!(wrong(facts(2, 224), true, &[good(112, 0, 0), bad(152), good(192, 2, 0)]), [152]);
    }

    #[test]
    fn a_torn_tail_is_no_damage_unless_a_later_frame_vouches_for_it() {
        let known = facts(0, 152);
        assert!(wrong(known, true, &[good(112, 0, 0), bad(152)]).is_empty());
        assert!(wrong(known, true, &[good(112, 0, 0), bad(152), good(192, 2, 1)]).is_empty());
        assert_eq!(wrong(known, true, &[good(112, 0, 0), bad(152), good(192, 2, 2)]), [152]);
    }

    #[test]
    fn what_follows_a_logical_end_does_not_count() {
        let mut checker = Checker::new(facts(0, 152), false);
        assert_eq!(checker.frame(&good(112, 0, 0)), None);
        assert_eq!(checker.frame(&good(152, 9, 0)), None, "cut off by a truncation");
        assert_eq!(checker.finish(), None);
        assert_eq!(checker.counts(), Counts { frames: 1, records: 0, dropped: 1 });
    }

    #[test]
    fn a_missing_entry_is_damage_wherever_it_is_missing() {
        assert_eq!(wrong(facts(2, 224), true, &[good(112, 0, 0), good(152, 2, 0)]), [152], "in the middle");
        assert_eq!(wrong(facts(2, 224), true, &[good(112, 0, 0), good(152, 1, 0)]), [224], "at the end");
    }
}
