//! The way of a call about a topic's queues to the nodes that lead its partitions, and of their answers into one.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use highwater_groups::queue::GroupId;
use highwater_proto::v1::queue_service_client::QueueServiceClient;
use highwater_types::{PartitionId, TopicName, TopicPartition};
use prost::Message;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::transport::Channel;
use tonic::{Response, Status};

use super::{Queues, pieces, tap};
use crate::front::failure::Failure;
use crate::front::grpc::proxy::{Search, is_search, is_search_there};
use crate::partition::PartitionHandle;

/// How long another node may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Partitions that are asked at a time.
const AT_ONCE: usize = 16;

pub(super) type Client = QueueServiceClient<Channel>;

/// A partition that this node leads, for a call.
pub(super) struct Here<'a> {
    pub(super) queues: &'a Queues,
    pub(super) partition: PartitionId,
    pub(super) handle: PartitionHandle,
}

/// A request about the queues of a topic, that each partition answers for itself.
pub(super) trait Asked: Clone + Send + Sync {
    /// The answer.
    type Answer: Message;

    /// The topic.
    fn topic(&self) -> &str;

    /// The partition that is asked for; nothing is all.
    fn partition(&self) -> Option<u32>;

    /// The same, for one partition.
    fn of_partition(&self, partition: u32) -> Self;

    /// Has it answered by a partition that this node leads.
    fn here(&self, here: Here<'_>) -> impl Future<Output = Result<Self::Answer, Failure>> + Send;

    /// Asks another node.
    fn there(self, client: Client) -> impl Future<Output = Result<Response<Self::Answer>, Status>> + Send;

    /// Makes one answer of those of the partitions, in their order.
    fn joined(&self, answers: Vec<Self::Answer>) -> Self::Answer;
}

impl Queues {
    /// Has a call answered by every partition that it is about.
    pub(super) async fn each<Q: Asked + Message + Default>(
        &self,
        request: http::Request<Body>,
    ) -> Result<Vec<Bytes>, Failure> {
        let (request, may_pass_on) = self.read_call::<Q>(request).await?;
        Ok(pieces(&self.ask_each(&request, may_pass_on).await?))
    }

    pub(super) async fn ask_each<Q: Asked>(&self, request: &Q, may_pass_on: bool) -> Result<Q::Answer, Failure> {
        let topic = self.context.router.topic(&TopicName::new(request.topic())?)?;
        if let Some(partition) = request.partition() {
            let id = TopicPartition { topic: topic.id, partition: PartitionId::new(partition) };
            return self.at(id, request, may_pass_on).await;
        }
        let asks = (0..topic.partition_count()).map(|partition| {
            let id = TopicPartition { topic: topic.id, partition: PartitionId::new(partition) };
            let request = request.of_partition(partition);
            async move { self.at(id, &request, may_pass_on).await }
        });
        let answers = stream::iter(asks).buffered(AT_ONCE).try_collect().await?;
        Ok(request.joined(answers))
    }

    /// Has a request answered by one partition, here or where it is led.
    pub(super) async fn at<Q: Asked>(
        &self,
        id: TopicPartition,
        request: &Q,
        may_pass_on: bool,
    ) -> Result<Q::Answer, Failure> {
        let mut search = Search::start();
        loop {
            let tried = match self.context.led_partition(request.topic(), id.partition) {
                Ok(handle) => request.here(Here { queues: self, partition: id.partition, handle }).await,
                Err(failure) => Err(failure),
            };
            let failure = match tried {
                Err(failure) if may_pass_on && is_search(&failure) => failure,
                result => return result,
            };
            let message = request.clone();
            let send = async move |channel| message.there(tap::client(channel)).await;
            let failure = match self.context.ask_leader(id, failure, PATIENCE, send).await {
                Err(failure) if is_search_there(&failure) => failure,
                result => return result,
            };
            search.pause(failure).await?;
        }
    }
}

/// The group that a request names.
pub(super) fn group_of(name: &str) -> Result<GroupId, Failure> {
    Ok(GroupId::new(name)?)
}

/// The parts of [`Asked`] that are the same for every request that names a topic and may name a partition.
macro_rules! by_partition {
    ($method:ident) => {
        fn topic(&self) -> &str {
            &self.topic
        }

        fn partition(&self) -> Option<u32> {
            self.partition
        }

        fn of_partition(&self, partition: u32) -> Self {
            Self { partition: Some(partition), ..self.clone() }
        }

        async fn there(self, mut client: super::calls::Client) -> Result<tonic::Response<Self::Answer>, tonic::Status> {
            client.$method($crate::front::grpc::proxy::passed_on(self)).await
        }
    };
}

pub(super) use by_partition;
