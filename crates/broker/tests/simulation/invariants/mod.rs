//! What must hold whatever happens. One file each.

mod acked_is_kept;
mod attempts_are_counted;
mod commits_never_go_back;
mod coordinators_agree;
mod definite_errors_are_definite;
mod done_is_not_delivered;
mod every_message_ends;
mod keys_keep_their_order;
mod no_duplicates;
mod no_gap;
mod no_stale_end;
mod nothing_is_skipped;
mod old_generations_are_refused;
mod old_tokens_do_nothing;
mod one_holder_a_partition;
mod one_leader_a_term;
mod one_value_an_offset;
mod one_worker_a_message;
mod polls_are_whole;
mod queues_agree;
mod replicas_agree;
mod seeks_are_not_undone;
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
        Box::new(attempts_are_counted::AttemptsAreCounted::default()),
        Box::new(commits_never_go_back::CommitsNeverGoBack::default()),
        Box::new(coordinators_agree::CoordinatorsAgree::default()),
        Box::new(definite_errors_are_definite::DefiniteErrorsAreDefinite::default()),
        Box::new(done_is_not_delivered::DoneIsNotDelivered::default()),
        Box::new(every_message_ends::EveryMessageEnds::default()),
        Box::new(keys_keep_their_order::KeysKeepTheirOrder::default()),
        Box::new(no_duplicates::NoDuplicates::default()),
        Box::new(no_gap::NoGap),
        Box::new(no_stale_end::NoStaleEnd::default()),
        Box::new(nothing_is_skipped::NothingIsSkipped::default()),
        Box::new(old_generations_are_refused::OldGenerationsAreRefused::default()),
        Box::new(old_tokens_do_nothing::OldTokensDoNothing::default()),
        Box::new(one_holder_a_partition::OneHolderAPartition::default()),
        Box::new(one_leader_a_term::OneLeaderATerm::default()),
        Box::new(one_value_an_offset::OneValueAnOffset::default()),
        Box::new(one_worker_a_message::OneWorkerAMessage::default()),
        Box::new(polls_are_whole::PollsAreWhole::default()),
        Box::new(queues_agree::QueuesAgree::default()),
        Box::new(replicas_agree::ReplicasAgree::default()),
        Box::new(seeks_are_not_undone::SeeksAreNotUndone::default()),
        Box::new(topics_are_not_forgotten::TopicsAreNotForgotten::default()),
        Box::new(watermarks_never_go_back::WatermarksNeverGoBack::default()),
    ]
}
