//! The settings of a topic: one table with their names, defaults, ranges and meanings.
//!
//! Owns: the table, reading a value from text, and the typed settings that the rest of the product asks.
//!
//! Invariant: a [`TopicSettings`] holds known settings only, and what a command put there was in its range then.

use std::collections::BTreeMap;
use std::fmt;

use highwater_types::limits;

use crate::units;

/// A setting of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Setting {
    /// `max.message.bytes`
    MaxMessageBytes,
    /// `message.timestamp.type`
    MessageTimestampType,
    /// `retention.bytes`
    RetentionBytes,
    /// `retention.ms`
    RetentionMs,
    /// `retention.queues`
    RetentionQueues,
    /// `segment.bytes`
    SegmentBytes,
    /// `segment.ms`
    SegmentMs,
}

/// What the numbers of a setting count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds; suffixes from `ms` to `w`.
    Milliseconds,
    /// Bytes; suffixes from `B` to `TiB` and `TB`.
    Bytes,
    /// None: a [`QueueRetention`] in words.
    Queues,
    /// None: a [`TimestampType`] by its name.
    TimestampType,
}

/// The value of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingValue {
    /// So many milliseconds or bytes.
    Number(u64),
    /// No limit; written `-1` or `unlimited`.
    Unlimited,
    /// What queues let go of.
    Queues(QueueRetention),
    /// Whose clock counts.
    TimestampType(TimestampType),
}

/// One line of the table of settings.
#[derive(Debug)]
pub struct Definition {
    /// Its name, as Kafka has it where Kafka has it.
    pub name: &'static str,
    /// What its numbers count.
    pub unit: Unit,
    /// What holds when the topic does not set it.
    pub default: SettingValue,
    /// The smallest number allowed.
    pub min: u64,
    /// The largest number allowed.
    pub max: u64,
    /// Whether it may be unlimited.
    pub may_be_unlimited: bool,
    /// What it does, for people.
    pub description: &'static str,
}

/// The largest number of a setting without a limit of its own: what the signed 64 bits of Kafka's clients hold.
const NUMBER_MAX: u64 = i64::MAX as u64;

const MAX_MESSAGE_BYTES: Definition = Definition {
    name: "max.message.bytes",
    unit: Unit::Bytes,
    default: SettingValue::Number(limits::BATCH_BYTES_DEFAULT as u64),
    min: 1_024,
    max: limits::BATCH_BYTES_MAX as u64,
    may_be_unlimited: false,
    description: "The largest record batch that the topic accepts, in bytes as sent (compressed).",
};

const MESSAGE_TIMESTAMP_TYPE: Definition = Definition {
    name: "message.timestamp.type",
    unit: Unit::TimestampType,
    default: SettingValue::TimestampType(TimestampType::CreateTime),
    min: 0,
    max: 0,
    may_be_unlimited: false,
    description: "Whose time records have: the producer's, or that of the node that took them in.",
};

const RETENTION_BYTES: Definition = Definition {
    name: "retention.bytes",
    unit: Unit::Bytes,
    default: SettingValue::Unlimited,
    min: 1,
    max: NUMBER_MAX,
    may_be_unlimited: true,
    description: "Whole old segments of a partition are deleted while the rest still holds this many bytes.",
};

const RETENTION_MS: Definition = Definition {
    name: "retention.ms",
    unit: Unit::Milliseconds,
    default: SettingValue::Number(7 * 86_400_000),
    min: 1,
    max: NUMBER_MAX,
    may_be_unlimited: true,
    description: "A segment is deleted once all its records are older than this.",
};

const RETENTION_QUEUES: Definition = Definition {
    name: "retention.queues",
    unit: Unit::Queues,
    default: SettingValue::Queues(QueueRetention::None),
    min: 0,
    max: 0,
    may_be_unlimited: false,
    description: "A segment is deleted as soon as these queue groups are done with all its records: acked, dropped or called off. \
                  Dead ones are kept until they are redriven or dropped.",
};

