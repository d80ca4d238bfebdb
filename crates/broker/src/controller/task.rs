//! The one task that decides: takes a command, decides on the newest image, proposes, answers after the apply.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use highwater_metadata::{Command, CommandError, Context, MetadataImage, Policy, Reply, decide, record};
use highwater_storage::{EntryKind, Log, framed_bytes};
use highwater_types::{Term, TopicId};
use tokio::sync::{mpsc, oneshot, watch};

use super::ControllerError;
use crate::clock::Clock;
use crate::raft::{OWN_BYTES_MAX, Proposal, ProposeError, ProposeTicket, Replica};
use crate::runtime::blocking;

/// How long the entry of a command may take to be committed.
const COMMIT_PATIENCE: Duration = Duration::from_secs(5);

/// How long a command waits for the end of one that was given up.
const SETTLE_PATIENCE: Duration = Duration::from_millis(500);

/// A command on its way, and where its answer goes.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) command: Command,
    pub(super) reply: oneshot::Sender<Result<Reply, ControllerError>>,
}

pub(super) struct Task {
    replica: Replica,
    log: Log,
    image: watch::Receiver<Arc<MetadataImage>>,
    policy: Policy,
    clock: Clock,
    requests: mpsc::Receiver<Request>,
    /// An entry that took so long that its command was answered as unknown. What is decided next must know its end.
    open: Option<ProposeTicket>,
}

impl Task {
    pub(super) fn new(
        replica: Replica,
        log: Log,
        image: watch::Receiver<Arc<MetadataImage>>,
        policy: Policy,
        clock: Clock,
        requests: mpsc::Receiver<Request>,
    ) -> Self {
        Self { replica, log, image, policy, clock, requests, open: None }
    }

    /// Runs until `stop`, or until no handle is left. What waits then is answered as not done.
    pub(super) async fn run(mut self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        loop {
            let request = tokio::select! {
                biased;
                () = &mut stop => break,
                request = self.requests.recv() => match request {
                    Some(request) => request,
                    None => break,
                },
            };
            let answer = self.execute(&request.command).await;
            if let Err(error) = &answer {
                tracing::debug!(command = ?request.command, %error, "a command failed");
            }
            // Whoever asked may have gone; what was done stays done.
            let _gone = request.reply.send(answer);
        }
        self.requests.close();
        while let Some(request) = self.requests.recv().await {
            let _gone = request.reply.send(Err(ControllerError::Stopped));
        }
    }

    async fn execute(&mut self, command: &Command) -> Result<Reply, ControllerError> {
        let leadership = *self.replica.leadership().borrow();
        // A leader that has not yet applied what earlier leaders committed would decide on an old image.
        if !leadership.serves_writes {
            return Err(ControllerError::NotController { leader: leadership.leader });
        }
        if let Command::RemoveNode { node } = command
            && self.replica.status().members.having_say().contains(node)
        {
            return Err(CommandError::NodeVotes { node: *node }.into());
        }
        self.settle().await?;
        let image = Arc::clone(&self.image.borrow());
        let decision = decide(&image, command, &self.context())?;
        if !decision.records.is_empty() {
            self.commit(record::encode(&decision.records), leadership.term).await?;
            for record in &decision.records {
                tracing::info!(%record, "metadata changed");
            }
        }
        Ok(decision.reply)
    }

    /// Waits for the end of an entry that was given up. Until then nobody knows what the image will be.
    async fn settle(&mut self) -> Result<(), ControllerError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        if tokio::time::timeout(SETTLE_PATIENCE, open).await.is_err() {
            return Err(ControllerError::NotController { leader: None });
        }
        self.open = None;
        Ok(())
    }

    /// Waits until the records are committed and applied. They were decided on in `term` and are true in it only.
    async fn commit(&mut self, payload: Bytes, term: Term) -> Result<(), ControllerError> {
        // A write that finds no room ends the group, so room is made sure of before.
        let (log, bytes) = (self.log.clone(), framed_bytes(payload.len()) + OWN_BYTES_MAX);
        let reserved = blocking(move || log.reserve(bytes)).await;
        reserved.map_err(|_| ControllerError::Stopped)??;
        let proposal = Proposal { kind: EntryKind::Metadata, payload, term: Some(term), on_append: None, fence: None };
        let mut ticket = self.replica.submit(proposal).await;
        let Ok(done) = tokio::time::timeout(COMMIT_PATIENCE, &mut ticket).await else {
            self.open = Some(ticket);
            return Err(ControllerError::OutcomeUnknown);
        };
        match done {
            Ok(_committed) => Ok(()),
            Err(ProposeError::NotLeader { leader }) => Err(ControllerError::NotController { leader }),
            Err(ProposeError::Stopped) => Err(ControllerError::Stopped),
            Err(ProposeError::OutcomeUnknown) => Err(match self.log.poisoned() {
                Some(poisoned) => ControllerError::StorageFailed { reason: poisoned.reason().to_owned() },
                None => ControllerError::OutcomeUnknown,
            }),
        }
    }

    fn context(&self) -> Context {
        Context {
            now: self.clock.now(),
            topic_id: TopicId::new(self.clock.unique_id()),
            seed: self.clock.unique_id().as_u64_pair().1,
            policy: self.policy,
        }
    }
}
