//! The table of APIs: which versions are served, and how they are encoded.
//!
//! Owns: the one place where versions stand. What clients are told, what is refused, and `docs/kafka.md` come from here.
//!
//! Invariant: what stands here works. What is not built is not here.

macro_rules! apis {
    ($($(#[$doc:meta])* $name:ident = $key:literal, $min:literal..=$max:literal, flexible from $flexible:literal;)+) => {
        /// What a client may ask for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Api {
            $($(#[$doc])* $name,)+
        }

        impl Api {
            /// Every API, by key.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Its number on the wire.
            #[must_use]
            pub const fn key(self) -> i16 {
                match self {
                    $(Self::$name => $key,)+
                }
            }

            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }

            /// The first and the last version that is served.
            #[must_use]
            pub const fn versions(self) -> (i16, i16) {
                match self {
                    $(Self::$name => ($min, $max),)+
                }
            }

            const fn flexible_from(self) -> i16 {
                match self {
                    $(Self::$name => $flexible,)+
                }
            }
        }
    };
}

apis! {
    /// Records in.
    Produce = 0, 3..=11, flexible from 9;
    /// Records out.
    Fetch = 1, 4..=16, flexible from 12;
    /// Offsets by time, and both ends.
    ListOffsets = 2, 1..=10, flexible from 6;
    /// Nodes, topics, and who leads.
    Metadata = 3, 0..=13, flexible from 9;
    /// How far a group has read, told.
    OffsetCommit = 8, 2..=8, flexible from 8;
    /// How far a group has read, asked.
    OffsetFetch = 9, 1..=8, flexible from 6;
    /// Who coordinates a group.
    FindCoordinator = 10, 0..=4, flexible from 3;
    /// A member asks for a place in a group.
    JoinGroup = 11, 0..=9, flexible from 6;
    /// A member is alive.
    Heartbeat = 12, 0..=4, flexible from 4;
    /// Members leave a group.
    LeaveGroup = 13, 0..=5, flexible from 4;
    /// A member asks what it was given.
    SyncGroup = 14, 0..=5, flexible from 4;
    /// What groups are.
    DescribeGroups = 15, 0..=6, flexible from 5;
    /// Which groups there are.
    ListGroups = 16, 0..=5, flexible from 3;
    /// What stands in this table.
    ApiVersions = 18, 0..=4, flexible from 3;
    /// Topics are made.
    CreateTopics = 19, 2..=7, flexible from 5;
    /// Topics are deleted.
    DeleteTopics = 20, 1..=6, flexible from 4;
    /// Partitions begin later.
    DeleteRecords = 21, 0..=2, flexible from 2;
    /// An id for an idempotent producer.
    InitProducerId = 22, 0..=4, flexible from 2;
    /// Where the records of a leader end.
    OffsetForLeaderEpoch = 23, 2..=4, flexible from 4;
    /// The settings of topics.
    DescribeConfigs = 32, 1..=4, flexible from 4;
    /// All settings of topics are given.
    AlterConfigs = 33, 0..=2, flexible from 2;
    /// What replicas take on disk.
    DescribeLogDirs = 35, 1..=4, flexible from 2;
    /// Topics get more partitions.
    CreatePartitions = 37, 0..=3, flexible from 2;
    /// Groups are deleted.
    DeleteGroups = 42, 0..=2, flexible from 2;
    /// Preferred replicas are to lead.
    ElectLeaders = 43, 0..=2, flexible from 2;
    /// Some settings of topics are changed.
    IncrementalAlterConfigs = 44, 0..=1, flexible from 1;
    /// Partitions move to other nodes.
    AlterPartitionReassignments = 45, 0..=1, flexible from 0;
    /// Which partitions move.
    ListPartitionReassignments = 46, 0..=0, flexible from 0;
    /// Groups forget how far they have read.
    OffsetDelete = 47, 0..=0, flexible from 1;
    /// The nodes.
    DescribeCluster = 60, 0..=2, flexible from 0;
    /// The producers that partitions remember.
    DescribeProducers = 61, 0..=0, flexible from 0;
    /// What has settings.
    ListConfigResources = 74, 0..=1, flexible from 0;
    /// Who leads and holds partitions, in pages.
    DescribeTopicPartitions = 75, 0..=0, flexible from 0;
}

impl Api {
    /// The API with this number, if it is served.
    pub(super) fn from_key(key: i16) -> Option<Self> {
        Self::ALL.iter().copied().find(|api| api.key() == key)
    }

    /// Whether this version is served.
    pub(super) fn serves(self, version: i16) -> bool {
        let (first, last) = self.versions();
        (first..=last).contains(&version)
    }

    /// The first version that clients are told. Old librdkafka takes a Produce that begins at 3 for a broker without
    /// compression, and sends everything as it is; no client sends what lies below.
    pub(super) fn advertised(self) -> (i16, i16) {
        let (first, last) = self.versions();
        (if self == Self::Produce { 0 } else { first }, last)
    }

    /// Whether this version has compact lengths and tagged fields.
    pub(super) fn is_flexible(self, version: i16) -> bool {
        version >= self.flexible_from()
    }

    /// Whether the head of the answer has tagged fields. That of `ApiVersions` never has: its reader does not know yet
    /// what it may expect.
    pub(super) fn has_flexible_answer_head(self, version: i16) -> bool {
        self != Self::ApiVersions && self.is_flexible(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_its_ranges_are_ranges() {
        assert!(Api::ALL.is_sorted_by_key(|api| api.key()));
        for api in Api::ALL {
            let (first, last) = api.versions();
            assert!(0 <= first && first <= last, "{}", api.name());
            assert_eq!(Api::from_key(api.key()), Some(*api));
        }
        assert!(!Api::Produce.serves(2) && Api::Produce.advertised().0 == 0);
    }
}
