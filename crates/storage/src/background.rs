//! The thread that works ahead of the appends: disk space for the next ones, indexes of sealed segments.
//!
//! Owns: which logs wish for such work, and the thread that does it. Never: is needed for correctness. What it has not
//! done in time, an append does itself.
//!
//! Invariant: a log is queued at most once, so the queue is bounded by the number of logs.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread::{self, JoinHandle};

use crate::locks::lock;

/// Somebody who has work to be done soon, but not now.
pub trait BackgroundTask: Send + Sync + 'static {
    /// Does what is due. May wait for the disk. Called from one thread at a time.
    fn work(&self);
}

/// The background work of one data directory. Dropping it stops its thread; work that is still queued is left undone.
#[derive(Default)]
pub struct Background {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    woken: Condvar,
    /// Held while a task works.
    working: Mutex<()>,
}

#[derive(Default)]
struct Queue {
    /// Not kept alive by being queued: a log that is dropped has no wishes.
    tasks: VecDeque<Weak<dyn BackgroundTask>>,
    is_stopping: bool,
}

impl Background {
    /// Without a thread: work is done by [`Background::run_pending`], or after [`Background::start_thread`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Queues a task. The caller must not queue it again before its `work` has begun.
    pub fn submit(&self, task: Weak<dyn BackgroundTask>) {
        lock(&self.shared.queue).tasks.push_back(task);
        self.shared.woken.notify_one();
    }

    /// Does everything that is queued, here and now. Returns whether there was anything.
    pub fn run_pending(&self) -> bool {
        let mut did_something = false;
        while self.shared.run_one() {
            did_something = true;
        }
        did_something
    }

    /// Starts the thread. Once is enough.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn start_thread(&self) -> io::Result<()> {
        let mut thread = lock(&self.thread);
        if thread.is_none() {
            lock(&self.shared.queue).is_stopping = false;
            let shared = Arc::clone(&self.shared);
            let builder = thread::Builder::new().name("highwater-ahead".to_owned());
            *thread = Some(builder.spawn(move || shared.run())?);
        }
        Ok(())
    }

    /// Stops the thread, if there is one, after the task that it is in.
    pub fn stop(&self) {
        lock(&self.shared.queue).is_stopping = true;
        self.shared.woken.notify_all();
        let thread = lock(&self.thread).take();
        // A task may own the last handle: then this is the thread itself, which ends after that task.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id()) {
            let _panic_is_already_logged = thread.join();
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Background").field("queued", &lock(&self.shared.queue).tasks.len()).finish_non_exhaustive()
    }
}

impl Shared {
    fn run(&self) {
        loop {
            {
                let mut queue = lock(&self.queue);
                while queue.tasks.is_empty() && !queue.is_stopping {
                    queue = self.woken.wait(queue).unwrap_or_else(PoisonError::into_inner);
                }
                if queue.is_stopping {
                    return;
                }
            }
            self.run_one();
        }
    }

    fn run_one(&self) -> bool {
        let _one_at_a_time = lock(&self.working);
        let Some(task) = lock(&self.queue).tasks.pop_front() else { return false };
        let Some(task) = task.upgrade() else { return true };
        if catch_unwind(AssertUnwindSafe(|| task.work())).is_err() {
            tracing::error!("background work panicked; appends will do it themselves");
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    struct Tell(Mutex<Sender<u8>>, u8);

    impl BackgroundTask for Tell {
        fn work(&self) {
            lock(&self.0).send(self.1).unwrap();
            assert!(self.1 != 2, "a task that fails");
        }
    }

    fn three(background: &Background) -> (Vec<Arc<Tell>>, Receiver<u8>) {
        let (said, heard) = channel();
        let tasks: Vec<_> = (1..=3).map(|number| Arc::new(Tell(Mutex::new(said.clone()), number))).collect();
        for task in &tasks {
            let task: Weak<Tell> = Arc::downgrade(task);
            background.submit(task);
        }
        (tasks, heard)
    }

    #[test]
    fn work_is_done_in_order_by_hand() {
        let background = Background::new();
        let (_tasks, heard) = three(&background);
        assert!(background.run_pending());
        assert!(!background.run_pending());
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[test]
    fn work_is_done_by_the_thread_and_survives_a_panic() {
        let background = Background::new();
        background.start_thread().unwrap();
        let (_tasks, heard) = three(&background);
        assert_eq!(heard.iter().take(3).collect::<Vec<_>>(), [1, 2, 3]);
        background.stop();
    }
}
