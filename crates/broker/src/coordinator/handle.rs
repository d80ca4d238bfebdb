//! The handle through which fronts use a coordinator.

use highwater_groups::stream::{Answer, Command, GroupId, GroupsImage};
use highwater_storage::Log;
use tokio::sync::{mpsc, oneshot, watch};

use super::bell::Bells;
use super::error::CoordinatorError;
use super::state::SharedImage;
use super::task::Request;
use crate::raft::{Leadership, ReadBarrierError, Replica};

/// An answer on its way.
pub type Reply = oneshot::Receiver<Result<Answer, CoordinatorError>>;

/// A cheap handle on a coordinator of this node. Clones are the same coordinator.
#[derive(Clone, Debug)]
pub struct CoordinatorHandle {
    requests: mpsc::Sender<Request>,
    replica: Replica,
    log: Log,
    image: SharedImage,
    bells: Bells,
}

impl CoordinatorHandle {
    pub(super) fn new(
        requests: mpsc::Sender<Request>,
        replica: Replica,
        log: Log,
        image: SharedImage,
        bells: Bells,
    ) -> Self {
        Self { requests, replica, log, image, bells }
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`CoordinatorError`]; only `OutcomeUnknown` leaves open whether it was done.
    pub async fn ask(&self, command: Command) -> Result<Answer, CoordinatorError> {
        received(self.send(command).await?).await
    }

    /// Asks. Commands of one caller are decided in the order of its calls; waits only for room in the queue.
    ///
    /// # Errors
    /// When the coordinator is stopping.
    pub async fn send(&self, command: Command) -> Result<Reply, CoordinatorError> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request { command, reply }).await.map_err(|_| CoordinatorError::Stopped)?;
        Ok(answer)
    }

    /// Makes sure that what is asked next is answered by a coordinator that nobody has taken over from meanwhile.
    ///
    /// # Errors
    /// When this node does not lead, or cannot know whether it does.
    pub async fn confirm(&self) -> Result<(), CoordinatorError> {
        match self.replica.read_barrier().await {
            Ok(_) => Ok(()),
            Err(ReadBarrierError::NotLeader { leader }) => Err(CoordinatorError::NotCoordinator { leader }),
            Err(ReadBarrierError::NoQuorum) => Err(CoordinatorError::NotCoordinator { leader: None }),
            Err(ReadBarrierError::Stopped) => Err(CoordinatorError::Stopped),
        }
    }

    /// Rings when the members of a group are to join again.
    #[must_use]
    pub fn bell(&self, group: &GroupId) -> watch::Receiver<()> {
        self.bells.hear(group)
    }

    /// The groups as they are committed and applied here. Cheap: it shares what it holds.
    #[must_use]
    pub fn image(&self) -> GroupsImage {
        self.image.lock().clone()
    }

    /// Who leads, now and from now on.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.replica.leadership()
    }

    /// The replica below.
    #[must_use]
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// How many bytes its entries take on disk.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.log.state().size_bytes
    }
}

/// Waits for an answer.
///
/// # Errors
/// See [`CoordinatorHandle::ask`].
pub async fn received(reply: Reply) -> Result<Answer, CoordinatorError> {
    // The task drops a request unanswered only when it ends in the middle of it.
    reply.await.unwrap_or(Err(CoordinatorError::OutcomeUnknown))
}
