//! The handle through which fronts use the queues of a partition.

use highwater_groups::queue::{
    Acquired, Answer, Command, Context, Desk, GroupId, Outcome, Queue, QueueConfig, QueuesImage, WorkerId,
};
use highwater_metadata::QueueRetention;
use highwater_types::{NodeId, Offset};
use tokio::sync::{mpsc, oneshot};

use super::error::QueueError;
use super::state::SharedQueues;
use super::task::Request;
use crate::planted::{Bug, is_planted};
use crate::raft::{ReadBarrierError, Replica};

/// An answer on its way.
pub type Reply = oneshot::Receiver<Result<Answer, QueueError>>;

/// A cheap handle on the queues of a partition of this node. Clones are the same.
#[derive(Clone, Debug)]
pub struct QueueHandle {
    requests: mpsc::Sender<Request>,
    image: SharedQueues,
    replica: Replica,
}

impl QueueHandle {
    pub(crate) const fn new(requests: mpsc::Sender<Request>, image: SharedQueues, replica: Replica) -> Self {
        Self { requests, image, replica }
    }

    /// Asks for messages. They were this leader's to give: where another leads by now, it may have had them acked, and
    /// that a message is done is known to its worker before anybody else asks.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn acquire(&self, group: &GroupId, worker: WorkerId, max: usize) -> Result<Acquired, QueueError> {
        let acquired = match self.ask(group, Command::Acquire { worker: worker.clone(), max }).await? {
            Answer::Acquire(acquired) => acquired,
            // No other answer is given to this command.
            _ => return Err(QueueError::OutcomeUnknown),
        };
        if acquired.leases.is_empty() || is_planted(Bug::GivenByOldLeader) {
            return Ok(acquired);
        }
        let Err(leader) = self.confirm().await else { return Ok(acquired) };
        // If it leads after all, nobody is to wait for the end of these leases, or to count an attempt.
        let outcomes = acquired.leases.iter().map(|lease| (lease.token, Outcome::Release)).collect();
        let _nobody_waits = self.send(group, Command::Settle { worker, outcomes }).await;
        Err(QueueError::NotLeader { leader })
    }

    /// Whether this node still led after the call; else who does, if that is known.
    async fn confirm(&self) -> Result<(), Option<NodeId>> {
        match self.replica.read_barrier().await {
            Ok(_) => Ok(()),
            Err(ReadBarrierError::NotLeader { leader }) => Err(leader),
            Err(ReadBarrierError::NoQuorum | ReadBarrierError::Stopped) => Err(None),
        }
    }

    /// Asks a group, and waits for the answer.
    ///
    /// # Errors
    /// [`QueueError`]; only `OutcomeUnknown` leaves open whether it was done.
    pub async fn ask(&self, group: &GroupId, command: Command) -> Result<Answer, QueueError> {
        received(self.send(group, command).await?).await
    }

    /// Asks a group. Commands of one caller are decided in the order of its calls; waits only for room in the queue.
    ///
    /// # Errors
    /// When the partition is stopping.
    pub async fn send(&self, group: &GroupId, command: Command) -> Result<Reply, QueueError> {
        let (reply, answer) = oneshot::channel();
        self.request(Request::Command { group: group.clone(), command, reply }).await?;
        Ok(answer)
    }

    /// Makes a group, which begins with what is kept or with what comes from now on. Returns whether it was made; one that
    /// is there stays as it is.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn create(&self, group: &GroupId, config: QueueConfig, from_end: bool) -> Result<bool, QueueError> {
        let (reply, made) = oneshot::channel();
        self.request(Request::Create { group: group.clone(), config, from_end, reply }).await?;
        made.await.unwrap_or(Err(QueueError::OutcomeUnknown))
    }

    /// Looks at a group where it is decided, without changing it.
    ///
    /// # Errors
    /// [`QueueError`].
    pub async fn look<T: Send + 'static>(
        &self,
        group: &GroupId,
        look: impl FnOnce(&Desk, &Queue, &Context) -> T + Send + Sync + 'static,
    ) -> Result<T, QueueError> {
        let (reply, seen) = oneshot::channel();
        let look: super::task::Look = Box::new(move |looked| {
            let seen = looked.map(|(desk, queue, context)| look(desk, queue, context));
            let _gone = reply.send(seen);
        });
        self.request(Request::Look { group: group.clone(), look }).await?;
        seen.await.unwrap_or(Err(QueueError::OutcomeUnknown))
    }

    /// Resolves when the worker may get something, or when this node leads no more. A hint: others may be faster.
    ///
    /// # Errors
    /// When the partition is stopping.
    pub async fn available(&self, group: &GroupId, worker: &WorkerId) -> Result<oneshot::Receiver<()>, QueueError> {
        let (wake, woken) = oneshot::channel();
        self.request(Request::Wait { group: group.clone(), worker: worker.clone(), wake }).await?;
        Ok(woken)
    }

    /// The log begins later now: groups forget what is gone.
    pub(crate) fn trimmed(&self) {
        // When the queue of requests is full the next retention tells.
        let _full = self.requests.try_send(Request::Trimmed);
    }

    /// The settings of a group, as they are committed and applied here.
    #[must_use]
    pub fn config(&self, group: &GroupId) -> Option<QueueConfig> {
        self.image.lock().queue(group).map(|queue| *queue.config())
    }

    /// The groups as they are committed and applied here.
    #[must_use]
    pub fn image(&self) -> QueuesImage {
        self.image.lock().clone()
    }

    /// The first offset at which some of these groups need the log; nothing when no group lets records go.
    pub(crate) fn done_below(&self, retention: &QueueRetention) -> Option<Offset> {
        self.first_of(retention, Queue::first_in_log)
    }

    /// The same, were the records of all that is dead kept.
    pub(crate) fn open_below(&self, retention: &QueueRetention) -> Option<Offset> {
        self.first_of(retention, Queue::first_open)
    }

    fn first_of(&self, retention: &QueueRetention, first: impl Fn(&Queue) -> Offset) -> Option<Offset> {
        let image = self.image.lock();
        match retention {
            QueueRetention::None => None,
            QueueRetention::Interest => image.queues().map(|(_, queue)| first(queue)).min(),
            QueueRetention::Ack(groups) => {
                // One that is not there yet is done with nothing.
                let of_group = |group: &String| image.queue(&GroupId::new(group).ok()?).map(&first);
                let all: Option<Vec<Offset>> = groups.iter().map(of_group).collect();
                all?.into_iter().min()
            }
        }
    }

    async fn request(&self, request: Request) -> Result<(), QueueError> {
        self.requests.send(request).await.map_err(|_| QueueError::Stopped)
    }
}

/// Waits for an answer.
///
/// # Errors
/// See [`QueueHandle::ask`].
pub async fn received(reply: Reply) -> Result<Answer, QueueError> {
    // The task drops a request unanswered only when it ends in the middle of it.
    reply.await.unwrap_or(Err(QueueError::OutcomeUnknown))
}
