//! Entries: what is remembered of a message that was not simply acked: its failed attempts, and where it stands.

use highwater_types::Timestamp;

use super::ids::{Reason, WorkerId};
use super::limits;

/// One failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Counts all attempts of the message from 1, over every redrive.
    pub number: u32,
    /// Who had it.
    pub worker: WorkerId,
    /// Since when.
    pub started_at: Timestamp,
    /// For how long, in milliseconds.
    pub duration_ms: u64,
    /// Why it failed.
    pub reason: Reason,
}

/// Why a message is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeathCause {
    /// It failed as often as it may.
    AttemptsSpent,
    /// A worker said that nobody need try.
    Rejected,
    /// Its time to live was over.
    Expired,
}

/// Why a message is done although nobody acked it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropCause {
    /// Its time to live was over.
    Expired,
    /// It was called off before its time.
    Cancelled,
    /// It was dead, and an operator dropped it.
    Discarded,
    /// There is no message at this offset.
    Absent,
}

/// Where a message stands that has an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may be tried (again) from this time on.
    Retry {
        /// When.
        at: Timestamp,
    },
    /// It was put off to this time, whatever its own header says.
    Scheduled {
        /// When.
        deliver_at: Timestamp,
    },
    /// It is dead.
    Dead {
        /// Why.
        cause: DeathCause,
        /// Since when.
        at: Timestamp,
    },
}

/// What is remembered of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Failed attempts of this budget; a redrive gives a new one.
    pub attempts: u32,
    /// Where it stands.
    pub standing: Standing,
    /// Whether it was redriven. Its time to live counts no more: whoever redrives it wants it done late.
    pub is_redriven: bool,
    /// Its newest attempts, over every budget.
    pub journal: Vec<Attempt>,
}

impl Entry {
    pub(super) const fn new(standing: Standing) -> Self {
        Self { attempts: 0, standing, is_redriven: false, journal: Vec::new() }
    }

    /// Whether the message is dead.
    #[must_use]
    pub const fn is_dead(&self) -> bool {
        matches!(self.standing, Standing::Dead { .. })
    }

    /// The number of the attempt that comes next.
    pub(super) fn next_number(&self) -> u32 {
        self.journal.last().map_or(1, |attempt| attempt.number.saturating_add(1))
    }

    /// How long it was meant to rest when it last failed, in milliseconds. Both ends of the rest were told by one clock, and
    /// whoever looks may have another.
    pub(super) fn rest_ms(&self) -> u64 {
        let Some(attempt) = self.journal.last().filter(|_| self.attempts > 0) else { return 0 };
        let failed_at = attempt.started_at.as_ms().saturating_add_unsigned(attempt.duration_ms);
        match self.standing {
            Standing::Retry { at } => at.ms_since(Timestamp::from_ms(failed_at)).min(limits::BACKOFF_MS_MAX),
            Standing::Scheduled { .. } | Standing::Dead { .. } => 0,
        }
    }

    /// Writes an attempt down, unless it is there already.
    pub(super) fn note(&mut self, attempt: &Attempt) {
        if attempt.number < self.next_number() {
            return;
        }
        if self.journal.len() >= limits::JOURNAL_ATTEMPTS_MAX {
            self.journal.remove(0);
        }
        // Most messages fail once or twice; room for four would be lost a million times.
        self.journal.reserve_exact(1);
        self.journal.push(attempt.clone());
    }
}
