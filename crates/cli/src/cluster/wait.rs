//! Watching what the cluster carries out, until it is done.
//!
//! Never: changes anything. What is watched goes on when nobody watches.

use std::time::Duration;

use highwater_client::{Admin, NodeId, Partition, PartitionId, RequestError};
use highwater_types::TopicName;

use crate::clock;
use crate::console::remark;
use crate::error::CliError;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// What has not changed is said again after so many looks.
const SAY_AGAIN_AFTER: u32 = 120;

/// What a look found.
enum Look {
    Done,
    /// Not yet; for people, how far it is.
    Still(String),
}

/// Looks until it is done. A look that fails in a way that may pass is taken again.
async fn until<F>(longest: Duration, mut look: impl FnMut() -> F) -> Result<(), CliError>
where
    F: Future<Output = Result<Look, RequestError>>,
{
    let deadline = clock::now() + longest;
    let mut said = String::new();
    let mut unchanged = 0;
    loop {
        let still = match look().await {
            Ok(Look::Done) => return Ok(()),
            Ok(Look::Still(still)) => still,
            Err(error) if error.is_retryable() => error.to_string(),
            Err(error) => return Err(CliError::Request(error)),
        };
        unchanged = if still == said { unchanged + 1 } else { 0 };
        if unchanged % SAY_AGAIN_AFTER == 0 {
            remark(&still);
            said.clone_from(&still);
        }
        if clock::now() >= deadline {
            return Err(CliError::NotYet { still, waited: longest });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Until a node leads no partition.
pub(super) async fn until_it_leads_nothing(admin: &Admin, node: NodeId, longest: Duration) -> Result<(), CliError> {
    until(longest, || async move {
        let cluster = admin.describe_cluster().await?;
        let Some(found) = cluster.nodes.iter().find(|found| found.id == node) else { return Ok(Look::Done) };
        Ok(match found.leaders {
            Some(0) => Look::Done,
            // Nobody follows a node that is gone.
            None if found.is_fenced => Look::Done,
            Some(leaders) => Look::Still(format!("node {node} leads {leaders} partitions")),
            None => Look::Still(format!("node {node} does not answer")),
        })
    })
    .await
}

/// Until a node is no part of the cluster.
pub(super) async fn until_it_is_gone(admin: &Admin, node: NodeId, longest: Duration) -> Result<(), CliError> {
    until(longest, || async move {
        let cluster = admin.describe_cluster().await?;
        let found = cluster.nodes.iter().find(|found| found.id == node);
        Ok(found.map_or(Look::Done, |found| {
            let replicas = found.replicas;
            let plural = if replicas == 1 { "" } else { "s" };
            Look::Still(format!("node {node} holds {replicas} replica{plural}"))
        }))
    })
    .await
}

/// Until no partition moves and the cluster would move none.
pub(super) async fn until_balanced(admin: &Admin, longest: Duration) -> Result<(), CliError> {
    until(longest, || async move {
        let topics = admin.list_topics().await?;
        let partitions = topics.iter().flat_map(|topic| &topic.partitions);
        let moving = partitions.filter(|partition| !partition.target.is_empty()).count();
        let planned = admin.balance(true).await?.len();
        Ok(match moving + planned {
            0 => Look::Done,
            _ => Look::Still(format!("{moving} partitions move, {planned} steps are next")),
        })
    })
    .await
}

/// Until a node leads a partition.
pub(super) async fn until_led_by(
    admin: &Admin,
    topic: &TopicName,
    partition: PartitionId,
    to: NodeId,
    longest: Duration,
) -> Result<(), CliError> {
    until_partition(admin, topic, partition, longest, |found| match found.leader {
        Some(leader) if leader == to => Look::Done,
        Some(leader) => Look::Still(format!("node {leader} leads it")),
        None => Look::Still("nobody leads it".to_owned()),
    })
    .await
}

/// Until a partition is on these nodes, and moves no more.
pub(super) async fn until_moved(
    admin: &Admin,
    topic: &TopicName,
    partition: PartitionId,
    to: &[NodeId],
    longest: Duration,
) -> Result<(), CliError> {
    until_partition(admin, topic, partition, longest, |found| {
        let is_there = to.iter().all(|node| found.replicas.contains(node)) && found.replicas.len() == to.len();
        if found.target.is_empty() && is_there {
            return Look::Done;
        }
        let lag = found.replica_status.iter().filter(|status| to.contains(&status.node));
        let lag = lag.filter_map(|status| status.lag_records).max();
        Look::Still(match lag {
            Some(0) | None => "it moves".to_owned(),
            Some(lag) => format!("it moves: {lag} records are still to be copied"),
        })
    })
    .await
}

async fn until_partition(
    admin: &Admin,
    topic: &TopicName,
    partition: PartitionId,
    longest: Duration,
    judge: impl Fn(&Partition) -> Look,
) -> Result<(), CliError> {
    let judge = &judge;
    until(longest, || async move {
        let described = admin.describe_topic(topic.as_str()).await?;
        let found = described.topic.partitions.iter().find(|found| found.partition == partition);
        Ok(found.map_or_else(|| Look::Still("it is not there".to_owned()), judge))
    })
    .await
}
