//! Bugs that the simulation can plant, to prove that it catches them.
//!
//! Never: in the product. In a release build every question is answered with a constant `false`; and a bug is planted for
//! one thread, so that it does not leak into other tests.

/// A bug that was made by others, and must not be made here unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A commit is taken whatever the generation of the member that sends it.
    CommitOfOldGeneration,
    /// A partition that moves is given on before its holder has released it.
    GivenBeforeReleased,
    /// A forced seek lets the members go on committing what they read before it.
    SeekWithoutFence,
    /// A token of a lease that is over, or of another worker, settles the message all the same.
    OldTokenTaken,
    /// A new leader of a queue begins to count the attempts of each message anew.
    AttemptsForgotten,
    /// A snapshot of a queue leaves out what is acked behind the first open message.
    AcksNotInSnapshot,
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
