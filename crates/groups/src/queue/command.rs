//! Commands: what a queue may be asked, and its answers. Why it refuses is in `error`.

mod error;

use bytes::Bytes;
use highwater_types::{Offset, OffsetRange, Timestamp};

use super::config::{ConfigError, QueueConfig};
use super::entry::DeathCause;
use super::ids::{AckToken, Reason, WorkerId};
use super::record::{PausedBy, QueueRecord};
use crate::stream::ids::{Moment, Ticket};

pub use error::{MoveError, SettleError, TooLarge};

/// Time, and how long the log is, at one command.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Now, for leases and rests: they end neither early nor late when somebody sets the wall clock.
    pub now: Moment,
    /// Now, for what has a date: `deliver-at`, time to live, journals.
    pub wall: Timestamp,
    /// The first offset that is not committed yet.
    pub log_end: Offset,
}

/// Something that a queue is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Asks for messages.
    Acquire {
        /// Who.
        worker: WorkerId,
        /// At most so many.
        max: usize,
    },
    /// Says what became of messages.
    Settle {
        /// Who.
        worker: WorkerId,
        /// Which, and what.
        outcomes: Vec<(AckToken, Outcome)>,
    },
    /// Gives a message another time, also one that has a time already; also one that nobody has looked at.
    Reschedule {
        /// The message.
        offset: Offset,
        /// When.
        deliver_at: Timestamp,
    },
    /// Calls a message off.
    Cancel {
        /// The message.
        offset: Offset,
    },
    /// Gives dead messages a new budget.
    Redrive {
        /// Where they are. Others in these ranges stay as they are.
        ranges: Vec<OffsetRange>,
    },
    /// Drops dead messages.
    DropDead {
        /// Where they are. Others in these ranges stay as they are.
        ranges: Vec<OffsetRange>,
    },
    /// Hands out nothing from now on. What workers hold they may settle.
    Pause {
        /// Why.
        reason: Reason,
    },
    /// Hands out messages again, whoever paused.
    Resume,
    /// Changes the settings.
    Configure {
        /// To what.
        config: QueueConfig,
    },
    /// Keeps records of dead messages, before retention takes them. Those that are not dead, or find no room
    /// ([`KEPT_BYTES_MAX`](super::limits::KEPT_BYTES_MAX)), are passed over.
    Keep {
        /// Their offsets, and their records in the form of whoever reads them.
        records: Vec<(Offset, Bytes)>,
    },
    /// The log begins at `start` now, or is about to.
    Trim {
        /// The first offset that is left.
        start: Offset,
    },
    /// Deletes the group.
    Delete,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Ack,
    /// It goes back, and that is nobody's fault: not counted.
    Release,
    /// The attempt failed: counted.
    Fail {
        /// Why.
        reason: Reason,
        /// How long it rests, in milliseconds, when the worker knows better than the settings.
        retry_after_ms: Option<u64>,
    },
    /// The worker is gone, as a closed stream shows: counted, and deliverable at once.
    Lost {
        /// What was seen.
        reason: Reason,
    },
    /// Nobody need try: dead at once.
    Reject {
        /// Why.
        reason: Reason,
    },
    /// It takes so much longer from now on, in milliseconds.
    Extend {
        /// How long.
        lease_ms: u64,
    },
}

/// A message with a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The message.
    pub offset: Offset,
    /// What the worker shows to settle it.
    pub token: AckToken,
    /// Which attempt of its budget this is, from 1.
    pub attempt: u32,
    /// From this on the lease is over.
    pub deadline: Moment,
}

/// Why a queue hands out fewer messages than it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stall {
    /// There is more of the log to look at first.
    Unscanned,
    /// All that there is is done, with workers, dead, or waits for its time or its key.
    Empty,
    /// The group is paused.
    Paused(PausedBy),
    /// So many are with workers as the group allows.
    GroupCap,
    /// So many are with this worker as the group allows.
    WorkerCap,
    /// The window is full: nothing is deliverable in it, and nothing more is looked at until some of it is done.
    WindowFull,
    /// There are so many dead messages as the group allows.
    DeadFull,
}

/// Messages for a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acquired {
    /// Which.
    pub leases: Vec<Lease>,
    /// Why there are not more.
    pub stall: Option<Stall>,
}

/// What became of an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is acked now.
    Acked,
    /// It was done before: as acked as it can be.
    AlreadyDone,
    /// It is deliverable again.
    Released,
    /// It is tried again.
    WillRetry {
        /// How many attempts have failed.
        attempts: u32,
        /// In how long, in milliseconds.
        after_ms: u64,
    },
    /// It is dead.
    Dead {
        /// Why.
        cause: DeathCause,
    },
    /// Its lease is longer.
    Extended {
        /// From this on it is over.
        deadline: Moment,
    },
}

/// What a redrive or drop of dead messages came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// How many.
    pub messages: usize,
    /// Whether there are more in these ranges: ask again.
    pub has_more: bool,
}

/// An answer to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To [`Command::Acquire`].
    Acquire(Acquired),
    /// To [`Command::Settle`], in the order of the outcomes.
    Settle(Result<Vec<Result<Settled, SettleError>>, TooLarge>),
    /// To [`Command::Reschedule`] and [`Command::Cancel`].
    Move(Result<(), MoveError>),
    /// To [`Command::Redrive`] and [`Command::DropDead`].
    Dead(Result<Moved, TooLarge>),
    /// To [`Command::Configure`].
    Configure(Result<(), ConfigError>),
    /// To all others.
    Done,
}

/// An answer and who waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Who.
    pub to: Ticket,
    /// What.
    pub answer: Answer,
}

/// What a command leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "records are to be proposed, and answers to be sent"]
pub struct Decision {
    /// To be persisted, all or nothing.
    pub records: Vec<QueueRecord>,
    /// Answers that wait until everything that was decided so far is committed.
    pub then: Vec<Reply>,
    /// Answers that may go at once: leases are promised by the leader alone, and a refusal needs no record.
    pub now: Vec<Reply>,
}
