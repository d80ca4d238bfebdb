//! Bells: who stands for a member on this node hears at once that its group rebalances, instead of at its next heartbeat.
//!
//! Never: more than a hint. Whoever misses it learns the same by a heartbeat.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use highwater_groups::stream::GroupId;
use tokio::sync::watch;

/// At this many bells those that nobody hears are thrown away.
const SWEEP_AT: usize = 1_024;

/// The bells of a coordinator's groups. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Bells(Arc<Mutex<HashMap<GroupId, watch::Sender<()>>>>);

impl Bells {
    /// Hears a group's bell from now on.
    pub(super) fn hear(&self, group: &GroupId) -> watch::Receiver<()> {
        let mut bells = self.lock();
        if bells.len() >= SWEEP_AT && !bells.contains_key(group) {
            bells.retain(|_, bell| bell.receiver_count() > 0);
        }
        bells.entry(group.clone()).or_insert_with(|| watch::Sender::new(())).subscribe()
    }

    pub(super) fn ring(&self, groups: &[GroupId]) {
        if groups.is_empty() {
            return;
        }
        let bells = self.lock();
        groups.iter().filter_map(|group| bells.get(group)).for_each(|bell| bell.send_replace(()));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<GroupId, watch::Sender<()>>> {
        // Changed in single steps only.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
