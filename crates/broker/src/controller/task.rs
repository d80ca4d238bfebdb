//! The one task that decides: takes a command, decides on the newest image, proposes, answers after the apply.

use std::sync::Arc;

use bytes::Bytes;
use highwater_metadata::{Command, Context, MetadataImage, Policy, Reply, decide, record};
use highwater_storage::{EntryKind, Log, framed_bytes};
use highwater_types::{Term, TopicId};
use tokio::sync::{mpsc, oneshot, watch};

use super::ControllerError;
use crate::clock::Clock;
use crate::raft::{Proposal, ProposeError, Replica};
use crate::runtime::blocking;

/// A command on its way, and where its answer goes.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) command: Command,
    pub(super) reply: oneshot::Sender<Result<Reply, ControllerError>>,
}

pub(super) struct Task {
    pub(super) replica: Replica,
    pub(super) log: Log,
    pub(super) image: watch::Receiver<Arc<MetadataImage>>,
    pub(super) policy: Policy,
    pub(super) clock: Clock,
    pub(super) requests: mpsc::Receiver<Request>,
}

impl Task {
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

    async fn execute(&self, command: &Command) -> Result<Reply, ControllerError> {
        let leadership = *self.replica.leadership().borrow();
        // A leader that has not yet applied what earlier leaders committed would decide on an old image.
        if !leadership.serves_writes {
            return Err(ControllerError::NotController { leader: leadership.leader });
        }
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

    /// Waits until the records are committed and applied. They were decided on in `term` and are true in it only.
    async fn commit(&self, payload: Bytes, term: Term) -> Result<(), ControllerError> {
        // A write that finds no room ends the group, so room is made sure of before.
        let (log, bytes) = (self.log.clone(), framed_bytes(payload.len()));
        let reserved = blocking(move || log.reserve(bytes)).await;
        reserved.map_err(|_| ControllerError::Stopped)??;
        let proposal = Proposal { kind: EntryKind::Metadata, payload, term: Some(term), on_append: None, fence: None };
        match self.replica.submit(proposal).await.await {
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
