//! What the client asks for on its stream, once it is open.

use highwater_proto::v1;
use highwater_proto::v1::session_request::Kind as Asked;
use highwater_proto::v1::session_response::Kind;
use highwater_types::{ErrorCode, Offset, OffsetRange, TopicPartition};

use super::super::commits::Commit;
use super::super::held::{Held, Stage};
use super::super::subscription::Subscription;
use super::{Member, Sought};
use crate::front::failure::Failure;
use crate::front::grpc::error::error_of;
use crate::front::grpc::groups::Groups;
use crate::front::grpc::groups::offsets::refused_of;

impl Member {
    pub(super) async fn take(&mut self, asked: Asked) -> Result<(), Failure> {
        match asked {
            Asked::Open(_) => return Err(Failure::invalid("the session is open already; start another")),
            Asked::Heartbeat(v1::SessionHeartbeat {}) => {
                self.heard();
                self.beat();
            }
            Asked::Credit(credit) => self.credit.give(credit.bytes),
            Asked::Commit(commit) => {
                self.heard();
                self.commit(commit).await?;
            }
            Asked::Released(released) => self.release(&released.partitions),
            Asked::Pause(names) => self.set_paused(&names.partitions, true),
            Asked::Resume(names) => self.set_paused(&names.partitions, false),
            Asked::Seek(seek) => self.seek(seek),
            Asked::Subscribe(subscription) => {
                self.opening.subscription = Subscription::of(subscription)?;
                self.look_at_topics();
            }
            Asked::Leave(v1::SessionLeave {}) => self.is_leaving = true,
        }
        Ok(())
    }

    fn heard(&mut self) {
        self.heard_at = self.groups.context.clock.instant();
    }

    async fn commit(&mut self, commit: v1::SessionCommit) -> Result<(), Failure> {
        let v1::SessionCommit { request, offsets: asked } = commit;
        let (mut offsets, mut refused) = (Vec::with_capacity(asked.len()), Vec::new());
        for one in &asked {
            let judged = self.known(&one.topic, one.partition).and_then(|(_, held)| {
                self.groups.new_offset(one, Some(OffsetRange::new(Offset::ZERO, held.end.max(held.position))))
            });
            match judged {
                Ok(offset) => offsets.push(offset),
                Err(failure) => refused.push(refused_of(&one.topic, one.partition, &failure)),
            }
        }
        match self.identity().filter(|_| !offsets.is_empty()) {
            Some(by) => {
                let commit = Commit { request, offsets, refused };
                self.commits.send(&self.handle, &self.group, &by, commit).await
            }
            None => {
                self.tell(Kind::Committed(v1::SessionCommitted { request, refused, error: None }));
                Ok(())
            }
        }
    }

    /// A partition that the member holds and the client knows of.
    fn known(&self, topic: &str, partition: u32) -> Result<(TopicPartition, &Held), Failure> {
        let at = self.groups.partition_id(topic, partition)?;
        let held = self.holdings.0.get(&at).filter(|held| !matches!(held.stage, Stage::Starting));
        Ok((at, held.ok_or_else(|| not_assigned(topic, partition))?))
    }

    fn release(&mut self, partitions: &[v1::PartitionName]) {
        let mut is_any = false;
        for name in partitions {
            if let Ok(at) = self.groups.partition_id(&name.topic, name.partition) {
                is_any |= self.holdings.release(at);
            }
        }
        // Of topics that are gone nothing can be named any more.
        is_any |= self.holdings.forget_deleted(&self.images.borrow());
        if is_any && !self.holdings.is_revoking() {
            self.begin_join();
        }
    }

    fn set_paused(&mut self, partitions: &[v1::PartitionName], is_paused: bool) {
        for name in partitions {
            let Ok(at) = self.groups.partition_id(&name.topic, name.partition) else { continue };
            let Some(held) = self.holdings.0.get_mut(&at) else { continue };
            held.is_paused = is_paused;
            if let Stage::Reading(Some(feed)) = &held.stage {
                feed.set_paused(is_paused);
            }
        }
    }

    fn seek(&mut self, seek: v1::SessionSeek) {
        let v1::SessionSeek { request, topic, partition, to } = seek;
        let (at, given) = match self.known(&topic, partition) {
            Ok((at, held)) => (at, held.given),
            Err(failure) => return self.tell_sought(request, &topic, partition, Err(&failure)),
        };
        let groups = self.groups.clone();
        self.seeks.push(Box::pin(async move {
            let to = groups.sought(&topic, partition, to).await;
            Sought { request, at, given, to }
        }));
    }

    /// A seek is decided. What was sent to the client before this is from before the seek.
    pub(super) fn sought(&mut self, sought: Sought) {
        let Sought { request, at, given, to } = sought;
        let v1::PartitionName { topic, partition } = self.groups.partition_name(at);
        let held = self.holdings.0.get(&at);
        let is_read = held.is_some_and(|held| held.given == given && matches!(held.stage, Stage::Reading(_)));
        match to {
            Ok(offset) if is_read => {
                self.jump(at, offset);
                self.tell_sought(request, &topic, partition, Ok(offset));
            }
            Ok(_) => {
                self.tell_sought(request, &topic, partition, Err(&not_assigned(&topic, partition)));
            }
            Err(failure) => self.tell_sought(request, &topic, partition, Err(&failure)),
        }
    }

    fn tell_sought(&mut self, request: u64, topic: &str, partition: u32, to: Result<Offset, &Failure>) {
        self.tell(Kind::Sought(v1::SessionSought {
            request,
            topic: topic.to_owned(),
            partition,
            offset: to.as_ref().ok().map(|offset| offset.to_wire()),
            error: to.err().map(error_of),
        }));
    }
}

fn not_assigned(topic: &str, partition: u32) -> Failure {
    Failure::new(ErrorCode::NotAssigned, format!("partition {partition} of topic '{topic}' is not this member's"))
}

impl Groups {
    /// A commit of a partition that the member does not hold any more.
    pub(super) fn not_assigned(&self, at: TopicPartition) -> v1::RefusedOffset {
        let v1::PartitionName { topic, partition } = self.partition_name(at);
        refused_of(&topic, partition, &not_assigned(&topic, partition))
    }

    /// The offset of a position that a member seeks.
    async fn sought(&self, topic: &str, partition: u32, to: Option<v1::Position>) -> Result<Offset, Failure> {
        let to = to.ok_or_else(|| Failure::invalid("the seek does not say where to"))?;
        if let Some(v1::position::At::Offset(offset)) = to.at {
            // What is not kept is told, or jumped over, when it is read.
            return Offset::from_wire(offset).ok_or_else(|| Failure::invalid(format!("offset {offset} is below 0")));
        }
        let found = self.read.lookup_positions(topic, vec![(partition, to)], true).await?;
        let found = found.first().and_then(|found| Offset::from_wire(found.offset));
        found.ok_or_else(|| Failure::new(ErrorCode::Internal, "a position was looked up and not found; this is a bug"))
    }
}
