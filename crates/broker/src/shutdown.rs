//! Stopping in order: a signal that goes down and a count of tasks that comes up.
//!
//! Owns: the cancellation token of a part of the node, and the tracker of the tasks that belong to that part.
//!
//! Never: aborts a task. A task sees the signal at a point of its own choosing and leaves; who waits may give up
//! after a time and is told how many are left.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;

/// The stop signal and the tasks of one part of the node. Clones are the same part.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
}

/// Tasks that did not end in the time they were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{count} tasks did not end within {} ms of being asked to", waited.as_millis())]
pub struct StillRunning {
    /// How many are left.
    pub count: usize,
    /// How long was waited for them.
    pub waited: Duration,
}

impl Shutdown {
    /// A part with no tasks yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A part inside this one: it is asked to stop when this one is, or alone. Its tasks are counted by itself only.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token(), tasks: TaskTracker::new() }
    }

    /// Runs a task that belongs to this part. It should end soon after [`Shutdown::requested`].
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// Asks this part, and every part inside it, to stop.
    pub fn request(&self) {
        self.token.cancel();
    }

    /// Whether it was asked to stop.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Resolves when it was asked to stop; at once when that is past.
    pub fn requested(&self) -> WaitForCancellationFutureOwned {
        self.token.clone().cancelled_owned()
    }

    /// The token itself, for libraries that want one.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Asks this part to stop and waits until its tasks have ended.
    ///
    /// # Errors
    /// [`StillRunning`] when some have not after `patience`; they run on.
    pub async fn finish(&self, patience: Duration) -> Result<(), StillRunning> {
        self.request();
        self.tasks.close();
        tokio::time::timeout(patience, self.tasks.wait())
            .await
            .map_err(|_| StillRunning { count: self.tasks.len(), waited: patience })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_stops_with_the_one_around_it() {
        let node = Shutdown::new();
        let part = node.child();
        let requested = part.requested();
        part.spawn(requested);
        assert!(!part.is_requested());
        node.request();
        assert!(part.is_requested());
        assert_eq!(part.finish(Duration::from_secs(5)).await, Ok(()));
    }

    #[tokio::test]
    async fn a_part_stops_alone() {
        let node = Shutdown::new();
        let part = node.child();
        part.request();
        assert!(part.is_requested() && !node.is_requested());
    }

    #[tokio::test]
    async fn who_waits_is_told_what_is_left() {
        let part = Shutdown::new();
        let hanging = part.spawn(std::future::pending::<()>());
        let waited = Duration::from_millis(10);
        assert_eq!(part.finish(waited).await, Err(StillRunning { count: 1, waited }));
        hanging.abort();
    }
}
