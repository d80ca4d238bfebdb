//! The gRPC side of the error table: what a failure looks like as a status, and inside a stream.
//!
//! The other side, which failure an error of the node is, is the same for all fronts: [`crate::front::failure`].

use std::sync::Arc;

use bytes::Bytes;
use highwater_proto::{ERROR_METADATA_KEY, v1};
use highwater_types::{ErrorCode, NodeId, Offset, OffsetRange, Sequence};
use prost::Message;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::front::failure::Failure;

/// The gRPC code of each of ours. `UNAVAILABLE`, which gRPC libraries try again by themselves, stands only for what
/// surely was not done.
fn grpc_code(code: ErrorCode) -> Code {
    match code {
        ErrorCode::InvalidRequest
        | ErrorCode::InvalidTopicName
        | ErrorCode::InvalidConfig
        | ErrorCode::InvalidReplication
        | ErrorCode::CorruptBatch
        | ErrorCode::InvalidBatch
        | ErrorCode::BatchTooLarge
        | ErrorCode::UnsupportedCompression => Code::InvalidArgument,
        ErrorCode::UnknownTopic | ErrorCode::UnknownPartition | ErrorCode::UnknownGroup => Code::NotFound,
        ErrorCode::TopicExists | ErrorCode::DuplicateSequence => Code::AlreadyExists,
        ErrorCode::OffsetOutOfRange => Code::OutOfRange,
        ErrorCode::OutOfOrderSequence
        | ErrorCode::UnknownProducer
        | ErrorCode::ProducerFenced
        | ErrorCode::UnknownMember
        | ErrorCode::IllegalGeneration
        | ErrorCode::FencedInstance
        | ErrorCode::GroupNotEmpty
        | ErrorCode::InconsistentProtocol
        | ErrorCode::NotAssigned
        | ErrorCode::LeaseLost
        | ErrorCode::MessageSettled
        | ErrorCode::NotLeader => Code::FailedPrecondition,
        ErrorCode::RebalanceInProgress | ErrorCode::MessageBusy | ErrorCode::MessageLeased => Code::Aborted,
        ErrorCode::LeaderUnavailable | ErrorCode::ShuttingDown => Code::Unavailable,
        ErrorCode::DiskFull | ErrorCode::Overloaded | ErrorCode::GroupLimit => Code::ResourceExhausted,
        ErrorCode::OutcomeUnknown => Code::Unknown,
        ErrorCode::Unsupported => Code::Unimplemented,
        // A failed disk, our bugs, and codes newer than this table.
        _ => Code::Internal,
    }
}

/// The failure as it stands in a message of a stream.
pub(super) fn error_of(failure: &Failure) -> v1::Error {
    v1::Error {
        code: failure.code.number(),
        message: failure.message.clone(),
        retryable: failure.code.is_retryable(),
        valid_start: failure.valid.map(|range| range.start.to_wire()),
        valid_end: failure.valid.map(|range| range.end.to_wire()),
        leader_node: failure.leader.map(NodeId::get),
        leader_address: failure.leader_address.clone(),
        expected_sequence: failure.expected_sequence.map(Sequence::get),
    }
}

/// The failure as the end of a call: a status, with the details in its metadata.
pub(super) fn status_of(failure: Failure) -> Status {
    let details = error_of(&failure).encode_to_vec();
    let mut status = Status::new(grpc_code(failure.code), failure.message.clone());
    status.metadata_mut().insert_bin(ERROR_METADATA_KEY, MetadataValue::from_bytes(&Bytes::from(details)));
    status.set_source(Arc::new(failure));
    status
}

/// The failure that another node's answer carries, if it is one of ours.
pub(super) fn failure_of(status: &Status) -> Option<Failure> {
    let details = status.metadata().get_bin(ERROR_METADATA_KEY)?.to_bytes().ok()?;
    v1::Error::decode(details).ok().map(failure_of_error)
}

/// The same, of a failure that stands in a message of a stream.
pub(super) fn failure_of_error(error: v1::Error) -> Failure {
    let offset = |wire: Option<i64>| wire.and_then(Offset::from_wire);
    let valid = offset(error.valid_start).zip(offset(error.valid_end));
    Failure {
        // A code that a newer node invented.
        code: ErrorCode::from_number(error.code).unwrap_or(ErrorCode::Internal),
        message: error.message,
        valid: valid.map(|(start, end)| OffsetRange::new(start, end)),
        leader: error.leader_node.map(NodeId::new),
        leader_address: error.leader_address,
        expected_sequence: error.expected_sequence.map(Sequence::new),
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        status_of(failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_on_the_wire_are_the_table_of_codes() {
        for code in ErrorCode::ALL {
            let wire = v1::ErrorCode::try_from(code.number()).expect("each code has its number on the wire");
            assert_eq!(wire.as_str_name(), format!("ERROR_CODE_{}", code.name()));
        }
        let unknown_here = (1..1_000)
            .filter(|number| v1::ErrorCode::try_from(*number).is_ok() && ErrorCode::from_number(*number).is_none());
        assert_eq!(unknown_here.count(), 0, "each number on the wire has its code");
    }

    #[test]
    fn only_what_was_not_done_invites_a_library_to_try_again() {
        for code in ErrorCode::ALL.iter().filter(|code| grpc_code(**code) == Code::Unavailable) {
            assert!(code.is_retryable(), "{code}");
            assert!(!matches!(code, ErrorCode::OutcomeUnknown | ErrorCode::StorageFailed), "{code}");
        }
    }

    #[test]
    fn a_status_carries_its_details() {
        let range = OffsetRange::new(Offset::ZERO, Offset::ZERO.saturating_add(9));
        let mut failure = Failure::new(ErrorCode::OffsetOutOfRange, "no such offset").with_valid(range);
        failure.leader = Some(NodeId::new(3));
        failure.expected_sequence = Some(Sequence::new(5));
        let status = status_of(failure);
        assert_eq!(status.code(), Code::OutOfRange);
        let details = status.metadata().get_bin(ERROR_METADATA_KEY).unwrap().to_bytes().unwrap();
        let error = v1::Error::decode(details).unwrap();
        assert_eq!((error.valid_start, error.valid_end), (Some(0), Some(9)));
        assert_eq!((error.leader_node, error.expected_sequence), (Some(3), Some(5)));
        assert_eq!(error.code(), v1::ErrorCode::OffsetOutOfRange);
        let again = failure_of(&status).unwrap();
        assert_eq!(
            (again.code, again.leader, again.valid),
            (ErrorCode::OffsetOutOfRange, Some(NodeId::new(3)), Some(range))
        );
    }
}
