//! Stream groups as an operator sees them: which there are, how far they have read, and where they go on.
//!
//! Owns: the unary calls about groups. Any node takes them and passes them on to the node that coordinates the group.
//!
//! Never: is a member of a group. Invariant: what changes something is sent again only while it was certainly not done.

mod model;
mod seek;

use highwater_proto::v1;
use highwater_proto::v1::group_service_client::GroupServiceClient;
use highwater_types::LeaderEpoch;

use super::{Admin, check};
use crate::consumer::{CommitOffset, TopicPartitionName};
use crate::error::ServerError;
use crate::request::{Repeat, RequestError, request};

use self::model::partition_name;

pub use model::{GroupDescription, GroupGeneration, GroupListing, GroupMember, GroupOffset, GroupState, RefusedOffset};
pub use seek::{SeekChange, SeekGroup, SeekTo};

impl Admin {
    /// The groups of the cluster that are in one of these states; with no states, all of them.
    ///
    /// # Errors
    /// When the request fails.
    ///
    /// ```no_run
    /// # async fn example(admin: highwater_client::Admin) -> Result<(), highwater_client::RequestError> {
    /// use highwater_client::GroupState;
    /// for group in admin.list_groups(&[GroupState::Empty]).await? {
    ///     println!("nobody reads for {}", group.group);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn list_groups(&self, states: &[GroupState]) -> Result<Vec<GroupListing>, RequestError> {
        let states = states.iter().map(|state| state.to_wire().into()).collect();
        let message = v1::ListGroupsRequest { states, coordinator: None };
        let answer = request(&self.client.shared, Repeat::Harmless, |channel| {
            let message = message.clone();
            async move { GroupServiceClient::new(channel).list_groups(message).await }
        })
        .await?;
        Ok(answer.groups.into_iter().map(GroupListing::from_wire).collect())
    }

    /// A group: its members, what each of them was given, how far it has read and how far it is behind.
    ///
    /// # Errors
    /// When there is no such group, or the request fails.
    ///
    /// ```no_run
    /// # async fn example(admin: highwater_client::Admin) -> Result<(), highwater_client::RequestError> {
    /// let billing = admin.describe_group("billing").await?;
    /// let behind: u64 = billing.offsets.iter().filter_map(|offset| offset.lag_records).sum();
    /// println!("{} members, {behind} records behind", billing.members.len());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn describe_group(&self, group: &str) -> Result<GroupDescription, RequestError> {
        let answer = request(&self.client.shared, Repeat::Harmless, |channel| {
            let message = v1::DescribeGroupRequest { group: group.to_owned() };
            async move { GroupServiceClient::new(channel).describe_group(message).await }
        })
        .await?;
        let missing =
            RequestError::Incomplete { request: "describe_group", missing: "the group, or the name of a topic" };
        answer.group.and_then(GroupDescription::from_wire).ok_or(missing)
    }

    /// Sets where a group goes on reading, and returns what that changed; with [`SeekGroup::validate_only`], what it
    /// would. The group need not exist yet: its first members then begin there.
    ///
    /// # Errors
    /// When the group has members and the seek is not forced, there is no such topic or partition, or the request fails.
    ///
    /// ```no_run
    /// # async fn example(admin: highwater_client::Admin) -> Result<(), highwater_client::RequestError> {
    /// use highwater_client::{Position, SeekGroup};
    /// for change in admin.seek_group(SeekGroup::new("billing").topic("orders", Position::Start)).await? {
    ///     println!("partition {} is read again from {}", change.partition, change.to);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn seek_group(&self, seek: SeekGroup) -> Result<Vec<SeekChange>, RequestError> {
        seek.topics().try_for_each(check)?;
        let message = seek.into_wire();
        let repeat = if message.validate_only { Repeat::Harmless } else { Repeat::OnlyIfNotDone };
        let answer = request(&self.client.shared, repeat, |channel| {
            let message = message.clone();
            async move { GroupServiceClient::new(channel).seek_group(message).await }
        })
        .await?;
        let missing = RequestError::Incomplete { request: "seek_group", missing: "an offset" };
        answer.changes.into_iter().map(|change| SeekChange::from_wire(change).ok_or(missing.clone())).collect()
    }

    /// Deletes a group that has no members, with its offsets. There is no way back.
    ///
    /// # Errors
    /// When there is no such group, it has members, or the request fails.
    pub async fn delete_group(&self, group: &str) -> Result<(), RequestError> {
        request(&self.client.shared, Repeat::OnlyIfNotDone, |channel| {
            let message = v1::DeleteGroupRequest { group: group.to_owned() };
            async move { GroupServiceClient::new(channel).delete_group(message).await }
        })
        .await?;
        Ok(())
    }

    /// Deletes offsets of a group in topics that none of its members reads, and returns what was refused; everything
    /// else is done.
    ///
    /// # Errors
    /// When there is no such group, or the request fails.
    ///
    /// ```no_run
    /// # async fn example(admin: highwater_client::Admin) -> Result<(), highwater_client::RequestError> {
    /// # use highwater_client::TopicName;
    /// # let orders = TopicName::new("orders").unwrap();
    /// use highwater_client::{PartitionId, TopicPartitionName};
    /// let unread = TopicPartitionName::new(orders, PartitionId::new(0));
    /// assert!(admin.delete_group_offsets("billing", &[unread]).await?.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete_group_offsets(
        &self,
        group: &str,
        partitions: &[TopicPartitionName],
    ) -> Result<Vec<RefusedOffset>, RequestError> {
        let names = partitions
            .iter()
            .map(|name| v1::PartitionName { topic: name.topic.as_str().to_owned(), partition: name.partition.get() });
        let message = v1::DeleteOffsetsRequest { group: group.to_owned(), partitions: names.collect() };
        let answer = request(&self.client.shared, Repeat::OnlyIfNotDone, |channel| {
            let message = message.clone();
            async move { GroupServiceClient::new(channel).delete_offsets(message).await }
        })
        .await?;
        refused(answer.refused, "delete_group_offsets")
    }

    /// Commits offsets for a group that has no members at the moment, and returns what was refused; everything else is
    /// done. It is for readers that share partitions by themselves. The group is made when there is none.
    ///
    /// # Errors
    /// When the group has members, or the request fails.
    ///
    /// ```no_run
    /// # async fn example(admin: highwater_client::Admin) -> Result<(), highwater_client::RequestError> {
    /// # use highwater_client::TopicName;
    /// # let orders = TopicName::new("orders").unwrap();
    /// use highwater_client::{CommitOffset, Offset, PartitionId};
    /// let next = Offset::ZERO.saturating_add(100);
    /// let commit = CommitOffset::new(orders, PartitionId::new(0), next).metadata("run 7");
    /// assert!(admin.commit_group_offsets("billing", vec![commit]).await?.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn commit_group_offsets(
        &self,
        group: &str,
        offsets: Vec<CommitOffset>,
    ) -> Result<Vec<RefusedOffset>, RequestError> {
        let offsets = offsets.into_iter().map(into_wire).collect();
        let message = v1::CommitOffsetsRequest { group: group.to_owned(), offsets };
        let answer = request(&self.client.shared, Repeat::OnlyIfNotDone, |channel| {
            let message = message.clone();
            async move { GroupServiceClient::new(channel).commit_offsets(message).await }
        })
        .await?;
        refused(answer.refused, "commit_group_offsets")
    }

    /// Throws a member out of its group. Its partitions go to the others; it may join again as a new member.
    ///
    /// # Errors
    /// When there is no such group or member, or the request fails.
    pub async fn fence_member(&self, group: &str, member_id: &str) -> Result<(), RequestError> {
        request(&self.client.shared, Repeat::OnlyIfNotDone, |channel| {
            let message = v1::FenceMemberRequest { group: group.to_owned(), member_id: member_id.to_owned() };
            async move { GroupServiceClient::new(channel).fence_member(message).await }
        })
        .await?;
        Ok(())
    }
}

