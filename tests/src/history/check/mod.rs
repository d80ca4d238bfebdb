//! The anomalies that a log must exclude, one file a family. Each is a function of the facts.
//!
//! Invariant: a finding names the places of the history that contradict each other, so that it can be shown.

mod commits;
mod identity;
mod lost;
mod phantom;
mod poll_order;
mod refused;
mod regress;
mod replicas;
mod send_order;
mod split_brain;
mod spurious;
mod stale;
#[cfg(test)]
mod story;
mod topics;

use std::fmt;

use serde::Serialize;

use super::event::Event;
use super::facts::Facts;

/// What is wrong with a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Anomaly {
    /// Of which kind it is.
    pub kind: AnomalyKind,
    /// What happened, to which record.
    pub text: String,
    /// The places of the history that contradict each other.
    pub places: Vec<usize>,
}

impl Anomaly {
    fn new(kind: AnomalyKind, places: impl IntoIterator<Item = usize>, text: String) -> Self {
        Self { kind, text, places: places.into_iter().collect() }
    }
}

macro_rules! anomalies {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal $words:literal,)+) => {
        /// The kinds of anomalies, by the numbers of their usual list.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub enum AnomalyKind { $($(#[doc = $doc])+ $name,)+ }

        impl AnomalyKind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// Its number and name.
            #[must_use]
            pub const fn name(self) -> (&'static str, &'static str) {
                match self { $(Self::$name => ($code, $words),)+ }
            }
        }
    };
}

anomalies! {
    /// Acknowledged, passed over by a reader, never read.
    LostWrite = "A1" "lost write",
    /// Acknowledged, and not read by the end.
    Unseen = "A2" "unseen",
    /// One offset, two values.
    InconsistentOffset = "A3" "inconsistent offset",
    /// One value, two offsets.
    Duplicate = "A4" "duplicate",
    /// Definitely refused, and read.
    AbortedRead = "A5" "aborted read",
    /// A producer's later send got the lower offset.
    NonmonotonicSend = "A6" "nonmonotonic send",
    /// The order within one send was changed.
    IntNonmonotonicSend = "A7" "nonmonotonic within a send",
    /// A reader was led past an offset.
    PollSkip = "A8" "poll skip",
    /// Offsets are missing within one poll.
    IntPollSkip = "A9" "skip within a poll",
    /// A reader was led back.
    NonmonotonicPoll = "A10" "nonmonotonic poll",
    /// Offsets go back within one poll.
    IntNonmonotonicPoll = "A11" "nonmonotonic within a poll",
    /// The end or the start of a log went back.
    Regression = "A17" "offset regression",
    /// An acknowledgement with an offset below the known end.
    SpuriousOffset = "A18" "spurious offset",
    /// Something was read that nobody sent.
    Phantom = "A19" "phantom or damaged",
    /// A replica lacks an entry between two others, or at its committed end.
    AckedHole = "A20" "hole in a replica",
    /// Two replicas differ in what is committed.
    Divergence = "A21" "replicas differ",
    /// Two nodes serve different data, or lead in the same epoch.
    SplitBrain = "A22" "split brain",
    /// An end before what was known to be committed when it was asked for.
    StaleRead = "A23" "stale read",
    /// A group's committed offset went back.
    CommitRegression = "A24" "commit regression",
    /// A topic is gone that nobody deleted.
    TopicGone = "A25" "topic gone",
    /// Definitely refused, and done all the same.
    FalseRefusal = "A32" "false refusal",
}

impl fmt::Display for AnomalyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, words) = self.name();
        write!(f, "{code} {words}")
    }
}

/// Everything that is wrong with a history.
#[must_use]
pub fn check(events: &[Event]) -> Vec<Anomaly> {
    let facts = Facts::of(events);
    let families: [fn(&Facts<'_>) -> Vec<Anomaly>; 13] = [
        lost::find,
        identity::find,
        refused::find,
        send_order::find,
        poll_order::find,
        regress::find,
        spurious::find,
        phantom::find,
        replicas::find,
        split_brain::find,
        stale::find,
        commits::find,
        topics::find,
    ];
    families.iter().flat_map(|find| find(&facts)).collect()
}
