//! `highwater.v1.AdminService`: topics, and what the cluster and this node are.
//!
//! Owns: topics. What concerns the cluster and its nodes stands in `cluster`.
//!
//! Never: checks what the controller checks. Names are checked where their type is made, settings by the metadata.

mod cluster;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use highwater_metadata::{AlterTopic, Command, CreateTopic, Setting, Topic, is_internal};
use highwater_proto::v1;
use highwater_proto::v1::admin_service_server::AdminService;
use highwater_types::{ErrorCode, TopicName, TopicPartition};
use tonic::{Request, Response, Status};

use super::context::Context;
use super::convert::topic_of;
use crate::front::failure::Failure;
use crate::survey::Replicas;

/// How long the answer to a creation waits for the partitions to be open, so that the next call finds them.
const OPEN_PATIENCE: Duration = Duration::from_secs(10);
/// The same for leaders: how often one looks, and the pause between two looks.
const LED_LOOKS: u32 = 50;
const LED_PAUSE: Duration = Duration::from_millis(100);

/// The service.
#[derive(Clone, Debug)]
pub(super) struct Admin {
    context: Arc<Context>,
}

impl Admin {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    fn answer<T>(&self, result: Result<T, Failure>) -> Result<Response<T>, Status> {
        result.map(Response::new).map_err(|failure| self.context.located(failure).into())
    }

    async fn create(&self, request: v1::CreateTopicRequest) -> Result<v1::CreateTopicResponse, Failure> {
        let is_validate_only = request.validate_only;
        let name = own_name(&request.name)?;
        let topic = self
            .context
            .controller
            .create_topic(CreateTopic {
                name,
                partitions: request.partitions,
                replicas: request.replicas,
                settings: sorted(request.config),
                is_validate_only,
            })
            .await?;
        let replicas = if is_validate_only { Replicas::default() } else { self.until_led(&topic).await };
        Ok(v1::CreateTopicResponse { topic: Some(topic_of(&topic, &replicas, false)) })
    }

    async fn alter(&self, request: v1::AlterTopicRequest) -> Result<v1::AlterTopicResponse, Failure> {
        let replicas = request.replicas;
        let name = own_name(&request.name)?;
        let topic = self
            .context
            .controller
            .alter_topic(AlterTopic {
                name,
                set: sorted(request.set),
                unset: request.unset,
                partitions: request.partitions,
            })
            .await?;
        let topic = match replicas {
            Some(replicas) => self.set_replicas(topic, replicas).await?,
            None => topic,
        };
        let replicas = self.until_led(&topic).await;
        Ok(v1::AlterTopicResponse { topic: Some(topic_of(&topic, &replicas, false)) })
    }

    async fn delete(&self, request: v1::DeleteTopicRequest) -> Result<v1::DeleteTopicResponse, Failure> {
        self.context.controller.delete_topic(own_name(&request.name)?).await?;
        Ok(v1::DeleteTopicResponse {})
    }

    async fn describe(&self, request: &v1::DescribeTopicRequest) -> Result<v1::DescribeTopicResponse, Failure> {
        let topic = self.context.router.topic(&TopicName::new(&request.name)?)?;
        let config = Setting::ALL.iter().map(|setting| config_value(&topic, *setting)).collect();
        let keys = topic.numbered_partitions().map(|(partition, _)| TopicPartition { topic: topic.id, partition });
        let replicas = self.context.survey.replicas(Some(keys.collect())).await;
        Ok(v1::DescribeTopicResponse { topic: Some(topic_of(&topic, &replicas, true)), config })
    }

    async fn set_replicas(&self, topic: Arc<Topic>, replicas: u32) -> Result<Arc<Topic>, Failure> {
        let name = topic.name.clone();
        self.context.controller.submit(Command::SetReplicas { name: name.clone(), replicas }).await?;
        Ok(self.context.router.topic(&name)?)
    }

    /// Waits until each partition of a topic has a leader that serves, so that who made them can use them at once. Gives
    /// up after a while; the topic exists nonetheless.
    async fn until_led(&self, topic: &Topic) -> Replicas {
        self.context.router.wait_until_open(topic.id, OPEN_PATIENCE).await;
        let keys: Vec<_> =
            topic.numbered_partitions().map(|(partition, _)| TopicPartition { topic: topic.id, partition }).collect();
        let mut looks_left = LED_LOOKS;
        loop {
            let replicas = self.context.survey.replicas(Some(keys.clone())).await;
            looks_left -= 1;
            if looks_left == 0 || keys.iter().all(|key| replicas.is_served(*key)) {
                return replicas;
            }
            tokio::time::sleep(LED_PAUSE).await;
        }
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
        let replicas = self.context.survey.replicas(None).await;
        let image = self.context.router.image();
        let listed = image.topics().filter(|topic| !topic.is_internal());
        let topics = listed.map(|topic| topic_of(topic, &replicas, false)).collect();
        self.answer(Ok(v1::ListTopicsResponse { topics }))
    }

    async fn describe_topic(
        &self,
        request: Request<v1::DescribeTopicRequest>,
    ) -> Result<Response<v1::DescribeTopicResponse>, Status> {
        self.answer(self.describe(&request.into_inner()).await)
    }

    async fn describe_cluster(
        &self,
        _: Request<v1::DescribeClusterRequest>,
    ) -> Result<Response<v1::DescribeClusterResponse>, Status> {
        self.answer(Ok(self.cluster().await))
    }

    async fn cluster_health(
        &self,
        _: Request<v1::ClusterHealthRequest>,
    ) -> Result<Response<v1::ClusterHealthResponse>, Status> {
        self.answer(Ok(self.health().await))
    }

    async fn set_node_state(
        &self,
        request: Request<v1::SetNodeStateRequest>,
    ) -> Result<Response<v1::SetNodeStateResponse>, Status> {
        self.answer(self.set_state(&request.into_inner()).await)
    }

    async fn replace_node(
        &self,
        request: Request<v1::ReplaceNodeRequest>,
    ) -> Result<Response<v1::ReplaceNodeResponse>, Status> {
        self.answer(self.replace(&request.into_inner()).await)
    }

    async fn remove_node(
        &self,
        request: Request<v1::RemoveNodeRequest>,
    ) -> Result<Response<v1::RemoveNodeResponse>, Status> {
        self.answer(self.remove(&request.into_inner()).await)
    }

    async fn balance(&self, request: Request<v1::BalanceRequest>) -> Result<Response<v1::BalanceResponse>, Status> {
        self.answer(self.even_out(&request.into_inner()).await)
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        self.answer(self.transfer(&request.into_inner()).await)
    }

    async fn move_replicas(
        &self,
        request: Request<v1::MoveReplicasRequest>,
    ) -> Result<Response<v1::MoveReplicasResponse>, Status> {
        self.answer(self.move_to(&request.into_inner()).await)
    }

    async fn node_usage(
        &self,
        request: Request<v1::NodeUsageRequest>,
    ) -> Result<Response<v1::NodeUsageResponse>, Status> {
        self.answer(self.usage(&request.into_inner()).await)
    }
}

/// The name of a topic that clients make and change. Who looks may name the server's own as well.
fn own_name(name: &str) -> Result<TopicName, Failure> {
    let name = TopicName::new(name)?;
    match is_internal(&name) {
        true => Err(Failure::new(
            ErrorCode::InvalidTopicName,
            format!("'{name}' is no name for a topic: names that begin with '__' are the server's own"),
        )),
        false => Ok(name),
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
