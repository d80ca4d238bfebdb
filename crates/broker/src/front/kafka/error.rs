//! The one table from failures to Kafka's error codes (design D15).
//!
//! Owns: the numbers. Every API takes them from here; what fails and why is said by [`Failure`].
//!
//! The rule where Kafka has no word of its own: what may succeed when it is tried again gets a code that clients try
//! again after looking for the leader, and what is final gets one that they give up at.

use highwater_types::ErrorCode;

use crate::front::failure::Failure;

/// A number that clients act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KafkaCode(i16);

macro_rules! kafka_codes {
    ($($name:ident = $number:literal;)+) => {
        impl KafkaCode {
            $(pub(super) const $name: Self = Self($number);)+
        }
    };
}

kafka_codes! {
    UNKNOWN_SERVER_ERROR = -1;
    NONE = 0;
    OFFSET_OUT_OF_RANGE = 1;
    CORRUPT_MESSAGE = 2;
    UNKNOWN_TOPIC_OR_PARTITION = 3;
    LEADER_NOT_AVAILABLE = 5;
    NOT_LEADER_OR_FOLLOWER = 6;
    REQUEST_TIMED_OUT = 7;
    MESSAGE_TOO_LARGE = 10;
    OFFSET_METADATA_TOO_LARGE = 12;
    COORDINATOR_NOT_AVAILABLE = 15;
    NOT_COORDINATOR = 16;
    INVALID_TOPIC_EXCEPTION = 17;
    INVALID_REQUIRED_ACKS = 21;
    ILLEGAL_GENERATION = 22;
    INCONSISTENT_GROUP_PROTOCOL = 23;
    INVALID_GROUP_ID = 24;
    UNKNOWN_MEMBER_ID = 25;
    INVALID_SESSION_TIMEOUT = 26;
    REBALANCE_IN_PROGRESS = 27;
    UNSUPPORTED_VERSION = 35;
    TOPIC_ALREADY_EXISTS = 36;
    INVALID_PARTITIONS = 37;
    INVALID_REPLICATION_FACTOR = 38;
    INVALID_REPLICA_ASSIGNMENT = 39;
    INVALID_CONFIG = 40;
    INVALID_REQUEST = 42;
    UNSUPPORTED_FOR_MESSAGE_FORMAT = 43;
    OUT_OF_ORDER_SEQUENCE_NUMBER = 45;
    DUPLICATE_SEQUENCE_NUMBER = 46;
    INVALID_PRODUCER_EPOCH = 47;
    TRANSACTIONAL_ID_AUTHORIZATION_FAILED = 53;
    KAFKA_STORAGE_ERROR = 56;
    UNKNOWN_PRODUCER_ID = 59;
    REASSIGNMENT_IN_PROGRESS = 60;
    NON_EMPTY_GROUP = 68;
    GROUP_ID_NOT_FOUND = 69;
    FETCH_SESSION_ID_NOT_FOUND = 70;
    FENCED_LEADER_EPOCH = 74;
    UNKNOWN_LEADER_EPOCH = 75;
    UNSUPPORTED_COMPRESSION_TYPE = 76;
    MEMBER_ID_REQUIRED = 79;
    PREFERRED_LEADER_NOT_AVAILABLE = 80;
    GROUP_MAX_SIZE_REACHED = 81;
    FENCED_INSTANCE_ID = 82;
    ELECTION_NOT_NEEDED = 84;
    NO_REASSIGNMENT_IN_PROGRESS = 85;
    GROUP_SUBSCRIBED_TO_TOPIC = 86;
    INVALID_RECORD = 87;
    UNKNOWN_TOPIC_ID = 100;
}

impl KafkaCode {
    /// As it stands on the wire.
    pub(super) const fn number(self) -> i16 {
        self.0
    }

    /// Of what failed at a coordinator: there is a word for one that is elsewhere, and one for none at the moment. After
    /// both, and after few others, a member looks for the coordinator and goes on.
    pub(super) fn of_coordinator(code: ErrorCode) -> Self {
        match code {
            ErrorCode::NotLeader | ErrorCode::ShuttingDown => Self::NOT_COORDINATOR,
            ErrorCode::LeaderUnavailable
            | ErrorCode::OutcomeUnknown
            | ErrorCode::DiskFull
            | ErrorCode::StorageFailed
            | ErrorCode::Overloaded => Self::COORDINATOR_NOT_AVAILABLE,
            other => other.into(),
        }
    }
}

