//! Where a message is for a group, in words and in JSON: for `queue peek`, `dlq` and `message where` alike.
//!
//! The names of the JSON keys are a contract.

use highwater_client::{DeathCause, MessageState, MessageStatus, QueueAttempt};
use serde::Serialize;

use super::output::{ms, time};
use crate::group::report::ago;

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct AttemptRow {
    pub(crate) number: u32,
    pub(crate) worker: String,
    /// When it began.
    pub(crate) at: String,
    pub(crate) duration_ms: u64,
    pub(crate) reason: String,
}

impl AttemptRow {
    pub(crate) fn new(attempt: &QueueAttempt) -> Self {
        Self {
            number: attempt.number,
            worker: attempt.worker.clone(),
            at: time(attempt.at),
            duration_ms: ms(attempt.duration),
            reason: attempt.reason.clone(),
        }
    }
}

/// Where a message is; what does not belong to its state is `null`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct StatusRow {
    pub(crate) state: &'static str,
    /// Failed attempts of its budget.
    pub(crate) failed_attempts: u32,
    pub(crate) worker: Option<String>,
    pub(crate) held_ms: Option<u64>,
    pub(crate) left_ms: Option<u64>,
    pub(crate) deliver_at: Option<String>,
    pub(crate) cause: Option<&'static str>,
    pub(crate) dead_at: Option<String>,
    pub(crate) attempts: Vec<AttemptRow>,
}

/// The name of a cause, as `dlq --where cause=` takes it.
pub(crate) fn cause_name(cause: Option<DeathCause>) -> &'static str {
    match cause {
        Some(DeathCause::Attempts) => "attempts",
        Some(DeathCause::Rejected) => "rejected",
        Some(DeathCause::Expired) => "expired",
        _ => "unknown",
    }
}

impl StatusRow {
    pub(crate) fn new(status: &MessageStatus) -> Self {
        let mut row = Self {
            failed_attempts: status.attempts,
            attempts: status.journal.iter().map(AttemptRow::new).collect(),
            ..Self::default()
        };
        row.state = match &status.state {
            MessageState::Done => "done",
            MessageState::Dead(death) => {
                row.cause = Some(cause_name(death.cause));
                row.dead_at = Some(time(death.at));
                "dead"
            }
            MessageState::Unseen => "unseen",
            MessageState::Ready => "ready",
            MessageState::WaitsForKey => "waits-for-key",
            MessageState::Delayed { until } => {
                row.deliver_at = Some(time(*until));
                "delayed"
            }
            MessageState::Resting { left } => {
                row.left_ms = Some(ms(*left));
                "resting"
            }
            MessageState::Leased { worker, held, left } => {
                (row.worker, row.held_ms, row.left_ms) = (Some(worker.clone()), Some(ms(*held)), Some(ms(*left)));
                "leased"
            }
            MessageState::Settling => "settling",
            _ => "unknown",
        };
        row
    }

    /// What there is to say beside the state.
    pub(crate) fn detail(&self) -> String {
        let left = ago(self.left_ms.unwrap_or_default());
        match self.state {
            "leased" => {
                let worker = self.worker.as_deref().unwrap_or("?");
                format!("with {worker} for {}, {left} left", ago(self.held_ms.unwrap_or_default()))
            }
            "resting" => format!("tried again in {left}"),
            "delayed" => format!("until {}", self.deliver_at.as_deref().unwrap_or("?")),
            "dead" => {
                let (cause, at) = (self.cause.unwrap_or("unknown"), self.dead_at.as_deref().unwrap_or("?"));
                format!("{cause}, since {at}")
            }
            _ => "-".to_owned(),
        }
    }

    /// Why the last attempt failed.
    pub(crate) fn last_reason(&self) -> Option<&str> {
        self.attempts.last().map(|attempt| attempt.reason.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(state: &'static str) -> StatusRow {
        StatusRow {
            state,
            worker: Some("w-1".to_owned()),
            held_ms: Some(5_000),
            left_ms: Some(90_000),
            deliver_at: Some("2026-01-31T08:00:00.000Z".to_owned()),
            cause: Some("rejected"),
            dead_at: Some("2026-01-31T09:00:00.000Z".to_owned()),
            ..StatusRow::default()
        }
    }

    #[test]
    fn each_state_says_what_belongs_to_it() {
        assert_eq!(row("leased").detail(), "with w-1 for 5s, 1m 30s left");
        assert_eq!(row("resting").detail(), "tried again in 1m 30s");
        assert_eq!(row("delayed").detail(), "until 2026-01-31T08:00:00.000Z");
        assert_eq!(row("dead").detail(), "rejected, since 2026-01-31T09:00:00.000Z");
        assert_eq!(row("ready").detail(), "-");
    }

    #[test]
    fn the_names_of_the_keys_are_a_contract() {
        let attempt = AttemptRow {
            number: 1,
            worker: "w-1".to_owned(),
            at: "2026-01-31T08:00:00.000Z".to_owned(),
            duration_ms: 12,
            reason: "no paper".to_owned(),
        };
        let row = StatusRow { attempts: vec![attempt], ..row("dead") };
        let json = serde_json::to_string(&row).unwrap();
        let expected = concat!(
            r#"{"state":"dead","failed_attempts":0,"worker":"w-1","held_ms":5000,"left_ms":90000,"#,
            r#""deliver_at":"2026-01-31T08:00:00.000Z","cause":"rejected","dead_at":"2026-01-31T09:00:00.000Z","#,
            r#""attempts":[{"number":1,"worker":"w-1","at":"2026-01-31T08:00:00.000Z","duration_ms":12,"#,
            r#""reason":"no paper"}]}"#
        );
        assert_eq!(json, expected);
        assert_eq!(row.last_reason(), Some("no paper"));
    }
}
