//! Bugs that the simulation can plant, to prove that it catches them.
//!
//! Never: in the product. In a release build every question is answered with a constant `false`; and a bug is planted for
//! one thread, so that it does not leak into other tests.

/// A bug that was made by others, and must not be made here unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A vote is given before it is on disk.
    VoteNotSynced,
    /// The end of a partition is told without asking whether this replica still leads.
    StaleEnd,
    /// A node that comes back empty is given its old place.
    ReusedNodeId,
    /// Fewer batches of a producer are remembered than it may have in flight.
    SmallWindow,
    /// A coordinator answers before what the answer rests on is committed.
    AnswerBeforeCommit,
    /// Messages are given to workers without asking whether this replica still leads.
    GivenByOldLeader,
}

#[cfg(debug_assertions)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug for this thread, or takes it out.
#[cfg(debug_assertions)]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether `bug` is planted.
#[cfg(debug_assertions)]
pub(crate) fn is_planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether `bug` is planted: never, in a release build.
#[cfg(not(debug_assertions))]
pub(crate) const fn is_planted(_: Bug) -> bool {
    false
}