impl From<ErrorCode> for KafkaCode {
    fn from(code: ErrorCode) -> Self {
        match code {
            ErrorCode::InvalidRequest
            | ErrorCode::NotAssigned
            // Of queues, which Kafka's clients do not ask about.
            | ErrorCode::LeaseLost
            | ErrorCode::MessageSettled => Self::INVALID_REQUEST,
            ErrorCode::MessageBusy | ErrorCode::MessageLeased => Self::REQUEST_TIMED_OUT,
            ErrorCode::UnknownTopic | ErrorCode::UnknownPartition => Self::UNKNOWN_TOPIC_OR_PARTITION,
            ErrorCode::TopicExists => Self::TOPIC_ALREADY_EXISTS,
            ErrorCode::InvalidTopicName => Self::INVALID_TOPIC_EXCEPTION,
            ErrorCode::InvalidConfig => Self::INVALID_CONFIG,
            ErrorCode::InvalidReplication => Self::INVALID_REPLICATION_FACTOR,
            ErrorCode::OffsetOutOfRange => Self::OFFSET_OUT_OF_RANGE,
            ErrorCode::CorruptBatch => Self::CORRUPT_MESSAGE,
            ErrorCode::InvalidBatch => Self::INVALID_RECORD,
            ErrorCode::BatchTooLarge => Self::MESSAGE_TOO_LARGE,
            ErrorCode::UnsupportedCompression => Self::UNSUPPORTED_COMPRESSION_TYPE,
            ErrorCode::OutOfOrderSequence => Self::OUT_OF_ORDER_SEQUENCE_NUMBER,
            ErrorCode::ProducerFenced => Self::INVALID_PRODUCER_EPOCH,
            ErrorCode::DuplicateSequence => Self::DUPLICATE_SEQUENCE_NUMBER,
            ErrorCode::UnknownProducer => Self::UNKNOWN_PRODUCER_ID,
            // What a node led that stops is led by another one.
            ErrorCode::NotLeader | ErrorCode::ShuttingDown => Self::NOT_LEADER_OR_FOLLOWER,
            ErrorCode::LeaderUnavailable => Self::LEADER_NOT_AVAILABLE,
            ErrorCode::DiskFull | ErrorCode::StorageFailed => Self::KAFKA_STORAGE_ERROR,
            ErrorCode::Overloaded | ErrorCode::OutcomeUnknown => Self::REQUEST_TIMED_OUT,
            ErrorCode::Unsupported => Self::UNSUPPORTED_FOR_MESSAGE_FORMAT,
            ErrorCode::UnknownGroup => Self::GROUP_ID_NOT_FOUND,
            ErrorCode::UnknownMember => Self::UNKNOWN_MEMBER_ID,
            ErrorCode::IllegalGeneration => Self::ILLEGAL_GENERATION,
            ErrorCode::FencedInstance => Self::FENCED_INSTANCE_ID,
            ErrorCode::RebalanceInProgress => Self::REBALANCE_IN_PROGRESS,
            ErrorCode::GroupNotEmpty => Self::NON_EMPTY_GROUP,
            ErrorCode::GroupLimit => Self::GROUP_MAX_SIZE_REACHED,
            ErrorCode::InconsistentProtocol => Self::INCONSISTENT_GROUP_PROTOCOL,
            // The table of codes grows; what is new there is not known to clients either.
            ErrorCode::Internal | _ => Self::UNKNOWN_SERVER_ERROR,
        }
    }
}

impl From<&Failure> for KafkaCode {
    fn from(failure: &Failure) -> Self {
        failure.code.into()
    }
}

/// A refusal with its words, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: KafkaCode,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(code: KafkaCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl<F: Into<Failure>> From<F> for Refusal {
    fn from(failure: F) -> Self {
        let failure = failure.into();
        Self { code: failure.code.into(), message: failure.message }
    }
}

/// The code of what went well or not.
pub(super) fn code_of<T>(result: &Result<T, Refusal>) -> i16 {
    result.as_ref().map_or_else(|refusal| refusal.code, |_| KafkaCode::NONE).number()
}

/// The words of what did not go well.
pub(super) fn message_of<T>(result: &Result<T, Refusal>) -> Option<&str> {
    result.as_ref().err().map(|refusal| refusal.message.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_tried_again_is_told_as_such() {
        // The codes that clients try again after, by themselves.
        let retried = [
            KafkaCode::LEADER_NOT_AVAILABLE,
            KafkaCode::NOT_LEADER_OR_FOLLOWER,
            KafkaCode::REQUEST_TIMED_OUT,
            KafkaCode::KAFKA_STORAGE_ERROR,
            KafkaCode::REBALANCE_IN_PROGRESS,
        ];
        for code in ErrorCode::ALL {
            let kafka = KafkaCode::from(*code);
            assert!(!code.is_retryable() || retried.contains(&kafka), "{code} became {kafka:?}");
            assert_ne!(kafka, KafkaCode::NONE, "{code}");
        }
    }
}
