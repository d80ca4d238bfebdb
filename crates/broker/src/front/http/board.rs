//! What the pages show: the stage of the server, and the sources of metrics.
//!
//! Owns: asking the sources, all at once and none for longer than it may take, and the places of those who ask.
//!
//! Invariant: its lock is held to look and to change, never while anything is waited for.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::metrics::{Family, Labels, Source};

/// How long a source may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pages of metrics that may be in the making or on their way: with many partitions one has megabytes.
const PAGES_MAX: usize = 2;

/// Whether the server serves clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Not yet.
    Starting,
    /// It does.
    Serving,
    /// Not any more.
    Stopping,
}

/// See the module's documentation.
pub(super) struct Board {
    shown: Mutex<Shown>,
    places: Arc<Semaphore>,
}

struct Shown {
    stage: Stage,
    sources: Vec<Arc<dyn Source>>,
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board").field("stage", &self.stage()).finish_non_exhaustive()
    }
}

impl Board {
    /// A server that starts, with nothing to show.
    pub(super) fn new() -> Self {
        let shown = Shown { stage: Stage::Starting, sources: Vec::new() };
        Self { shown: Mutex::new(shown), places: Arc::new(Semaphore::new(PAGES_MAX)) }
    }

    pub(super) fn stage(&self) -> Stage {
        self.shown().stage
    }

    pub(super) fn set_stage(&self, stage: Stage) {
        self.shown().stage = stage;
    }

    pub(super) fn add(&self, source: Arc<dyn Source>) {
        self.shown().sources.push(source);
    }

    /// Lets go of the sources.
    pub(super) fn clear(&self) {
        self.shown().sources.clear();
    }

    /// Waits for a place for a page, to be held until the page is sent. `None`: there will be none.
    pub(super) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    /// Asks all sources. Whether each answered is the last family.
    pub(super) async fn gather(&self) -> Vec<Family> {
        let (stage, sources) = {
            let shown = self.shown();
            (shown.stage, shown.sources.clone())
        };
        let asked = sources.iter().map(|source| timeout(PATIENCE, source.gather()));
        let ready = Family::gauge("ready", "1 while the node serves clients, as /readyz says");
        let mut families = vec![ready.of(stage == Stage::Serving)];
        let mut up = Family::gauge("metrics_source_up", "0 where a part of the node did not tell its values in time");
        for (source, answer) in sources.iter().zip(join_all(asked).await) {
            up.push(Labels::new([("source", source.name().to_owned())]), answer.is_ok());
            families.extend(answer.unwrap_or_default());
        }
        families.push(up);
        families
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::BoxFuture;

    use super::*;
    use crate::metrics::Value;

    /// A source that answers after a time.
    struct Slow(&'static str, Duration);

    impl Source for Slow {
        fn name(&self) -> &'static str {
            self.0
        }

        fn gather(&self) -> BoxFuture<'_, Vec<Family>> {
            Box::pin(async {
                tokio::time::sleep(self.1).await;
                vec![Family::gauge(self.0, "").of(7_u64)]
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_takes_long_is_missing_and_is_named() {
        let board = Board::new();
        board.add(Arc::new(Slow("quick", PATIENCE / 2)));
        board.add(Arc::new(Slow("stuck", PATIENCE * 2)));
        let families = board.gather().await;
        let names: Vec<&str> = families.iter().map(|family| family.name).collect();
        assert_eq!(names, ["ready", "quick", "metrics_source_up"]);
        let up: Vec<Value> = families[2].samples.iter().map(|sample| sample.value).collect();
        assert_eq!(up, [Value::Whole(1), Value::Whole(0)]);
    }

    #[tokio::test]
    async fn a_board_that_is_cleared_holds_no_source() {
        let board = Board::new();
        let source: Arc<dyn Source> = Arc::new(Slow("quick", Duration::ZERO));
        board.add(Arc::clone(&source));
        board.gather().await;
        board.clear();
        assert_eq!(Arc::strong_count(&source), 1);
    }
}
