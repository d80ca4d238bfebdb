//! The server's messages: out of their form on the wire, into the state and to the listener.

use highwater_proto::v1::session_response::Kind;
use highwater_types::Offset;

use super::super::rebalance::{AssignedPartition, TopicPartitionName};
use super::super::records;
use super::{Arc, ConnectionError, Failure, Phase, Session, Status, clock, v1};
use crate::error::ServerError;

impl Session {
    /// Takes a message, or what came instead of one; whether the member has left.
    pub(super) fn on_message(
        &mut self,
        server: &Arc<str>,
        message: Result<Option<v1::SessionResponse>, Status>,
    ) -> Result<bool, Failure> {
        let has_left = self.shared.with(|state| state.phase()) == Phase::Leaving;
        let failure = match message {
            Ok(Some(message)) => {
                if let Some(kind) = message.kind {
                    self.on_kind(kind);
                }
                return Ok(false);
            }
            Ok(None) => Failure::Broken(ConnectionError::new(server, "the server ended the stream")),
            Err(status) => Failure::from_status(server, &status),
        };
        if has_left { Ok(true) } else { Err(failure) }
    }

    fn on_kind(&mut self, kind: Kind) {
        match kind {
            Kind::Joined(joined) => {
                self.finder.on_success();
                self.failing_since = None;
                self.shared.with(|state| state.on_joined(joined));
            }
            Kind::Assigned(assigned) => self.on_assigned(&assigned),
            Kind::Revoke(revoke) => {
                let names = revoke.partitions.iter();
                let names =
                    names.filter_map(|name| TopicPartitionName::from_wire(&name.topic, name.partition)).collect();
                self.shared.with(|state| state.on_revoke(names, clock::now()));
            }
            Kind::Records(records) => self.on_records(records),
            Kind::Committed(committed) => self.on_committed(committed),
            Kind::Sought(sought) => self.on_sought(sought),
            Kind::Failed(failed) => {
                if let Some(name) = TopicPartitionName::from_wire(&failed.topic, failed.partition) {
                    let error = ServerError::from_wire(failed.error.unwrap_or_default());
                    self.shared.with(|state| state.on_failed(name, error));
                }
            }
        }
    }

    fn on_assigned(&mut self, assigned: &v1::SessionAssigned) {
        let listed = assigned.partitions.iter().filter_map(AssignedPartition::from_wire).collect();
        let change = self.shared.with(|state| state.on_assigned(listed));
        if !change.lost.is_empty() {
            self.listener.lost(&change.lost);
        }
        if !change.assigned.is_empty() {
            self.listener.assigned(&change.assigned);
        }
    }

    fn on_records(&mut self, message: v1::SessionRecords) {
        let Some(response) = message.read else { return };
        let Some(name) = TopicPartitionName::from_wire(&message.topic, message.partition) else { return };
        let bytes = records::bytes(&response);
        let Some(expected) = self.shared.with(|state| state.expected(&name)) else {
            return self.shared.with(|state| state.drop_received(&name, bytes));
        };
        let received = records::check(&name, expected.position, response, self.verify_checksums);
        self.shared.with(|state| state.store(&name, expected, received));
    }

    fn on_committed(&mut self, committed: v1::SessionCommitted) {
        let refused = committed.refused.into_iter().filter_map(|refused| {
            let name = TopicPartitionName::from_wire(&refused.topic, refused.partition)?;
            Some((name, ServerError::from_wire(refused.error?)))
        });
        let (request, refused, error) =
            (committed.request, refused.collect(), committed.error.map(ServerError::from_wire));
        let answered = self.shared.with(|state| state.on_committed(request, refused, error));
        let Some(error) = answered.untold else { return };
        tracing::warn!(group = %self.open.group, %error, "offsets were not committed");
        if self.shared.with(|state| state.phase()) == Phase::Closing {
            self.not_committed = Some(error);
        }
    }

    fn on_sought(&mut self, sought: v1::SessionSought) {
        let Some(name) = TopicPartitionName::from_wire(&sought.topic, sought.partition) else { return };
        let offset = sought.offset.and_then(Offset::from_wire);
        let result = offset.ok_or_else(|| ServerError::from_wire(sought.error.unwrap_or_default()));
        self.shared.with(|state| state.on_sought(&name, sought.request, result));
    }
}
