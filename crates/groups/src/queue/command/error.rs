//! Why a queue refuses.

/// Why an outcome is refused. Nothing has happened to the message by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettleError {
    /// The lease is over: its time was up, it was settled, or another node leads now. The message may be with another
    /// worker.
    #[error("the lease is over; the message may be with another worker")]
    Stale,
    /// The lease is another worker's.
    #[error("the lease is another worker's")]
    Foreign,
    /// The message is done.
    #[error("the message is done")]
    Done,
    /// The message is dead.
    #[error("the message is dead; redrive it, or drop it")]
    Dead,
    /// No lease is that long.
    #[error("a lease lasts {max_ms} ms with all that it is extended by; {left_ms} ms of it are left")]
    TooLong {
        /// What a lease lasts at most, in milliseconds.
        max_ms: u64,
        /// What it may be extended by from now, in milliseconds.
        left_ms: u64,
    },
}

/// Why a message is not put off or called off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoveError {
    /// A worker has it.
    #[error("a worker has the message")]
    Leased,
    /// Something else is being written about it.
    #[error("the message is just being settled or moved; ask again")]
    Busy,
    /// It is done, or gone.
    #[error("the message is done, or no longer in the log")]
    Done,
    /// It is dead.
    #[error("the message is dead; redrive it, or drop it")]
    Dead,
    /// It does not exist yet.
    #[error("the log has no such offset yet")]
    Ahead,
    /// The window has no room for it.
    #[error("the window of the group is full; ask again when some of it is done")]
    Full,
}

/// A request is larger than one step may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a request has at most {max} parts, this one has {found}")]
pub struct TooLarge {
    /// How many it has.
    pub found: usize,
    /// How many it may have.
    pub max: usize,
}

impl SettleError {
    /// Whether the same request may succeed later. None does: a lease that is over stays over.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        false
    }
}

impl MoveError {
    /// Whether the same request may succeed later.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Leased | Self::Busy | Self::Ahead | Self::Full)
    }
}
