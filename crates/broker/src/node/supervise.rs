//! What ends the process: the first failure that the node cannot go on after.
//!
//! Owns: the one place where such a failure is noted, and the watch over the node's own tasks.
//!
//! Why: a task or a Raft core that panicked is silent, and a node that goes on without it looks healthy and is not.

use highwater_storage::{Flusher, Poisoned};
use highwater_types::NodeId;
use tokio::sync::watch;

use super::error::GroupName;
use crate::shutdown::Shutdown;

/// Why the node cannot go on. The process ends with an error; a restart recovers what is on the disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeFailure {
    /// A write or a sync failed: what the disk holds is only known after a restart.
    #[error(transparent)]
    Disk(#[from] Poisoned),
    /// A Raft group stopped by itself.
    #[error("the Raft group of {group} stopped: {reason}")]
    GroupStopped {
        /// What it is the group of.
        group: GroupName,
        /// What it says.
        reason: String,
    },
    /// The cluster did not take the node in.
    #[error("this node cannot take its place in the cluster: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// The node was removed from the cluster while it ran.
    #[error("node {node} was removed from the cluster; it joins again with an empty data directory, under a new id")]
    Removed {
        /// The node.
        node: NodeId,
    },
    /// A task of the node ended that runs as long as the node; it panicked, which is a bug.
    #[error("the task '{task}' ended although the node is running; this is a bug")]
    TaskEnded {
        /// Which.
        task: &'static str,
    },
}

/// Where the first failure is noted. Clones are the same place.
#[derive(Clone, Debug)]
pub(super) struct Failures(watch::Sender<Option<NodeFailure>>);

impl Failures {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Notes a failure; only the first counts.
    pub(super) fn report(&self, failure: NodeFailure) {
        self.0.send_if_modified(|first| {
            let is_first = first.is_none();
            if is_first {
                tracing::error!(%failure, "the node cannot go on");
                *first = Some(failure);
            }
            is_first
        });
    }

    /// The first failure, if there was one.
    pub(super) fn noted(&self) -> Option<NodeFailure> {
        self.0.borrow().clone()
    }

    /// Resolves with the first failure.
    pub(super) async fn first(&self) -> NodeFailure {
        let mut failures = self.0.subscribe();
        let first = failures.wait_for(Option::is_some).await.ok().and_then(|failure| failure.clone());
        match first {
            Some(failure) => failure,
            // Only when the sender is gone, and this holds it.
            None => std::future::pending().await,
        }
    }

    /// Notes when the data directory is poisoned.
    pub(super) fn watch_disk(&self, flusher: &Flusher) {
        let failures = self.clone();
        flusher.on_poison(Box::new(move |poisoned| failures.report(NodeFailure::Disk(poisoned.clone()))));
    }

    /// Runs a task that must not end before its part of the node is asked to stop.
    pub(super) fn spawn_vital<F>(&self, part: &Shutdown, task: &'static str, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (failures, stopping) = (self.clone(), part.clone());
        let running = part.spawn(future);
        part.spawn(async move {
            let ended = running.await;
            if ended.is_err() || !stopping.is_requested() {
                failures.report(NodeFailure::TaskEnded { task });
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_failure_counts() {
        let failures = Failures::new();
        failures.report(NodeFailure::TaskEnded { task: "one" });
        failures.report(NodeFailure::TaskEnded { task: "two" });
        assert_eq!(failures.first().await, NodeFailure::TaskEnded { task: "one" });
    }

    #[tokio::test]
    async fn a_task_that_panics_is_noticed_and_one_that_was_asked_to_stop_is_not() {
        let (failures, part) = (Failures::new(), Shutdown::new());
        failures.spawn_vital(&part, "obedient", part.requested());
        part.finish(std::time::Duration::from_secs(5)).await.unwrap();
        assert_eq!(*failures.0.borrow(), None);

        let part = Shutdown::new();
        failures.spawn_vital(&part, "panicking", async { panic!("as planned") });
        assert_eq!(failures.first().await, NodeFailure::TaskEnded { task: "panicking" });
    }
}
