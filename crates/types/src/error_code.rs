//! The one stable table of error codes. Every front maps its own codes from these; clients act on them.
//!
//! A number is never reused or renamed once released. It stands in `highwater.v1.ErrorCode` too; a test compares both.

use std::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $text:literal, $retryable:literal;)+) => {
        /// Why an operation failed, in a form that programs act on. The text beside it is for people.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $($(#[$doc])* $name = $number,)+
        }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The number on the wire.
            #[must_use]
            pub const fn number(self) -> i32 {
                self as i32
            }

            /// The code with this number on the wire; `None` for one that this version does not know.
            #[must_use]
            pub const fn from_number(number: i32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)+
                    _ => None,
                }
            }

            /// Its name on the wire, in capitals.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }

            /// Whether the same request may succeed later, unchanged. For an idempotent producer it is safe to try.
            #[must_use]
            pub const fn is_retryable(self) -> bool {
                match self {
                    $(Self::$name => $retryable,)+
                }
            }
        }
    };
}

codes! {
    /// A bug of ours; the server's log says more.
    Internal = 1, "INTERNAL", false;
    /// The request is not well formed; nothing was done.
    InvalidRequest = 2, "INVALID_REQUEST", false;
    /// No topic has that name or id.
    UnknownTopic = 3, "UNKNOWN_TOPIC", false;
    /// The topic has no such partition.
    UnknownPartition = 4, "UNKNOWN_PARTITION", false;
    /// A topic with that name exists already.
    TopicExists = 5, "TOPIC_EXISTS", false;
    /// The name is no topic name.
    InvalidTopicName = 6, "INVALID_TOPIC_NAME", false;
    /// A setting has an unknown name or a value out of its range.
    InvalidConfig = 7, "INVALID_CONFIG", false;
    /// The cluster has too few nodes for the replicas asked for.
    InvalidReplication = 8, "INVALID_REPLICATION", false;
    /// The offset is not kept (any more), or not there yet; the valid range is in the text and in the details.
    OffsetOutOfRange = 9, "OFFSET_OUT_OF_RANGE", false;
    /// The batch's checksum does not match: it was damaged on its way.
    CorruptBatch = 10, "CORRUPT_BATCH", false;
    /// The batch is not one that may be stored; the text says why. Nothing was stored.
    InvalidBatch = 11, "INVALID_BATCH", false;
    /// The batch is larger than its topic allows. Nothing was stored.
    BatchTooLarge = 12, "BATCH_TOO_LARGE", false;
    /// A compression codec that this version does not know.
    UnsupportedCompression = 13, "UNSUPPORTED_COMPRESSION", false;
    /// An idempotent batch does not follow the one before it. Nothing was stored.
    OutOfOrderSequence = 14, "OUT_OF_ORDER_SEQUENCE", false;
    /// A newer incarnation of this producer exists. Nothing was stored.
    ProducerFenced = 15, "PRODUCER_FENCED", false;
    /// An old batch was sent again, so old that its offset is not remembered. It is stored already.
    DuplicateSequence = 16, "DUPLICATE_SEQUENCE", false;
    /// Another node leads the partition; ask for metadata again.
    NotLeader = 17, "NOT_LEADER", true;
    /// The partition has no leader at the moment.
    LeaderUnavailable = 18, "LEADER_UNAVAILABLE", true;
    /// The disk is too full to accept records; reading and deleting go on. Nothing was stored.
    DiskFull = 19, "DISK_FULL", true;
    /// The server has no memory left for requests at the moment. Nothing was stored.
    Overloaded = 20, "OVERLOADED", true;
    /// The node is stopping. Nothing was stored.
    ShuttingDown = 21, "SHUTTING_DOWN", true;
    /// The node's disk failed; it stopped serving writes. Whether the record is stored is not known.
    StorageFailed = 22, "STORAGE_FAILED", true;
    /// It could not be decided in time; whether it was done is not known.
    OutcomeUnknown = 23, "OUTCOME_UNKNOWN", true;
    /// The server does not do this (yet).
    Unsupported = 24, "UNSUPPORTED", false;
    /// Nothing is known of the batch's idempotent producer, and this is not its first batch. Nothing was stored by this
    /// attempt; what earlier ones stored may be forgotten.
    UnknownProducer = 25, "UNKNOWN_PRODUCER", false;
    /// There is no such group.
    UnknownGroup = 26, "UNKNOWN_GROUP", false;
    /// The group has no such member (any more); it may join again as a new one.
    UnknownMember = 27, "UNKNOWN_MEMBER", false;
    /// The group has moved on to another generation; the member joins again.
    IllegalGeneration = 28, "ILLEGAL_GENERATION", false;
    /// Another client has taken the place of this static member.
    FencedInstance = 29, "FENCED_INSTANCE", false;
    /// The members of the group are joining its next generation.
    RebalanceInProgress = 30, "REBALANCE_IN_PROGRESS", true;
    /// The group has members, and this is done only while it has none.
    GroupNotEmpty = 31, "GROUP_NOT_EMPTY", false;
    /// A cap on members, groups, offsets or the texts beside them is reached.
    GroupLimit = 32, "GROUP_LIMIT", false;
    /// The members of the group share partitions in other ways, or are of another kind.
    InconsistentProtocol = 33, "INCONSISTENT_PROTOCOL", false;
    /// The partition is not this member's.
    NotAssigned = 34, "NOT_ASSIGNED", false;
    /// The message is not with this worker by this token (any more).
    LeaseLost = 35, "LEASE_LOST", false;
    /// A record about the message is under way.
    MessageBusy = 36, "MESSAGE_BUSY", true;
    /// A worker has the message, and this is done to messages that nobody has.
    MessageLeased = 37, "MESSAGE_LEASED", true;
    /// The message is done or dead for this group.
    MessageSettled = 38, "MESSAGE_SETTLED", false;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_codes_agree() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_number(code.number()), Some(*code));
        }
        assert_eq!(ErrorCode::from_number(0), None, "0 is 'no error' on the wire");
    }
}
