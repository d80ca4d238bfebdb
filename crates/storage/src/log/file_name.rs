//! The names of the files in a log's folder, made and read in one place.
//!
//! | name | what |
//! |---|---|
//! | `manifest` | which segments belong to the log, and how far they are durable |
//! | `checkpoint` | what the state machine above has saved |
//! | 20 digits and `.segment` | entries |
//! | 20 digits and `.index` | the index of the sealed segment with that number |

use std::fmt;
use std::path::{Path, PathBuf};

/// The name of the manifest.
pub(super) const MANIFEST: &str = "manifest";
/// The name of the state machine's checkpoint.
pub(super) const CHECKPOINT: &str = "checkpoint";

const DIGITS: usize = 20;
const SEGMENT_SUFFIX: &str = ".segment";
const INDEX_SUFFIX: &str = ".index";

/// The number of a segment in its log. Only grows; never given to another segment, whatever was truncated or purged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentNumber(u64);

impl SegmentNumber {
    /// The first number of every log.
    pub const FIRST: Self = Self(1);

    /// Wraps the plain number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The plain number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Where the segment with this number lies.
    #[must_use]
    pub fn segment_path(self, dir: &Path) -> PathBuf {
        dir.join(FileName::Segment(self).to_string())
    }

    /// Where the index of the segment with this number lies.
    #[must_use]
    pub fn index_path(self, dir: &Path) -> PathBuf {
        dir.join(FileName::Index(self).to_string())
    }
}

impl fmt::Display for SegmentNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A name in the folder of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileName {
    /// `MANIFEST`.
    Manifest,
    /// `CHECKPOINT`.
    Checkpoint,
    /// A segment.
    Segment(SegmentNumber),
    /// The index of a segment.
    Index(SegmentNumber),
}

impl FileName {
    /// Reads a name; `None` for one that is not ours.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            MANIFEST => Some(Self::Manifest),
            CHECKPOINT => Some(Self::Checkpoint),
            _ => {
                let numbered = |suffix| name.strip_suffix(suffix).and_then(number);
                numbered(SEGMENT_SUFFIX).map(Self::Segment).or_else(|| numbered(INDEX_SUFFIX).map(Self::Index))
            }
        }
    }
}

fn number(digits: &str) -> Option<SegmentNumber> {
    let is_plain = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| digits.parse().ok()).flatten().map(SegmentNumber)
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest => f.write_str(MANIFEST),
            Self::Checkpoint => f.write_str(CHECKPOINT),
            Self::Segment(number) => write!(f, "{:0DIGITS$}{SEGMENT_SUFFIX}", number.0),
            Self::Index(number) => write!(f, "{:0DIGITS$}{INDEX_SUFFIX}", number.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for name in [
            FileName::Manifest,
            FileName::Checkpoint,
            FileName::Segment(SegmentNumber::FIRST),
            FileName::Index(SegmentNumber::new(u64::MAX)),
        ] {
            assert_eq!(FileName::parse(&name.to_string()), Some(name));
        }
        assert_eq!(FileName::Segment(SegmentNumber::new(7)).to_string(), "00000000000000000007.segment");
    }

    #[test]
    fn other_names_are_foreign() {
        for name in [
            "",
            ".DS_Store",
            "7.segment",
            "+0000000000000000007.segment",
            "99999999999999999999.segment",
            "00000000000000000007.segment~",
            "00000000000000000007.SEGMENT",
            "00000000000000000007",
            "manifest.new",
        ] {
            assert_eq!(FileName::parse(name), None, "{name}");
        }
    }
}
