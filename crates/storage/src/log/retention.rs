//! Retention: how much of the start of a log a policy lets go.
//!
//! Owns: the decision, from facts alone. Never: deletes anything, looks at the active segment, or reads a clock.

use highwater_types::{Offset, Timestamp};

/// What to keep. With both limits, whatever either lets go is let go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// Records older than this, in milliseconds, may go; `None` keeps them whatever their age.
    pub age_ms_max: Option<u64>,
    /// The oldest may go while the log is larger than this, in bytes; `None` sets no limit.
    pub bytes_max: Option<u64>,
}

/// What retention must know of a sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedSegment {
    /// Its length in bytes.
    pub bytes: u64,
    /// The first offset after it.
    pub next_offset: Offset,
    /// The time of its newest record, or of its making if it holds none.
    pub newest: Timestamp,
}

/// How many of the `sealed` segments, oldest first, the policy lets go. All records of them are below `below`; the log
/// has `log_bytes` with its active segment.
#[must_use]
pub fn segments_to_drop(
    policy: &RetentionPolicy,
    sealed: &[SealedSegment],
    log_bytes: u64,
    now: Timestamp,
    below: Offset,
) -> usize {
    let mut bytes = log_bytes;
    let mut dropped = 0;
    for segment in sealed {
        let is_old = policy.age_ms_max.is_some_and(|age_ms_max| now.ms_since(segment.newest) > age_ms_max);
        // Only while the rest still has what the policy promises to keep.
        let is_over = policy.bytes_max.is_some_and(|bytes_max| bytes - segment.bytes.min(bytes) >= bytes_max);
        if segment.next_offset > below || !(is_old || is_over) {
            break;
        }
        bytes -= segment.bytes.min(bytes);
        dropped += 1;
    }
    dropped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(next_offset: u64, newest_ms: i64) -> SealedSegment {
        SealedSegment {
            bytes: 100,
            next_offset: Offset::new(next_offset).unwrap(),
            newest: Timestamp::from_ms(newest_ms),
        }
    }

    fn dropped(policy: RetentionPolicy, below: u64) -> usize {
        let sealed = [segment(10, 1_000), segment(20, 5_000), segment(30, 2_000)];
        segments_to_drop(&policy, &sealed, 350, Timestamp::from_ms(6_500), Offset::new(below).unwrap())
    }

    #[test]
    fn nothing_goes_without_a_policy() {
        assert_eq!(dropped(RetentionPolicy::default(), 99), 0);
    }

    #[test]
    fn age_counts_the_newest_record_and_stops_at_the_first_young_segment() {
        let older = |age_ms_max| dropped(RetentionPolicy { age_ms_max: Some(age_ms_max), bytes_max: None }, 99);
        assert_eq!((older(5_501), older(5_499), older(1_499), older(0)), (0, 1, 3, 3));
        assert_eq!(older(5_500), 0);
    }

    #[test]
    fn size_keeps_at_least_what_is_promised() {
        let larger = |bytes_max| dropped(RetentionPolicy { age_ms_max: None, bytes_max: Some(bytes_max) }, 99);
        assert_eq!((larger(351), larger(251), larger(250), larger(150), larger(0)), (0, 0, 1, 2, 3));
    }

    #[test]
    fn nothing_above_the_limit_goes() {
        let all = RetentionPolicy { age_ms_max: Some(0), bytes_max: None };
        assert_eq!((dropped(all, 9), dropped(all, 10), dropped(all, 29), dropped(all, 30)), (0, 1, 2, 3));
    }
}
