//! Bugs that a test can plant, to prove that the model test and the simulation catch them.
//!
//! Never: in the product. In a release build every question is answered with a constant `false`; and a bug is planted for
//! one thread, so that it does not leak into other tests.

/// A bug that was made by others, and must not be made here unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Callbacks are released before anything is synced.
    AckBeforeSync,
    /// Callbacks are released before the manifest lists their segment.
    AckBeforeManifest,
    /// Recovery takes any bad frame for the end of the log.
    CutAtAnyBadFrame,
    /// A truncation leaves the entries in the manifest.
    ForgetTruncation,
    /// Appends go on behind a torn tail in the same file.
    AppendBehindTornTail,
}

#[cfg(any(test, debug_assertions))]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug for this thread, or takes it out.
#[cfg(any(test, debug_assertions))]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether `bug` is planted.
#[cfg(any(test, debug_assertions))]
#[must_use]
pub(crate) fn is_planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether `bug` is planted: never, in a release build.
#[cfg(not(any(test, debug_assertions)))]
pub(crate) const fn is_planted(_: Bug) -> bool {
    false
}