const SEGMENT_BYTES: Definition = Definition {
    name: "segment.bytes",
    unit: Unit::Bytes,
    default: SettingValue::Number(256 << 20),
    min: 1 << 20,
    max: 1 << 30,
    may_be_unlimited: false,
    description: "A partition begins a new segment file when the present one would grow beyond this.",
};

const SEGMENT_MS: Definition = Definition {
    name: "segment.ms",
    unit: Unit::Milliseconds,
    default: SettingValue::Number(7 * 86_400_000),
    min: 1_000,
    max: NUMBER_MAX,
    may_be_unlimited: false,
    description: "A partition begins a new segment file when the present one is older than this.",
};

impl Setting {
    /// Every setting, by name.
    pub const ALL: &'static [Self] = &[
        Self::MaxMessageBytes,
        Self::MessageTimestampType,
        Self::RetentionBytes,
        Self::RetentionMs,
        Self::RetentionQueues,
        Self::SegmentBytes,
        Self::SegmentMs,
    ];

    /// Its line in the table.
    #[must_use]
    pub const fn definition(self) -> &'static Definition {
        match self {
            Self::MaxMessageBytes => &MAX_MESSAGE_BYTES,
            Self::MessageTimestampType => &MESSAGE_TIMESTAMP_TYPE,
            Self::RetentionBytes => &RETENTION_BYTES,
            Self::RetentionMs => &RETENTION_MS,
            Self::RetentionQueues => &RETENTION_QUEUES,
            Self::SegmentBytes => &SEGMENT_BYTES,
            Self::SegmentMs => &SEGMENT_MS,
        }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.definition().name
    }

    /// The setting with this name.
    ///
    /// # Errors
    /// [`SettingError::Unknown`], which lists the known ones.
    pub fn from_name(name: &str) -> Result<Self, SettingError> {
        let found = Self::ALL.iter().copied().find(|setting| setting.name() == name);
        found.ok_or_else(|| SettingError::Unknown { name: name.to_owned() })
    }

    /// Reads a value that somebody wrote, with or without a unit.
    ///
    /// # Errors
    /// When the text is no value of this setting, or the value is out of its range.
    pub fn parse(self, text: &str) -> Result<SettingValue, SettingError> {
        let value = self.read(text).ok_or_else(|| SettingError::Malformed { setting: self, value: text.to_owned() })?;
        let definition = self.definition();
        let is_in_range = match &value {
            SettingValue::Unlimited => definition.may_be_unlimited,
            SettingValue::Number(number) => (definition.min..=definition.max).contains(number),
            SettingValue::Queues(_) | SettingValue::TimestampType(_) => true,
        };
        if is_in_range { Ok(value) } else { Err(SettingError::OutOfRange { setting: self, value: text.to_owned() }) }
    }

    /// Reads a value without asking whether it is in range: what a record holds was in range when it was written.
    pub(crate) fn read(self, text: &str) -> Option<SettingValue> {
        match (text.trim(), self.definition().unit) {
            (text, Unit::Queues) => QueueRetention::read(text).map(SettingValue::Queues),
            (text, Unit::TimestampType) => TimestampType::read(text).map(SettingValue::TimestampType),
            ("-1" | "unlimited", _) => Some(SettingValue::Unlimited),
            (text, Unit::Milliseconds) => units::parse_duration_ms(text).map(SettingValue::Number),
            (text, Unit::Bytes) => units::parse_size_bytes(text).map(SettingValue::Number),
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl SettingValue {
    /// The number; `None` without a limit.
    #[must_use]
    pub const fn limit(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Unlimited | Self::Queues(_) | Self::TimestampType(_) => None,
        }
    }
}

impl fmt::Display for SettingValue {
    /// The plain number, `-1` without a limit: what Kafka's tools expect to read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Unlimited => f.write_str("-1"),
            Self::Queues(retention) => retention.fmt(f),
            Self::TimestampType(kind) => kind.fmt(f),
        }
    }
}

