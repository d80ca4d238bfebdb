//! Being given partitions and giving them up.
//!
//! ```text
//!   joined ─► given ─┬─ new ──► starts looked up ─► told ─► fed
//!                    └─ lost ─► told ─► the client releases ─► joins again, without them
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use highwater_groups::stream::command::Identity;
use highwater_metadata::MetadataImage;
use highwater_proto::v1;
use highwater_proto::v1::session_response::Kind;
use highwater_types::{ErrorCode, Offset, PartitionId, TopicId, TopicName, TopicPartition};

use super::super::feed::{Feed, Item, Source, What};
use super::super::held::{Held, Stage};
use super::super::join::Place;
use super::super::starts::{Start, Starts};
use super::Member;
use crate::front::failure::Failure;
use crate::front::grpc::error::error_of;

/// The pause before a start that could not be found is looked for again.
const RETRY: Duration = Duration::from_millis(200);

/// On the wire, where it is not known where a partition begins.
const NOT_KNOWN: i64 = -1;

impl Member {
    /// The member is in a generation.
    pub(super) async fn place(&mut self, place: Place) -> Result<(), Failure> {
        if self.attachment.is_none() {
            let member = place.member.clone();
            self.attachment = Some(self.groups.attached.attach(self.group.clone(), member));
        }
        if !std::mem::replace(&mut self.has_joined, true) {
            self.heard_at = self.groups.context.clock.instant();
        }
        self.generation = Some(place.generation);
        self.given = place.partitions.into_iter().collect();
        self.tell(Kind::Joined(v1::SessionJoined {
            member_id: place.member.to_string(),
            generation: place.generation.get(),
            assignor: place.assignor,
        }));
        let is_first = !self.is_told;
        let before = if is_first { self.held_before() } else { BTreeMap::new() };
        let was_more = before.keys().any(|at| !self.given.contains(at));
        let (revoked, is_any_gone) = self.holdings.revoke_all_but(&self.given);
        if !revoked.is_empty() {
            self.tell(Kind::Revoke(v1::PartitionNames { partitions: revoked }));
        }
        let (known, unknown) = self.begin_new(&before);
        let goes_on = self.opening.member.is_some();
        if is_first && (goes_on || self.given.is_empty()) {
            // Whole, before anything else is looked up: what the client held and is not in this list is gone for it.
            self.start(known);
        }
        self.find_starts(unknown, Duration::ZERO);
        if let Some(by) = self.identity() {
            let holds = |at: &TopicPartition| self.holdings.0.contains_key(at);
            let refused = |at| self.groups.not_assigned(at);
            self.commits.keep_early(holds, refused);
            self.commits.send_early(&self.handle, &self.group, &by).await?;
        }
        let gave_up = (is_any_gone || was_more) && !self.holdings.is_revoking();
        if std::mem::take(&mut self.joins_again) || gave_up {
            self.begin_join();
        }
        self.beat_if_rung();
        Ok(())
    }

    /// Begins with what is given and not held yet: what an earlier stream read goes on where it was, the starts of the rest
    /// have to be found.
    fn begin_new(
        &mut self,
        before: &BTreeMap<TopicPartition, Offset>,
    ) -> (Vec<Start>, Vec<(TopicPartition, TopicName)>) {
        let image = Arc::clone(&self.images.borrow());
        let new: Vec<_> = self.given.iter().filter(|at| !self.holdings.0.contains_key(at)).copied().collect();
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for at in new {
            let Some(topic) = image.topic_by_id(at.topic) else { continue };
            if self.holdings.is_revoking_named(&topic.name, at.partition) {
                // Another topic of that name, which the client has to let go first; it joins again then.
                continue;
            }
            self.last_serial += 1;
            let held = Held {
                topic: topic.name.clone(),
                stage: Stage::Starting,
                position: Offset::ZERO,
                end: Offset::ZERO,
                given: self.last_serial,
                serial: self.last_serial,
                is_paused: false,
            };
            self.holdings.0.insert(at, held);
            match before.get(&at) {
                Some(position) => known.push((at, Ok(*position))),
                None => unknown.push((at, topic.name.clone())),
            }
        }
        (known, unknown)
    }

    /// Has the group begin with topics that have just come, at their first record: whoever is given them later could not
    /// tell that they came after the group began to read.
    pub(super) fn begin_with_new(&self, image: &MetadataImage, topics: &[TopicId]) {
        let first = |topic: &TopicId| {
            let name = image.topic_by_id(*topic)?.name.clone();
            Some((TopicPartition { topic: *topic, partition: PartitionId::new(0) }, name))
        };
        let is_latest = self.opening.reading.reset == v1::OffsetReset::Latest;
        let Some(by) = self.identity().filter(|_| is_latest) else { return };
        let partitions: Vec<_> = topics.iter().filter(|topic| !self.known.contains(topic)).filter_map(first).collect();
        if !partitions.is_empty() {
            let starts = self.starts(by, partitions);
            self.starting.push(Box::pin(async move {
                starts.begin_all().await;
                Ok(Vec::new())
            }));
        }
    }

