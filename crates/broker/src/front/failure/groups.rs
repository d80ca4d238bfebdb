//! The part of the table that is about stream groups.

use highwater_groups::stream::IdError;
use highwater_groups::stream::command::{
    CommitError, DeleteGroupError, DeleteOffsetsError, DescribeError, FenceError, FetchError, HeartbeatError,
    JoinError, LeaveError, MemberError, OffsetError, SeekError, SyncError,
};
use highwater_types::ErrorCode;

use super::Failure;
use crate::coordinator::CoordinatorError;

impl From<CoordinatorError> for Failure {
    fn from(error: CoordinatorError) -> Self {
        let failure = Self::new(error.code(), error.to_string());
        match error {
            CoordinatorError::NotCoordinator { leader } => Self { leader, ..failure },
            _ => failure,
        }
    }
}

impl From<IdError> for Failure {
    fn from(error: IdError) -> Self {
        Self::invalid(error.to_string())
    }
}

fn of_member(error: &MemberError) -> ErrorCode {
    match error {
        MemberError::UnknownMember { .. } => ErrorCode::UnknownMember,
        MemberError::FencedInstance { .. } => ErrorCode::FencedInstance,
        MemberError::IllegalGeneration { .. } => ErrorCode::IllegalGeneration,
    }
}

/// The failure of each refusal: its code, and its own words.
macro_rules! codes {
    ($($Error:ty: $error:ident => $code:expr;)+) => {
        $(impl From<$Error> for Failure {
            fn from($error: $Error) -> Self {
                Self::new($code, $error.to_string())
            }
        })+
    };
}

codes! {
    MemberError: error => of_member(&error);
    JoinError: error => match &error {
        JoinError::Member(member) => of_member(member),
        JoinError::Invalid { .. } | JoinError::InvalidSessionTimeout { .. } => ErrorCode::InvalidRequest,
        // Our own sessions never leave the first of these unanswered; the second is for a request nobody waits for.
        JoinError::MemberIdRequired { .. } | JoinError::Superseded { .. } => ErrorCode::RebalanceInProgress,
        JoinError::InconsistentProtocol { .. } => ErrorCode::InconsistentProtocol,
        JoinError::GroupFull { .. }
        | JoinError::GroupTooLarge { .. }
        | JoinError::TooManyPartitions { .. }
        | JoinError::TooManyGroups => ErrorCode::GroupLimit,
    };
    SyncError: error => match &error {
        SyncError::Member(member) => of_member(member),
        SyncError::RebalanceInProgress { .. } => ErrorCode::RebalanceInProgress,
        SyncError::InconsistentProtocol { .. } => ErrorCode::InconsistentProtocol,
        SyncError::AssignmentsTooLarge { .. } => ErrorCode::GroupLimit,
    };
    HeartbeatError: error => match &error {
        HeartbeatError::Member(member) => of_member(member),
        HeartbeatError::RebalanceInProgress { .. } => ErrorCode::RebalanceInProgress,
    };
    LeaveError: error => match &error {
        LeaveError::TooManyMembers { .. } => ErrorCode::InvalidRequest,
    };
    CommitError: error => match &error {
        CommitError::Member(member) => of_member(member),
        CommitError::RebalanceInProgress { .. } => ErrorCode::RebalanceInProgress,
        CommitError::NotEmpty { .. } => ErrorCode::GroupNotEmpty,
        CommitError::TooManyPartitions { .. } | CommitError::TooLarge { .. } => ErrorCode::InvalidRequest,
        CommitError::GroupFull { .. } | CommitError::TooManyGroups => ErrorCode::GroupLimit,
    };
    OffsetError: error => match &error {
        OffsetError::MetadataTooLarge { .. } => ErrorCode::InvalidRequest,
        OffsetError::Subscribed { .. } => ErrorCode::GroupNotEmpty,
    };
    FetchError: error => match &error {
        FetchError::TooManyPartitions { .. } => ErrorCode::InvalidRequest,
    };
    DescribeError: error => match &error {
        DescribeError::GroupNotFound { .. } => ErrorCode::UnknownGroup,
    };
    DeleteGroupError: error => match &error {
        DeleteGroupError::GroupNotFound { .. } => ErrorCode::UnknownGroup,
        DeleteGroupError::NotEmpty { .. } => ErrorCode::GroupNotEmpty,
    };
    DeleteOffsetsError: error => match &error {
        DeleteOffsetsError::GroupNotFound { .. } => ErrorCode::UnknownGroup,
        DeleteOffsetsError::TooManyPartitions { .. } => ErrorCode::InvalidRequest,
    };
    SeekError: error => match &error {
        SeekError::NotEmpty { .. } => ErrorCode::GroupNotEmpty,
        SeekError::TooManyPartitions { .. } => ErrorCode::InvalidRequest,
        SeekError::GroupFull { .. } | SeekError::TooManyGroups => ErrorCode::GroupLimit,
    };
    FenceError: error => match &error {
        FenceError::Member(member) => of_member(member),
    };
}