/// Whose time records have, by Kafka's names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    #[default]
    CreateTime,
    /// That of the node that took them in.
    LogAppendTime,
}

impl TimestampType {
    fn read(text: &str) -> Option<Self> {
        [Self::CreateTime, Self::LogAppendTime].into_iter().find(|kind| kind.name() == text)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::CreateTime => "CreateTime",
            Self::LogAppendTime => "LogAppendTime",
        }
    }
}

impl fmt::Display for TimestampType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which queue groups let segments go by being done with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum QueueRetention {
    /// Queues have no say; written `none`.
    #[default]
    None,
    /// Every group that there is; while there is none, nothing goes by this. Written `interest`.
    Interest,
    /// These, whether they are there yet or not: a group that is not there yet is done with nothing. Written `ack:G,H`.
    Ack(Vec<String>),
}

impl QueueRetention {
    /// The longest list of groups, in bytes.
    const TEXT_BYTES_MAX: usize = 4_096;

    fn read(text: &str) -> Option<Self> {
        match text {
            "none" => Some(Self::None),
            "interest" => Some(Self::Interest),
            text => {
                let groups: Vec<String> =
                    text.strip_prefix("ack:")?.split(',').map(|group| group.trim().to_owned()).collect();
                let is_good = text.len() <= Self::TEXT_BYTES_MAX && groups.iter().all(|group| !group.is_empty());
                is_good.then_some(Self::Ack(groups))
            }
        }
    }
}

impl fmt::Display for QueueRetention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Interest => f.write_str("interest"),
            Self::Ack(groups) => write!(f, "ack:{}", groups.join(",")),
        }
    }
}

/// What a topic sets; the defaults hold for the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicSettings(BTreeMap<Setting, SettingValue>);

impl TopicSettings {
    /// Sets one.
    pub fn set(&mut self, setting: Setting, value: SettingValue) {
        self.0.insert(setting, value);
    }

    /// Returns one to its default.
    pub fn unset(&mut self, setting: Setting) {
        self.0.remove(&setting);
    }

    /// The value that holds.
    #[must_use]
    pub fn get(&self, setting: Setting) -> SettingValue {
        self.0.get(&setting).cloned().unwrap_or_else(|| setting.definition().default.clone())
    }

    /// Whether the default holds.
    #[must_use]
    pub fn is_default(&self, setting: Setting) -> bool {
        !self.0.contains_key(&setting)
    }

    /// What the topic itself sets, by name.
    pub fn overrides(&self) -> impl Iterator<Item = (Setting, SettingValue)> + '_ {
        self.0.iter().map(|(setting, value)| (*setting, value.clone()))
    }

    /// How long records are kept at least, in milliseconds; `None`: for ever.
    #[must_use]
    pub fn retention_ms(&self) -> Option<u64> {
        self.get(Setting::RetentionMs).limit()
    }

    /// How many bytes of a partition are kept at least; `None`: all.
    #[must_use]
    pub fn retention_bytes(&self) -> Option<u64> {
        self.get(Setting::RetentionBytes).limit()
    }

    /// Which queue groups let segments go.
    #[must_use]
    pub fn retention_queues(&self) -> QueueRetention {
        match self.get(Setting::RetentionQueues) {
            SettingValue::Queues(retention) => retention,
            _ => QueueRetention::None,
        }
    }

    /// Whose time records have.
    #[must_use]
    pub fn timestamp_type(&self) -> TimestampType {
        match self.get(Setting::MessageTimestampType) {
            SettingValue::TimestampType(kind) => kind,
            _ => TimestampType::CreateTime,
        }
    }

    /// How large a segment grows, in bytes.
    #[must_use]
    pub fn segment_bytes(&self) -> u64 {
        self.get(Setting::SegmentBytes).limit().unwrap_or(SEGMENT_BYTES.max)
    }

    /// How old a segment grows before the next begins, in milliseconds.
    #[must_use]
    pub fn segment_ms(&self) -> u64 {
        self.get(Setting::SegmentMs).limit().unwrap_or(SEGMENT_MS.max)
    }

    /// The largest batch that is accepted, in bytes.
    #[must_use]
    pub fn message_bytes_max(&self) -> usize {
        let bytes = self.get(Setting::MaxMessageBytes).limit().unwrap_or(MAX_MESSAGE_BYTES.max);
        usize::try_from(bytes).unwrap_or(limits::BATCH_BYTES_MAX)
    }
}

