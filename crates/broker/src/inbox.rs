//! What is asked of a task that decides while its group is led here: handed to it then, and refused otherwise.
//!
//! Owns: the requests that wait, and the time between two terms: who asks is told at once that nobody decides here.
//!
//! Never: decides, or knows what is asked.
//!
//! Invariant: a task that was refused by its group and leads as before does not begin again at once: it would decide the same
//! and be refused again, without end.

use std::pin::Pin;
use std::time::Duration;

use highwater_types::NodeId;
use tokio::sync::{mpsc, watch};

use crate::raft::{Leadership, UnderWay};

/// How long nothing is decided after the group refused what was decided, although this node leads as before: it does not
/// hear from enough of the others.
const REFUSED_PAUSE: Duration = Duration::from_millis(50);

/// The wish that the task stops.
pub(crate) type Stop<'a> = Pin<&'a mut (dyn Future<Output = ()> + Send)>;

/// Why a term, or the wait for one, is over.
pub(crate) enum Over {
    /// The task is to stop.
    Stop,
    /// Who leads has changed, or may have.
    Changed,
}

/// Why a request is not taken. Nothing was done.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refusal {
    /// This node does not lead, or not yet.
    NotLeader { leader: Option<NodeId> },
    /// The task is stopping.
    Stopped,
}

/// A request that can be told that it is not taken.
pub(crate) trait Refusable {
    fn refuse(self, refusal: Refusal);
}

/// The requests of a task, and who leads its group.
pub(crate) struct Inbox<R> {
    pub(crate) requests: mpsc::Receiver<R>,
    pub(crate) leadership: watch::Receiver<Leadership>,
    /// One that came just when this node came to lead.
    early: Option<R>,
}

impl<R: Refusable> Inbox<R> {
    pub(crate) const fn new(requests: mpsc::Receiver<R>, leadership: watch::Receiver<Leadership>) -> Self {
        Self { requests, leadership, early: None }
    }

    /// Who leads now.
    pub(crate) fn led(&mut self) -> Leadership {
        *self.leadership.borrow_and_update()
    }

    /// What is to be taken first in a term.
    pub(crate) fn early(&mut self) -> Option<R> {
        self.early.take()
    }

    /// Waits until this node leads, and refuses what is asked meanwhile; `None` when the task is to stop.
    pub(crate) async fn until_led(&mut self, mut stop: Stop<'_>) -> Option<Leadership> {
        loop {
            let led = self.led();
            if led.serves_writes {
                return Some(led);
            }
            if matches!(self.refuse(led, stop.as_mut()).await, Over::Stop) {
                return None;
            }
        }
    }

    /// Tells everybody who asks that this node does not lead, until that may have changed.
    async fn refuse(&mut self, led: Leadership, mut stop: Stop<'_>) -> Over {
        let leader = led.other_leader();
        loop {
            tokio::select! {
                biased;
                () = &mut stop => return Over::Stop,
                changed = self.leadership.changed() => return if changed.is_ok() { Over::Changed } else { Over::Stop },
                request = self.requests.recv() => match request {
                    // It came to lead just now.
                    Some(request) if self.leadership.borrow().serves_writes => {
                        self.early = Some(request);
                        return Over::Changed;
                    }
                    Some(request) => request.refuse(Refusal::NotLeader { leader }),
                    None => return Over::Stop,
                },
            }
        }
    }

    /// Waits until all that was proposed in a term is decided, since until then nobody knows what stands in the log; then a
    /// moment more, where this node leads as it did.
    pub(crate) async fn end_term<T>(
        &mut self,
        led: Leadership,
        mut left: UnderWay<T>,
        mut forget: impl FnMut(T),
        mut stop: Stop<'_>,
    ) -> Over {
        while !left.is_empty() {
            tokio::select! {
                biased;
                (what, _decided) = left.next() => forget(what),
                () = &mut stop => return Over::Stop,
                request = self.requests.recv() => match request {
                    Some(request) => request.refuse(Refusal::NotLeader { leader: None }),
                    None => return Over::Stop,
                },
            }
        }
        if *self.leadership.borrow() != led {
            return Over::Changed;
        }
        let pause = tokio::time::sleep(REFUSED_PAUSE);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => return Over::Stop,
                changed = self.leadership.changed() => return if changed.is_ok() { Over::Changed } else { Over::Stop },
                () = &mut pause => return Over::Changed,
                request = self.requests.recv() => match request {
                    Some(request) => request.refuse(Refusal::NotLeader { leader: None }),
                    None => return Over::Stop,
                },
            }
        }
    }

    /// Refuses what is left, and what comes until nobody can ask any more.
    pub(crate) async fn close(mut self) {
        self.requests.close();
        if let Some(request) = self.early.take() {
            request.refuse(Refusal::Stopped);
        }
        while let Some(request) = self.requests.recv().await {
            request.refuse(Refusal::Stopped);
        }
    }
}
