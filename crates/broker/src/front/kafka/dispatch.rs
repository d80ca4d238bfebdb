//! From a request to the file of its API.

use std::sync::Arc;

use super::api::Api;
use super::call::{BadRequest, Call, Pending};
use super::context::Context;
use super::wire::{Malformed, Writer};
use super::{
    alter_configs, alter_partition_reassignments, api_versions, create_partitions, create_topics, delete_records,
    delete_topics, describe_cluster, describe_configs, describe_log_dirs, describe_producers,
    describe_topic_partitions, elect_leaders, fetch, groups, incremental_alter_configs, init_producer_id,
    list_config_resources, list_offsets, list_partition_reassignments, metadata, offset_for_leader_epoch, produce,
};
use crate::admission::BytePermit;

/// Takes in a request. `permit` stands for its bytes.
pub(super) async fn take(call: Call, permit: BytePermit, context: &Arc<Context>) -> Result<Pending, BadRequest> {
    if call.api == Api::Produce {
        return Ok(produce::take(call, permit, context).await?);
    }
    let envelope = call.envelope();
    let body = answer(call, context).await?;
    drop(permit);
    Ok(Pending::Ready(envelope.seal(body)))
}

async fn answer(call: Call, context: &Context) -> Result<Writer, Malformed> {
    match call.api {
        // Taken in apart: its answer comes later.
        Api::Produce => Err(Malformed::Null),
        Api::Fetch => fetch::answer(call, context).await,
        Api::ListOffsets => list_offsets::answer(call, context).await,
        Api::Metadata => metadata::answer(call, context).await,
        Api::OffsetCommit => groups::offset_commit::answer(call, context).await,
        Api::OffsetFetch => groups::fetch::answer(call, context).await,
        Api::FindCoordinator => groups::find::answer(call, context).await,
        Api::JoinGroup => groups::join::answer(call, context).await,
        Api::Heartbeat => groups::heartbeat::answer(call, context).await,
        Api::LeaveGroup => groups::leave::answer(call, context).await,
        Api::SyncGroup => groups::sync::answer(call, context).await,
        Api::DescribeGroups => groups::describe::answer(call, context).await,
        Api::ListGroups => groups::list::answer(call, context).await,
        Api::DeleteGroups => groups::delete::answer(call, context).await,
        Api::OffsetDelete => groups::offset_delete::answer(call, context).await,
        Api::ApiVersions => api_versions::answer(call),
        Api::CreateTopics => create_topics::answer(call, context).await,
        Api::DeleteRecords => delete_records::answer(call, context).await,
        Api::DeleteTopics => delete_topics::answer(call, context).await,
        Api::InitProducerId => init_producer_id::answer(call, context).await,
        Api::OffsetForLeaderEpoch => offset_for_leader_epoch::answer(call, context).await,
        Api::DescribeConfigs => describe_configs::answer(call, context),
        Api::AlterConfigs => alter_configs::answer(call, context).await,
        Api::IncrementalAlterConfigs => incremental_alter_configs::answer(call, context).await,
        Api::DescribeLogDirs => describe_log_dirs::answer(call, context),
        Api::ElectLeaders => elect_leaders::answer(call, context).await,
        Api::AlterPartitionReassignments => alter_partition_reassignments::answer(call, context).await,
        Api::ListPartitionReassignments => list_partition_reassignments::answer(call, context),
        Api::CreatePartitions => create_partitions::answer(call, context).await,
        Api::DescribeCluster => describe_cluster::answer(call, context),
        Api::DescribeProducers => describe_producers::answer(call, context),
        Api::ListConfigResources => list_config_resources::answer(call, context),
        Api::DescribeTopicPartitions => describe_topic_partitions::answer(call, context).await,
    }
}