    /// Looks for the starts of partitions.
    fn find_starts(&self, partitions: Vec<(TopicPartition, TopicName)>, pause: Duration) {
        let Some(by) = self.identity().filter(|_| !partitions.is_empty()) else { return };
        let starts = self.starts(by, partitions);
        self.starting.push(Box::pin(async move {
            tokio::time::sleep(pause).await;
            starts.find().await
        }));
    }

    fn starts(&self, by: Identity, partitions: Vec<(TopicPartition, TopicName)>) -> Starts {
        Starts {
            groups: self.groups.clone(),
            handle: self.handle.clone(),
            group: self.group.clone(),
            by,
            reset: self.opening.reading.reset,
            opened_at: self.opened_at,
            known: self.known.clone(),
            partitions,
        }
    }

    /// Starts of partitions are known: the client is told, and they are read.
    pub(super) fn start(&mut self, starts: Vec<Start>) {
        let (mut assigned, mut failed, mut again) = (Vec::new(), Vec::new(), Vec::new());
        for (at, start) in starts {
            let Some(held) = self.holdings.0.get_mut(&at).filter(|held| matches!(held.stage, Stage::Starting)) else {
                continue;
            };
            let (topic, partition) = (held.topic.to_string(), at.partition.get());
            match start {
                Ok(offset) => {
                    (held.position, held.end, held.stage) = (offset, offset, Stage::Reading(None));
                    assigned.push(v1::AssignedPartition { topic, partition, offset: offset.to_wire() });
                    self.feed(at);
                }
                Err(failure) if failure.code.is_retryable() => again.push((at, held.topic.clone())),
                Err(failure) => {
                    held.stage = Stage::Reading(None);
                    assigned.push(v1::AssignedPartition { topic, partition, offset: NOT_KNOWN });
                    failed.push((at, failure));
                }
            }
        }
        if !assigned.is_empty() || !self.is_told {
            self.is_told = true;
            self.tell(Kind::Assigned(v1::SessionAssigned { partitions: assigned }));
        }
        failed.into_iter().for_each(|(at, failure)| self.tell_failed(at, &failure));
        if !again.is_empty() && !self.is_leaving {
            self.find_starts(again, RETRY);
        }
    }

    /// Reads a partition from its position on; what was read before does not count.
    pub(super) fn feed(&mut self, at: TopicPartition) {
        self.last_serial += 1;
        let Some(held) = self.holdings.0.get_mut(&at) else { return };
        held.serial = self.last_serial;
        let source = Source {
            read: self.groups.read.clone(),
            at,
            topic: held.topic.clone(),
            from: held.position,
            reading: self.opening.reading,
            serial: held.serial,
            credit: Arc::clone(&self.credit),
            items: self.items_in.clone(),
        };
        held.stage = Stage::Reading(Some(Feed::start(source, held.is_paused)));
    }

    /// Hands on what a feed has read, if the client still wants it.
    pub(super) fn pass_on(&mut self, item: Item) {
        let Item { at, serial, what } = item;
        let is_wanted = |held: &&mut Held| held.serial == serial && matches!(held.stage, Stage::Reading(_));
        let Some(held) = self.holdings.0.get_mut(&at).filter(is_wanted) else { return };
        match what {
            What::Records { pieces, bytes, next, end } => {
                self.credit.take(bytes);
                (held.position, held.end) = (next, held.end.max(end));
                self.outgoing.push_back(pieces);
            }
            What::Failed(failure) => {
                held.stage = Stage::Reading(None);
                match self.elsewhere(&failure) {
                    Some(offset) => {
                        tracing::info!(group = %self.group, partition = %self.name(at), %failure, to = %offset,
                            "the offset of a group is not kept; records are skipped");
                        self.jump(at, offset);
                    }
                    None => self.tell_failed(at, &failure),
                }
            }
        }
    }

    /// Where to go on when an offset is out of range, if the member wants to go on by itself.
    fn elsewhere(&self, failure: &Failure) -> Option<Offset> {
        let valid = failure.valid.filter(|_| failure.code == ErrorCode::OffsetOutOfRange)?;
        match self.opening.reading.reset {
            v1::OffsetReset::Latest => Some(valid.end),
            v1::OffsetReset::Earliest | v1::OffsetReset::Unspecified => Some(valid.start),
            v1::OffsetReset::Error => None,
        }
    }

    /// Goes on at another offset.
    pub(super) fn jump(&mut self, at: TopicPartition, offset: Offset) {
        if let Some(held) = self.holdings.0.get_mut(&at) {
            (held.position, held.end) = (offset, held.end.max(offset));
            self.feed(at);
        }
    }

    fn tell_failed(&mut self, at: TopicPartition, failure: &Failure) {
        let v1::PartitionName { topic, partition } = self.groups.partition_name(at);
        self.tell(Kind::Failed(v1::PartitionFailed { topic, partition, error: Some(error_of(failure)) }));
    }

    fn name(&self, at: TopicPartition) -> String {
        let v1::PartitionName { topic, partition } = self.groups.partition_name(at);
        format!("{topic}/{partition}")
    }
}