fn into_wire(commit: CommitOffset) -> v1::OffsetCommit {
    let CommitOffset { partition, offset, leader_epoch, metadata } = commit;
    v1::OffsetCommit {
        topic: partition.topic.as_str().to_owned(),
        partition: partition.partition.get(),
        offset: offset.to_wire(),
        leader_epoch: leader_epoch.map(LeaderEpoch::get),
        metadata,
    }
}

/// What was refused, each with its reason.
fn refused(wire: Vec<v1::RefusedOffset>, request: &'static str) -> Result<Vec<RefusedOffset>, RequestError> {
    let each = wire.into_iter().map(|refused| {
        let partition = partition_name(&refused.topic, refused.partition)?;
        Some(RefusedOffset { partition, error: refused.error.map(ServerError::from_wire)? })
    });
    let missing = RequestError::Incomplete { request, missing: "what was refused, or why" };
    each.collect::<Option<_>>().ok_or(missing)
}

#[cfg(test)]
mod tests {
    use highwater_types::ErrorCode;

    use super::*;

    #[test]
    fn a_refusal_tells_its_reason_or_is_none() {
        let error = v1::Error { code: ErrorCode::UnknownPartition.number(), ..v1::Error::default() };
        let mut wire = v1::RefusedOffset { topic: "t".into(), partition: 4, error: Some(error) };
        let found = refused(vec![wire.clone()], "commit_group_offsets").unwrap();
        assert_eq!(found[0].error.code, ErrorCode::UnknownPartition);
        assert_eq!(found[0].partition.to_string(), "t-4");
        wire.error = None;
        let failed = refused(vec![wire], "commit_group_offsets");
        assert!(matches!(failed, Err(RequestError::Incomplete { request: "commit_group_offsets", .. })));
    }
}
