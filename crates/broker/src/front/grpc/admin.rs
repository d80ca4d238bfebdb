//! `highwater.v1.AdminService`: topics, and what the cluster and this node are.
//!
//! Never: checks what the controller checks. Names are checked where their type is made, settings by the metadata.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use highwater_metadata::{AlterTopic, CreateTopic, Setting, Topic};
use highwater_proto::v1;
use highwater_proto::v1::admin_service_server::AdminService;
use highwater_types::{NodeId, TopicName};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::context::Context;
use super::convert::topic_of;
use crate::front::failure::Failure;
use crate::usage::Usage;

/// How long the answer to a creation waits for the partitions to be open, so that the next call finds them.
const OPEN_PATIENCE: Duration = Duration::from_secs(10);

/// The service.
#[derive(Clone, Debug)]
pub(super) struct Admin {
    context: Arc<Context>,
    started_at: Instant,
}

impl Admin {
    pub(super) fn new(context: Arc<Context>) -> Self {
        let started_at = context.clock.instant();
        Self { context, started_at }
    }

    fn answer<T>(&self, result: Result<T, Failure>) -> Result<Response<T>, Status> {
        result.map(Response::new).map_err(|failure| self.context.located(failure).into())
    }

    async fn create(&self, request: v1::CreateTopicRequest) -> Result<v1::CreateTopicResponse, Failure> {
        let is_validate_only = request.validate_only;
        let topic = self
            .context
            .controller
            .create_topic(CreateTopic {
                name: TopicName::new(&request.name)?,
                partitions: request.partitions,
                replicas: request.replicas,
                settings: sorted(request.config),
                is_validate_only,
            })
            .await?;
        if !is_validate_only {
            self.context.router.wait_until_open(topic.id, OPEN_PATIENCE).await;
        }
        Ok(v1::CreateTopicResponse { topic: Some(self.topic(&topic)) })
    }

    async fn alter(&self, request: v1::AlterTopicRequest) -> Result<v1::AlterTopicResponse, Failure> {
        let topic = self
            .context
            .controller
            .alter_topic(AlterTopic {
                name: TopicName::new(&request.name)?,
                set: sorted(request.set),
                unset: request.unset,
                partitions: request.partitions,
            })
            .await?;
        self.context.router.wait_until_open(topic.id, OPEN_PATIENCE).await;
        Ok(v1::AlterTopicResponse { topic: Some(self.topic(&topic)) })
    }

    async fn delete(&self, request: v1::DeleteTopicRequest) -> Result<v1::DeleteTopicResponse, Failure> {
        self.context.controller.delete_topic(TopicName::new(&request.name)?).await?;
        Ok(v1::DeleteTopicResponse {})
    }

    fn describe(&self, request: &v1::DescribeTopicRequest) -> Result<v1::DescribeTopicResponse, Failure> {
        let topic = self.context.router.topic(&TopicName::new(&request.name)?)?;
        let config = Setting::ALL.iter().map(|setting| config_value(&topic, *setting)).collect();
        Ok(v1::DescribeTopicResponse { topic: Some(self.topic(&topic)), config })
    }

    fn usage(&self) -> Result<v1::NodeUsageResponse, Failure> {
        let usage = Usage::read()?;
        let router = &self.context.router;
        Ok(v1::NodeUsageResponse {
            node: router.node().get(),
            cpu_seconds: usage.cpu_seconds,
            rss_bytes: usage.rss_bytes,
            rss_peak_bytes: usage.rss_peak_bytes,
            uptime_seconds: self.context.clock.instant().duration_since(self.started_at).as_secs_f64(),
            data_free_bytes: router.disk_gate().free_bytes(),
        })
    }

    fn topic(&self, topic: &Arc<Topic>) -> v1::Topic {
        topic_of(topic, &self.context.router)
    }
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn create_topic(
        &self,
        request: Request<v1::CreateTopicRequest>,
    ) -> Result<Response<v1::CreateTopicResponse>, Status> {
        self.answer(self.create(request.into_inner()).await)
    }

    async fn delete_topic(
        &self,
        request: Request<v1::DeleteTopicRequest>,
    ) -> Result<Response<v1::DeleteTopicResponse>, Status> {
        self.answer(self.delete(request.into_inner()).await)
    }

    async fn alter_topic(
        &self,
        request: Request<v1::AlterTopicRequest>,
    ) -> Result<Response<v1::AlterTopicResponse>, Status> {
        self.answer(self.alter(request.into_inner()).await)
    }

    async fn list_topics(&self, _: Request<v1::ListTopicsRequest>) -> Result<Response<v1::ListTopicsResponse>, Status> {
        let topics = self.context.router.image().topics().map(|topic| self.topic(topic)).collect();
        self.answer(Ok(v1::ListTopicsResponse { topics }))
    }

    async fn describe_topic(
        &self,
        request: Request<v1::DescribeTopicRequest>,
    ) -> Result<Response<v1::DescribeTopicResponse>, Status> {
        self.answer(self.describe(&request.into_inner()))
    }

    async fn describe_cluster(
        &self,
        _: Request<v1::DescribeClusterRequest>,
    ) -> Result<Response<v1::DescribeClusterResponse>, Status> {
        let image = self.context.router.image();
        let node = |node: &highwater_metadata::NodeRegistration| v1::Node {
            id: node.node.get(),
            address: node.address.clone(),
        };
        self.answer(Ok(v1::DescribeClusterResponse {
            cluster_id: image.cluster().map(|cluster| cluster.to_string()).unwrap_or_default(),
            nodes: image.nodes().map(node).collect(),
            controller: self.context.controller_leadership.borrow().leader.map(NodeId::get),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }))
    }

    async fn node_usage(&self, _: Request<v1::NodeUsageRequest>) -> Result<Response<v1::NodeUsageResponse>, Status> {
        self.answer(self.usage())
    }
}

fn config_value(topic: &Topic, setting: Setting) -> v1::ConfigValue {
    v1::ConfigValue {
        name: setting.name().to_owned(),
        value: topic.settings.get(setting).to_string(),
        is_default: topic.settings.is_default(setting),
        description: setting.definition().description.to_owned(),
    }
}

/// In the order of their names, so that the first complaint is always the same.
fn sorted(settings: HashMap<String, String>) -> Vec<(String, String)> {
    let mut settings: Vec<_> = settings.into_iter().collect();
    settings.sort_unstable();
    settings
}
