//! What must hold whatever happens. One file each.

mod acked_is_kept;
mod definite_errors_are_definite;
mod no_duplicates;
mod no_gap;
mod no_stale_end;
mod one_leader_a_term;
mod one_value_an_offset;
mod replicas_agree;
mod topics_are_not_forgotten;
mod watermarks_never_go_back;

use crate::history::Event;

/// What must hold. Sees every event in its order.
pub trait Invariant {
    fn name(&self) -> &'static str;

    /// Judges an event at the virtual time `now`.
    fn see(&mut self, event: &Event, now: u64) -> Result<(), String>;

    /// Judges the whole run.
    fn finish(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// Something that did not hold.
#[derive(Clone, Debug)]
pub struct Violation {
    pub invariant: &'static str,
    pub at: u64,
    pub words: String,
}

pub fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(acked_is_kept::AckedIsKept::default()),
        Box::new(definite_errors_are_definite::DefiniteErrorsAreDefinite::default()),
        Box::new(no_duplicates::NoDuplicates::default()),
        Box::new(no_gap::NoGap),
        Box::new(no_stale_end::NoStaleEnd::default()),
        Box::new(one_leader_a_term::OneLeaderATerm::default()),
        Box::new(one_value_an_offset::OneValueAnOffset::default()),
        Box::new(replicas_agree::ReplicasAgree::default()),
        Box::new(topics_are_not_forgotten::TopicsAreNotForgotten::default()),
        Box::new(watermarks_never_go_back::WatermarksNeverGoBack::default()),
    ]
}
