//! The events of a history and their file form: one JSON object a line.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::value::Value;

/// One call and its answer have the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OpId(pub u64);

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Microseconds since the recorder started. For people; the order of the events is what counts.
    pub at_us: u64,
    /// What.
    #[serde(flatten)]
    pub kind: Kind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Kind {
    /// A client is about to ask.
    Invoked {
        /// Which operation.
        op: OpId,
        /// What for.
        call: Call,
    },
    /// It was done.
    Done {
        /// Which operation.
        op: OpId,
        /// What was told.
        answer: Answer,
    },
    /// It was definitely not done.
    Failed {
        /// Which operation.
        op: OpId,
        /// Why.
        error: String,
    },
    /// It was perhaps done.
    Unknown {
        /// Which operation.
        op: OpId,
        /// Why that is not known.
        error: String,
    },
    /// A reader begins at an offset of a partition; what it read of it before counts no more.
    Assigned {
        /// The reader.
        reader: u32,
        /// The partition.
        partition: u32,
        /// The offset it asked for.
        from: u64,
    },
    /// A reader was given records.
    Polled {
        /// The reader.
        reader: u32,
        /// The partition.
        partition: u32,
        /// Offsets and what stood there, in the order in which they came.
        records: Vec<(u64, Seen)>,
        /// What it was told to be the end of what is committed.
        high_watermark: Option<u64>,
    },
    /// A node told who leads a partition.
    LeaderSeen {
        /// The node that was asked.
        asked: u64,
        /// The partition.
        partition: u32,
        /// The leader.
        leader: u64,
        /// Its epoch.
        epoch: u64,
    },
    /// A fault begins.
    Fault {
        /// Its class, such as `kill`.
        class: String,
        /// What it was done to.
        target: String,
    },
    /// The fault of this class is over.
    FaultOver {
        /// Its class.
        class: String,
    },
    /// All faults are over: from here on everything must work.
    Healed,
    /// A reader has read a partition from its start to its end, after everything was healed.
    FinalRead {
        /// The node that was asked.
        node: u64,
        /// The reader, whose polls tell what it saw.
        reader: u32,
        /// The partition.
        partition: u32,
        /// Whether it came to the end.
        complete: bool,
    },
    /// What stands in the files of a replica, after its node was stopped.
    ReplicaSeen(Replica),
    /// For people.
    Note {
        /// What.
        text: String,
    },
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum Call {
    /// Store these values, in this order, with idempotence on.
    Produce {
        /// Where.
        partition: u32,
        /// What.
        values: Vec<Value>,
    },
    /// The end of a partition, as of now.
    EndOffset {
        /// Which.
        partition: u32,
    },
    /// All topics.
    ListTopics,
    /// Make a topic.
    CreateTopic {
        /// Its name.
        name: String,
    },
    /// Delete a topic.
    DeleteTopic {
        /// Its name.
        name: String,
    },
    /// Remember how far a group has come.
    Commit {
        /// The group.
        group: String,
        /// The partition.
        partition: u32,
        /// How far.
        offset: u64,
        /// Whether going back is what is wanted.
        reset: bool,
    },
    /// How far a group has come.
    Committed {
        /// The group.
        group: String,
        /// The partition.
        partition: u32,
    },
}

/// What a client was told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// What became of the values, in their order. They need not have travelled in one batch.
    Produced {
        /// Each one's fate.
        fates: Vec<Fate>,
    },
    /// The bounds of a partition.
    Bounds {
        /// The first offset that is kept.
        log_start: u64,
        /// The offset after the last committed record.
        end: u64,
    },
    /// The names of the topics.
    Topics {
        /// The names.
        names: Vec<String>,
    },
    /// How far a group has come; `None` when nothing is known of it.
    CommittedAt {
        /// The offset.
        offset: Option<u64>,
    },
    /// Done, nothing to tell.
    Plain,
}

/// What became of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Acknowledged, at this offset.
    At(u64),
    /// Acknowledged, without an offset: the server remembers only that it is stored.
    Somewhere,
    /// Definitely not stored.
    Refused,
    /// Perhaps stored.
    Unknown,
}

impl Fate {
    /// Whether it was acknowledged.
    #[must_use]
    pub const fn is_acknowledged(self) -> bool {
        matches!(self, Self::At(_) | Self::Somewhere)
    }
}

/// What a reader found at an offset.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Seen {
    /// A value of the workload.
    Value(Value),
    /// Bytes that the workload did not make.
    Damaged(String),
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(value) => value.fmt(f),
            Self::Damaged(what) => f.write_str(what),
        }
    }
}

/// What stands in the files of one replica.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Replica {
    /// Its node.
    pub node: u64,
    /// Its partition.
    pub partition: u32,
    /// The first offset that its log keeps.
    pub log_start: u64,
    /// Its entries in order.
    pub entries: Vec<ReplicaEntry>,
}

/// One entry of a replica's log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplicaEntry {
    /// Its index.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// Its kind.
    pub kind: String,
    /// The offset that the next record gets when this entry is reached.
    pub base_offset: u64,
    /// How many offsets it takes.
    pub records: u32,
    /// The checksum of its payload.
    pub crc: u32,
    /// The values in it.
    pub values: Vec<Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_their_file_form() {
        let kinds = [
            Kind::Invoked { op: OpId(1), call: Call::Produce { partition: 2, values: vec![Value::new(3, 4)] } },
            Kind::Done { op: OpId(1), answer: Answer::Produced { fates: vec![Fate::At(5), Fate::Somewhere] } },
            Kind::Polled {
                reader: 1,
                partition: 0,
                records: vec![(5, Seen::Value(Value::new(3, 4))), (6, Seen::Damaged("x".to_owned()))],
                high_watermark: Some(7),
            },
            Kind::ReplicaSeen(Replica { node: 1, ..Replica::default() }),
            Kind::Healed,
        ];
        for kind in kinds {
            let event = Event { at_us: 9, kind };
            let line = serde_json::to_string(&event).unwrap();
            assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event, "{line}");
        }
    }
}
