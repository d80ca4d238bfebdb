//! The part of the table that is about queues.

use highwater_groups::queue::command::{MoveError, SettleError, TooLarge};
use highwater_groups::queue::config::ConfigError;
use highwater_types::ErrorCode;

use super::Failure;
use crate::queues::QueueError;

impl From<QueueError> for Failure {
    fn from(error: QueueError) -> Self {
        let failure = Self::new(error.code(), error.to_string());
        match error {
            QueueError::NotLeader { leader } => Self { leader, ..failure },
            _ => failure,
        }
    }
}

impl From<SettleError> for Failure {
    fn from(error: SettleError) -> Self {
        let code = match error {
            SettleError::Stale | SettleError::Foreign => ErrorCode::LeaseLost,
            SettleError::Done | SettleError::Dead => ErrorCode::MessageSettled,
            SettleError::TooLong { .. } => ErrorCode::InvalidRequest,
        };
        Self::new(code, error.to_string())
    }
}

impl From<MoveError> for Failure {
    fn from(error: MoveError) -> Self {
        let code = match error {
            MoveError::Leased => ErrorCode::MessageLeased,
            MoveError::Busy => ErrorCode::MessageBusy,
            MoveError::Done | MoveError::Dead => ErrorCode::MessageSettled,
            MoveError::Ahead => ErrorCode::OffsetOutOfRange,
            MoveError::Full => ErrorCode::Overloaded,
        };
        Self::new(code, error.to_string())
    }
}

impl From<TooLarge> for Failure {
    fn from(error: TooLarge) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(ErrorCode::InvalidConfig, error.to_string())
    }
}
