//! Who coordinates a group: the leader of one partition of the internal topic, chosen by the hash of the group's name.
//!
//! Owns: making that topic when a group is first used, for every front. A group is the same whichever front its members
//! come by.
//!
//! Invariant: how many coordinators there are never changes, or groups would lose what they committed.

use std::time::Duration;

use highwater_groups::stream::GroupId;
use highwater_metadata::{CreateTopic, GROUPS_TOPIC};
use highwater_types::partitioner::partition_of;
use highwater_types::{ErrorCode, PartitionId, TopicName, TopicPartition};

use super::failure::Failure;
use crate::controller::ControllerHandle;
use crate::coordinator::CoordinatorHandle;
use crate::router::Router;

/// How many coordinators a cluster has. Each is a Raft group, which costs little while it is idle.
const COORDINATORS: u32 = 8;

/// How long the first use of groups waits until their topic is open here.
const OPEN_PATIENCE: Duration = Duration::from_secs(10);

/// The topic whose partitions are the coordinators.
pub(crate) fn topic_name() -> Result<TopicName, Failure> {
    Ok(TopicName::new(GROUPS_TOPIC)?)
}

/// How many coordinators there are; nothing before the first group.
pub(crate) fn count(router: &Router) -> Option<u32> {
    let topic = topic_name().and_then(|topic| Ok(router.topic(&topic)?));
    topic.ok().map(|topic| topic.partition_count())
}

/// The coordinator of a group, which is there once this is answered.
pub(crate) async fn of_group(
    router: &Router,
    controller: &ControllerHandle,
    group: &GroupId,
) -> Result<TopicPartition, Failure> {
    let name = topic_name()?;
    let topic = match router.topic(&name) {
        Ok(topic) => topic,
        Err(_) => {
            let topic = CreateTopic {
                name: name.clone(),
                partitions: COORDINATORS,
                replicas: 0,
                settings: Vec::new(),
                is_validate_only: false,
            };
            let created = controller.create_topic(topic).await.map_err(Failure::from);
            if let Err(failure) = created
                && failure.code != ErrorCode::TopicExists
            {
                return Err(failure);
            }
            let Ok(topic) = router.topic(&name) else {
                let message = "the coordinators of groups are being made; try again";
                return Err(Failure::new(ErrorCode::LeaderUnavailable, message));
            };
            router.wait_until_open(topic.id, OPEN_PATIENCE).await;
            topic
        }
    };
    let partition = partition_of(group.as_str().as_bytes(), topic.partition_count());
    Ok(TopicPartition { topic: topic.id, partition })
}

/// A coordinator, if this node leads it.
pub(crate) fn led_here(router: &Router, partition: PartitionId) -> Result<CoordinatorHandle, Failure> {
    let handle = router.coordinator(&topic_name()?, partition)?;
    let led = *handle.leadership().borrow();
    if led.serves_writes {
        return Ok(handle);
    }
    let leader = led.other_leader();
    let code = if leader.is_some() { ErrorCode::NotLeader } else { ErrorCode::LeaderUnavailable };
    let message = match leader {
        Some(leader) => format!("node {leader} coordinates the group"),
        None => "the group has no coordinator at the moment; try again".to_owned(),
    };
    Err(Failure { leader, ..Failure::new(code, message) })
}