/// Why a setting was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// There is no setting with that name.
    #[error("there is no topic setting '{name}'; the settings are {}", known_names())]
    Unknown {
        /// The name that was given.
        name: String,
    },
    /// The text is no value.
    #[error("'{value}' is no value of {setting}; {}", expected(*.setting))]
    Malformed {
        /// The setting.
        setting: Setting,
        /// The text that was given.
        value: String,
    },
    /// The value is too small, too large, or may not be unlimited.
    #[error("{value} is out of the range of {setting}; {}", expected(*.setting))]
    OutOfRange {
        /// The setting.
        setting: Setting,
        /// The text that was given.
        value: String,
    },
    /// The same setting is to be set and unset, or set twice.
    #[error("{setting} is given more than once")]
    GivenTwice {
        /// The setting.
        setting: Setting,
    },
}

fn known_names() -> String {
    Setting::ALL.iter().map(|setting| setting.name()).collect::<Vec<_>>().join(", ")
}

/// What a setting takes, in words.
fn expected(setting: Setting) -> String {
    let definition = setting.definition();
    let unit = match definition.unit {
        Unit::Milliseconds => "milliseconds, or with a unit as in 500ms, 30s, 12h, 7d",
        Unit::Bytes => "bytes, or with a unit as in 64KiB, 512MiB, 1GiB",
        Unit::Queues => return "it takes none, interest, or ack:GROUP,GROUP".to_owned(),
        Unit::TimestampType => return "it takes CreateTime or LogAppendTime".to_owned(),
    };
    let unlimited = if definition.may_be_unlimited { ", or -1 for no limit" } else { "" };
    let range = match definition.max {
        NUMBER_MAX => format!("{} or more", definition.min),
        max => format!("{} to {max}", definition.min),
    };
    format!("it takes {range} {unit}{unlimited}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_by_name_and_its_defaults_are_in_range() {
        assert!(Setting::ALL.is_sorted_by_key(|setting| setting.name()));
        for setting in Setting::ALL.iter().copied() {
            assert_eq!(Setting::from_name(setting.name()), Ok(setting));
            let default = &setting.definition().default;
            assert_eq!(setting.parse(&default.to_string()).as_ref(), Ok(default), "{setting}");
        }
    }

    #[test]
    fn values_with_units_and_without() {
        assert_eq!(Setting::RetentionMs.parse("7d"), Ok(SettingValue::Number(604_800_000)));
        assert_eq!(Setting::RetentionMs.parse("-1"), Ok(SettingValue::Unlimited));
        assert_eq!(Setting::SegmentBytes.parse("1GiB"), Ok(SettingValue::Number(1 << 30)));
    }

    #[test]
    fn a_refusal_says_what_would_do() {
        let unknown = Setting::from_name("retention").unwrap_err().to_string();
        assert!(unknown.contains("'retention'") && unknown.contains("retention.ms"), "{unknown}");
        let malformed = Setting::RetentionMs.parse("7 days").unwrap_err().to_string();
        assert!(malformed.contains("'7 days'") && malformed.contains("7d"), "{malformed}");
        let range = Setting::SegmentBytes.parse("1KiB").unwrap_err().to_string();
        assert!(range.contains("1048576 to 1073741824"), "{range}");
        assert!(Setting::SegmentMs.parse("-1").is_err());
        let kind = Setting::MessageTimestampType.parse("logappendtime").unwrap_err().to_string();
        assert!(kind.contains("CreateTime or LogAppendTime"), "{kind}");
        assert!(Setting::MaxMessageBytes.parse("9MiB").is_err());
    }
}
