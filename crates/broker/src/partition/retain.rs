//! Letting go of what need not be kept: whole segments of committed records, once what is dead in them is kept elsewhere.
//!
//! Invariant: while there is space on the disk no replica cuts its log past a dead message whose record its image does not
//! keep, unless the group has no room for it and has forgotten it.

use highwater_metadata::QueueRetention;
use highwater_storage::RetentionPolicy;
use highwater_types::Offset;

use super::Partition;
use crate::raft::ReplicaError;

/// With less space than this nothing is waited for: retention is what makes some.
const SPACE_TO_WAIT_BYTES: u64 = 8 << 20;

impl Partition {
    /// Lets go of what a retention policy no longer keeps, queues are done with, or clients deleted: whole segments of
    /// committed records.
    ///
    /// # Errors
    /// When the log could not be cut.
    pub async fn retain(&self, policy: RetentionPolicy, queues: &QueueRetention) -> Result<(), ReplicaError> {
        let (log, now) = (&self.handle.reader.log, self.clock.now());
        let committed = *self.handle.reader.committed.borrow();
        let by_policy = log.retention_boundary(&policy, now, committed);
        let all = RetentionPolicy { age_ms_max: None, bytes_max: Some(0) };
        let all_below = |below: Offset| log.retention_boundary(&all, now, below.min(committed));
        if self.handle.leadership().serves_writes {
            let policy_end = by_policy.as_ref().map(|boundary| boundary.next_offset);
            let queues_end =
                self.handle.queues.open_below(queues).and_then(all_below).map(|boundary| boundary.next_offset);
            self.make_way(policy_end, queues_end).await;
        }
        let waits = |below| self.handle.queues.dead_in_log(below) > 0 && log.reserve(SPACE_TO_WAIT_BYTES).is_ok();
        let by_policy = by_policy.filter(|boundary| !waits(boundary.next_offset));
        // By the state of this replica, which holds only what is committed.
        let by_queues = self.handle.queues.done_below(queues).and_then(all_below);
        let by_deletion = all_below(self.handle.reader.beginning.get());
        match by_policy.into_iter().chain(by_queues).chain(by_deletion).max_by_key(|boundary| boundary.next_offset) {
            Some(boundary) => {
                self.replica.trim(boundary).await?;
                self.handle.queues.trimmed();
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Has queues keep what is dead before the log is cut, and forget the rest where the policy says so. What did not work
    /// is tried again at the next look.
    async fn make_way(&self, policy_end: Option<Offset>, queues_end: Option<Offset>) {
        let queues = &self.handle.queues;
        let partition = self.replica.group();
        if let Some(end) = policy_end.max(queues_end)
            && let Err(error) = queues.keep_dead(&self.handle.reader, end).await
        {
            tracing::warn!(partition, %error, "dead messages that retention takes could not be kept yet");
            return;
        }
        if let Some(end) = policy_end
            && let Err(error) = queues.forget(end).await
        {
            tracing::warn!(partition, %error, "queues could not forget what retention takes yet");
        }
    }
}
