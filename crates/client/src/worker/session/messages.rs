//! What comes: messages of the server and ends of handlers, and what is made of them.

use std::time::Duration;

use highwater_proto::v1;
use highwater_proto::v1::work_response::Kind;
use highwater_types::{Offset, PartitionId};
use tonic::Status;

use super::super::error::WorkError;
use super::super::handle::Event;
use super::super::hands::{Answer, Place};
use super::{ConnectionError, Failure, OpenStream, Over, Session, clock};
use crate::queue::{MessageOutcome, MessageToken, QueueMessage};
use crate::request::RequestError;

impl Session {
    /// Takes a message, or what came instead of one.
    pub(super) fn on_message(
        &mut self,
        stream: &OpenStream,
        message: Result<Option<v1::WorkResponse>, Status>,
    ) -> Result<(), Over> {
        let has_left = stream.is_drain_told && self.hands.are_empty();
        let failure = match message {
            Ok(Some(message)) => {
                if let Some(kind) = message.kind {
                    self.on_kind(kind);
                }
                return Ok(());
            }
            Ok(None) => Failure::Broken(ConnectionError::new(&stream.server, "the server ended the stream")),
            Err(status) => Failure::from_status(&stream.server, &status),
        };
        Err(if has_left { Over::Done } else { Over::Broken(failure) })
    }

    fn on_kind(&mut self, kind: Kind) {
        match kind {
            Kind::Opened(opened) => {
                self.finder.on_success();
                self.failing_since = None;
                if !opened.worker.is_empty() {
                    self.name = opened.worker;
                }
            }
            Kind::Messages(messages) => {
                for message in messages.messages {
                    self.on_queue_message(message);
                }
            }
            Kind::Settled(settled) => self.on_settled(settled),
            // Only nodes ask for it.
            Kind::Available(_) => {}
        }
    }

    fn on_queue_message(&mut self, message: v1::QueueMessage) {
        let (token, lease) = (MessageToken(message.token.clone()), Duration::from_millis(message.lease_ms));
        let offset = message.record.as_ref().and_then(|record| Offset::from_wire(record.offset)).unwrap_or_default();
        let place = Place { partition: PartitionId::new(message.partition), offset };
        let Some(serial) = self.hands.take(place, token, lease, clock::now()) else { return };
        let Some(message) = QueueMessage::from_wire(&self.topic, message) else {
            // Another version could make sense of it.
            tracing::warn!(group = %self.settings.group, "a message without a record came, and goes back");
            self.hands.finish(serial, MessageOutcome::Release);
            return;
        };
        self.shared.count(Event::Received);
        self.handlers.start(serial, message);
    }

    fn on_settled(&mut self, settled: v1::SettledBatch) {
        let group = &self.settings.group;
        for answer in self.hands.on_settled(settled, clock::now()) {
            match answer {
                Answer::Settled(settled) => {
                    match &settled.result {
                        Ok(state) => self.shared.count_settled(*state),
                        Err(error) => {
                            self.shared.count(Event::Lost);
                            let (partition, offset) = (settled.partition, settled.offset);
                            tracing::warn!(%group, %partition, %offset, %error, "a message was settled in vain");
                        }
                    }
                    if let Some(observer) = &self.settings.observer {
                        observer.0(&settled);
                    }
                }
                Answer::NotExtended(error) => tracing::warn!(%group, %error, "a lease was not extended"),
            }
        }
    }

    /// Handlers that have ended: what they came to is to be told.
    pub(super) fn take_finished(&mut self) {
        for finished in self.handlers.take_finished() {
            if finished.has_panicked {
                self.shared.count(Event::Panicked);
                tracing::error!(group = %self.settings.group, "a handler panicked; its message has failed");
            }
            self.hands.finish(finished.serial, finished.outcome);
        }
    }

    /// Whether the queue has nothing more for anybody.
    pub(super) fn on_emptiness(&mut self, is_idle: Result<bool, RequestError>) -> Result<(), Over> {
        match is_idle {
            Ok(true) if self.hands.are_empty() => self.begin_to_stop(),
            Ok(_) => {}
            Err(source) => {
                let (topic, group) = (self.settings.topic.clone(), self.settings.group.clone());
                return Err(Over::Fatal(Box::new(WorkError::Counts { topic, group, source })));
            }
        }
        Ok(())
    }
}
