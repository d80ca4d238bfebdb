//! Where a message is, for people.

use highwater_groups::queue::{Attempt, Context, DeathCause, Desk, Entry, MessageState, Queue};
use highwater_proto::v1;
use highwater_types::Offset;

/// Where a message is for a group.
pub(super) fn status_of(desk: &Desk, queue: &Queue, offset: Offset, context: &Context) -> v1::MessageStatus {
    let state = desk.state_of(queue, offset, context);
    status(&state, queue.entry(offset))
}

/// The same, of a state that is known.
pub(super) fn status(state: &MessageState, entry: Option<&Entry>) -> v1::MessageStatus {
    let base = v1::MessageStatus {
        attempts: entry.map_or(0, |entry| entry.attempts),
        journal: entry.map_or_else(Vec::new, |entry| entry.journal.iter().map(attempt).collect()),
        ..Default::default()
    };
    let with = |state: v1::MessageState| v1::MessageStatus { state: state.into(), ..base.clone() };
    match state {
        MessageState::Done => with(v1::MessageState::Done),
        MessageState::Dead { cause, at } => v1::MessageStatus {
            death: Some(v1::Death { cause: cause_to_wire(*cause).into(), at_ms: at.as_ms() }),
            ..with(v1::MessageState::Dead)
        },
        MessageState::Unseen => with(v1::MessageState::Unseen),
        MessageState::Ready => with(v1::MessageState::Ready),
        MessageState::WaitsForKey => with(v1::MessageState::WaitsForKey),
        MessageState::Delayed { until } => {
            v1::MessageStatus { deliver_at_ms: until.as_ms(), ..with(v1::MessageState::Delayed) }
        }
        MessageState::Resting { left_ms } => v1::MessageStatus { left_ms: *left_ms, ..with(v1::MessageState::Resting) },
        MessageState::Leased { worker, held_ms, left_ms } => v1::MessageStatus {
            worker: worker.to_string(),
            held_ms: *held_ms,
            left_ms: *left_ms,
            ..with(v1::MessageState::Leased)
        },
        MessageState::Settling => with(v1::MessageState::Settling),
    }
}

fn attempt(attempt: &Attempt) -> v1::QueueAttempt {
    v1::QueueAttempt {
        worker: attempt.worker.to_string(),
        at_ms: attempt.started_at.as_ms(),
        duration_ms: attempt.duration_ms,
        reason: attempt.reason.to_string(),
        number: attempt.number,
    }
}

pub(super) const fn cause_to_wire(cause: DeathCause) -> v1::DeathCause {
    match cause {
        DeathCause::AttemptsSpent => v1::DeathCause::Attempts,
        DeathCause::Rejected => v1::DeathCause::Rejected,
        DeathCause::Expired => v1::DeathCause::Expired,
    }
}
