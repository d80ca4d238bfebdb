//! The cluster and its nodes: what they are, and what an operator does with them.
//!
//! Never: carries anything out. A wish becomes a command of the controller; what follows from it stands in the image,
//! and is done by whoever leads then.

use highwater_metadata::plan::{PlanLimits, next_steps};
use highwater_metadata::{Assignment, Command, Member, MetadataImage, NodeState, Policy, decide};
use highwater_proto::internal::v1::{NodeHeartbeat, ReplicasDescribed};
use highwater_proto::v1;
use highwater_types::{ErrorCode, NodeId, PartitionId, TopicId, TopicName, TopicPartition};

use super::Admin;
use crate::controller::health::{NodeReport as Report, Severity, problems};
use crate::front::failure::Failure;
use crate::survey::NodeReport;

impl Admin {
    pub(super) async fn cluster(&self) -> v1::DescribeClusterResponse {
        let context = &self.context;
        let image = context.router.image();
        // What this node cannot say of itself is absent, as what the others do not say is.
        let reports = context.survey.nodes().await.unwrap_or_default();
        let voters = context.survey.metadata_members().voters;
        let node = |member: &Member| {
            let report = reports.get(&member.node());
            v1::Node { is_metadata_voter: Some(voters.contains(&member.node())), ..node_of(member, &image, report) }
        };
        v1::DescribeClusterResponse {
            cluster_id: image.cluster().map(|cluster| cluster.to_string()).unwrap_or_default(),
            nodes: image.members().map(node).collect(),
            controller: context.controller_leadership.borrow().leader.map(NodeId::get),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    pub(super) async fn health(&self) -> v1::ClusterHealthResponse {
        let image = self.context.router.image();
        let described = self.context.survey.described(None).await;
        let report = |described: ReplicasDescribed| {
            let disk = described.node.map(|node| NodeHeartbeat {
                free_bytes: node.data_free_bytes,
                total_bytes: node.data_total_bytes,
                is_disk_full: node.is_disk_full,
                ..NodeHeartbeat::default()
            });
            Report { replicas: Some(described.replicas), heartbeat: disk }
        };
        let reports = described.into_iter().map(|(node, described)| (node, report(described))).collect();
        // What is wanted or under way is no problem.
        let found = problems(&image, &reports, &self.context.survey.move_ages()).into_iter().filter_map(|problem| {
            let severity = match problem.severity {
                Severity::Notice => return None,
                Severity::Warning => v1::Severity::Warning,
                Severity::Critical => v1::Severity::Critical,
            };
            let advice = problem.advice.to_owned();
            Some(v1::Problem { severity: severity.into(), text: problem.text, advice })
        });
        v1::ClusterHealthResponse { problems: found.collect() }
    }

    pub(super) async fn usage(&self, request: &v1::NodeUsageRequest) -> Result<v1::NodeUsageResponse, Failure> {
        let survey = &self.context.survey;
        let own = self.context.router.node();
        let node = request.node.map_or(own, NodeId::new);
        let report = if node == own { Some(survey.own()?) } else { survey.nodes().await?.remove(&node) };
        let silent = || Failure::new(ErrorCode::LeaderUnavailable, format!("node {node} does not answer; try again"));
        let report = report.ok_or_else(silent)?;
        Ok(v1::NodeUsageResponse {
            node: node.get(),
            cpu_seconds: report.usage.cpu_seconds,
            rss_bytes: report.usage.rss_bytes,
            rss_peak_bytes: report.usage.rss_peak_bytes,
            uptime_seconds: report.uptime_seconds,
            data_free_bytes: report.data_free_bytes,
            process: report.process,
        })
    }

    pub(super) async fn set_state(
        &self,
        request: &v1::SetNodeStateRequest,
    ) -> Result<v1::SetNodeStateResponse, Failure> {
        let state = match request.state() {
            v1::NodeState::Unspecified => return Err(Failure::invalid("the request does not say which state")),
            v1::NodeState::Active => NodeState::Active,
            v1::NodeState::Draining => NodeState::Draining,
            v1::NodeState::Decommissioning => NodeState::Decommissioning,
        };
        self.submit(Command::SetNodeState { node: NodeId::new(request.node), state }).await?;
        Ok(v1::SetNodeStateResponse {})
    }

    pub(super) async fn replace(&self, request: &v1::ReplaceNodeRequest) -> Result<v1::ReplaceNodeResponse, Failure> {
        let (node, by) = (NodeId::new(request.node), NodeId::new(request.by));
        self.submit(Command::ReplaceNode { node, by }).await?;
        Ok(v1::ReplaceNodeResponse {})
    }

    pub(super) async fn remove(&self, request: &v1::RemoveNodeRequest) -> Result<v1::RemoveNodeResponse, Failure> {
        self.submit(Command::RemoveNode { node: NodeId::new(request.node) }).await?;
        Ok(v1::RemoveNodeResponse {})
    }

    pub(super) async fn even_out(&self, request: &v1::BalanceRequest) -> Result<v1::BalanceResponse, Failure> {
        let moves = self.first_steps();
        if !request.validate_only && !moves.is_empty() {
            self.submit(Command::SetBalancing { is_on: true }).await?;
        }
        Ok(v1::BalanceResponse { moves })
    }

    pub(super) async fn transfer(
        &self,
        request: &v1::TransferLeaderRequest,
    ) -> Result<v1::TransferLeaderResponse, Failure> {
        let partition = self.existing(&request.topic, request.partition)?;
        self.submit(Command::PreferLeader { partition, node: NodeId::new(request.to) }).await?;
        Ok(v1::TransferLeaderResponse {})
    }

    pub(super) async fn move_to(&self, request: &v1::MoveReplicasRequest) -> Result<v1::MoveReplicasResponse, Failure> {
        let partition = self.existing(&request.topic, request.partition)?;
        let target = request.replicas.iter().copied().map(NodeId::new).collect();
        self.submit(Command::MoveReplicas { partition, target }).await?;
        Ok(v1::MoveReplicasResponse {})
    }

    /// What balancing would do first, as this node knows the cluster.
    fn first_steps(&self) -> Vec<v1::PlannedMove> {
        let image = self.context.router.image();
        let mut balancing = MetadataImage::clone(&image);
        let policy = Policy::default();
        // No topic is created by it, and nothing is placed by chance.
        let topic_id = TopicId::new(uuid::Uuid::nil());
        let context = highwater_metadata::Context { now: self.context.clock.now(), topic_id, seed: 0, policy };
        if let Ok(decision) = decide(&image, &Command::SetBalancing { is_on: true }, &context) {
            decision.records.iter().for_each(|record| balancing.replay(record));
        }
        let voters = self.context.survey.metadata_members().voters;
        let steps = next_steps(&balancing, &voters, &policy, &PlanLimits::default());
        steps.into_iter().filter_map(|step| planned(&image, step)).collect()
    }

    fn existing(&self, topic: &str, partition: u32) -> Result<TopicPartition, Failure> {
        let partition = PartitionId::new(partition);
        let topic = self.context.router.topic(&TopicName::new(topic)?)?;
        if topic.partition(partition).is_none() {
            let (name, count) = (&topic.name, topic.partition_count());
            let message = format!("topic '{name}' has no partition {partition}; it has {count}, counted from 0");
            return Err(Failure::new(ErrorCode::UnknownPartition, message));
        }
        Ok(TopicPartition { topic: topic.id, partition })
    }

    async fn submit(&self, command: Command) -> Result<(), Failure> {
        self.context.controller.submit(command).await?;
        Ok(())
    }
}

/// A step of a plan, as one that people can read; nothing when it moves nothing.
fn planned(image: &MetadataImage, step: Command) -> Option<v1::PlannedMove> {
    let (partition, to): (TopicPartition, Vec<NodeId>) = match step {
        Command::MoveReplicas { partition, target } => (partition, target),
        Command::PreferLeader { partition, node } => {
            let others = image.assignment(partition)?.wanted().iter().copied().filter(|other| *other != node);
            (partition, std::iter::once(node).chain(others).collect())
        }
        _ => return None,
    };
    let numbers = |nodes: &[NodeId]| nodes.iter().map(|node| node.get()).collect();
    Some(v1::PlannedMove {
        topic: image.topic_by_id(partition.topic)?.name.to_string(),
        partition: partition.partition.get(),
        from: numbers(&image.assignment(partition)?.replicas),
        to: numbers(&to),
    })
}

fn node_of(member: &Member, image: &MetadataImage, report: Option<&NodeReport>) -> v1::Node {
    let node = member.node();
    let count = |which: &dyn Fn(&Assignment) -> bool| {
        u32::try_from(image.partitions().filter(|(_, _, held)| which(held)).count()).unwrap_or(u32::MAX)
    };
    let state = match member.state {
        NodeState::Active => v1::NodeState::Active,
        NodeState::Draining => v1::NodeState::Draining,
        NodeState::Decommissioning => v1::NodeState::Decommissioning,
    };
    v1::Node {
        id: node.get(),
        address: member.registration.address.clone(),
        peer_address: member.registration.peer_address.clone(),
        rack: member.registration.rack.clone(),
        state: state.into(),
        is_fenced: member.is_fenced,
        replicas: count(&|held| held.holds(node)),
        preferred_leaders: count(&|held| held.preferred_leader() == Some(node)),
        version: report.map(|report| report.version.clone()),
        data_free_bytes: report.map(|report| report.data_free_bytes),
        leaders: report.map(|report| report.leaders),
        heard_ms: report.map(|report| report.heard_ms),
        is_metadata_voter: None,
    }
}
