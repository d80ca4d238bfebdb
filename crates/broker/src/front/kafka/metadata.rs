//! `Metadata`: the nodes, the topics, and who leads their partitions.
//!
//! Makes topics that are asked for and not there, where both the server and the client want that.

use std::sync::Arc;
use std::time::Duration;

use highwater_metadata::{Assignment, CreateTopic, MetadataImage, Topic};
use highwater_types::{ErrorCode, NodeId, TopicId, TopicPartition};

use super::call::Call;
use super::context::{Broker, Context, Leaders, node_number, own_name, partition_number};
use super::error::{KafkaCode, Refusal, code_of};
use super::wire::{Malformed, Reader, Writer};
use crate::front::failure::Failure;

/// How long the first answer about a topic that was just made waits for its partitions.
const OPEN_PATIENCE: Duration = Duration::from_secs(5);
/// "Not asked for": authorized operations.
pub(super) const NO_OPERATIONS: i32 = i32::MIN;

/// A topic that a client names.
struct Asked {
    id: TopicId,
    name: Option<String>,
}

struct Question {
    /// `None`: all of them.
    topics: Option<Vec<Asked>>,
    may_create: bool,
}

/// What there is to say of one topic.
struct Told {
    asked: Asked,
    found: Result<Arc<Topic>, Refusal>,
}

pub(super) async fn answer(mut call: Call, context: &Context) -> Result<Writer, Malformed> {
    let question = read(&mut call.body, call.version)?;
    let told = find(question, context).await;
    let page =
        Page { version: call.version, view: View::of(partitions_of(&told), call.listener.as_deref(), context).await };
    let controller = context.controller_leadership.borrow().leader;
    Ok(page.write(call.writer(), &told, controller))
}

fn partitions_of(told: &[Told]) -> Vec<TopicPartition> {
    let topics = told.iter().filter_map(|told| told.found.as_ref().ok());
    let partitions = topics.flat_map(|topic| topic.numbered_partitions().map(|(partition, _)| (topic.id, partition)));
    partitions.map(|(topic, partition)| TopicPartition { topic, partition }).collect()
}

fn read(body: &mut Reader, version: i16) -> Result<Question, Malformed> {
    let topics = body.nullable_array(|body| {
        let id = if version >= 10 { body.topic_id()? } else { TopicId::from_bytes([0; 16]) };
        let name = if version >= 10 { body.nullable_text()? } else { Some(body.text()?) };
        body.tags()?;
        Ok(Asked { id, name })
    })?;
    let may_create = if version >= 4 { body.bool()? } else { true };
    if (8..=10).contains(&version) {
        let _operations_of_cluster = body.bool()?;
    }
    if version >= 8 {
        let _operations_of_topics = body.bool()?;
    }
    body.tags()?;
    // In the first version there was no other word for "all".
    let topics = topics.filter(|topics| version > 0 || !topics.is_empty());
    Ok(Question { topics, may_create })
}

async fn find(question: Question, context: &Context) -> Vec<Told> {
    let Some(topics) = question.topics else {
        let image = context.router.image();
        let own = image.topics().filter(|topic| !topic.is_internal()).map(Arc::clone);
        let told = |topic: Arc<Topic>| Told { asked: Asked { id: topic.id, name: None }, found: Ok(topic) };
        return own.map(told).collect();
    };
    let may_create = question.may_create && context.auto_create_topics;
    let mut told = Vec::with_capacity(topics.len());
    for asked in topics {
        let found = match &asked.name {
            None => context.topic_by_id(asked.id),
            Some(name) => by_name(name, may_create, context).await.map_err(Refusal::from),
        };
        told.push(Told { asked, found });
    }
    told
}

async fn by_name(name: &str, may_create: bool, context: &Context) -> Result<Arc<Topic>, Failure> {
    match context.topic(name) {
        Err(failure) if may_create && failure.code == ErrorCode::UnknownTopic => {}
        found => return found,
    }
    let topic = CreateTopic {
        name: own_name(name)?,
        partitions: 0,
        replicas: 0,
        settings: Vec::new(),
        is_validate_only: false,
    };
    let created = context.controller.create_topic(topic).await.map_err(Failure::from);
    let topic = match created {
        // Somebody else was faster.
        Err(failure) if failure.code == ErrorCode::TopicExists => context.topic(name)?,
        created => created?,
    };
    context.router.wait_until_open(topic.id, OPEN_PATIENCE).await;
    Ok(topic)
}

/// Who leads partitions and who answers, as this node knows at one moment.
pub(super) struct View {
    brokers: Vec<Broker>,
    image: Arc<MetadataImage>,
    leaders: Leaders,
}

impl View {
    pub(super) async fn of(partitions: Vec<TopicPartition>, listener: Option<&str>, context: &Context) -> Self {
        let leaders = context.leaders(partitions).await;
        Self { brokers: context.brokers(listener), image: context.router.image(), leaders }
    }

    /// Writes what all answers that tell of partitions begin with: the code, the number, the leader and its epoch.
    pub(super) fn write_leader(&self, body: &mut Writer, at: TopicPartition, has_epoch: bool) {
        let leader =
            self.leaders.get(&at).filter(|(leader, _)| self.brokers.iter().any(|broker| broker.node == *leader));
        let code = if leader.is_some() { KafkaCode::NONE } else { KafkaCode::LEADER_NOT_AVAILABLE };
        body.i16(code.number());
        body.i32(partition_number(at.partition));
        body.i32(leader.map_or(-1, |(leader, _)| node_number(*leader)));
        if has_epoch {
            body.i32(leader.map_or(-1, |(_, epoch)| epoch.get()));
        }
    }

    /// The replicas that answer, and those that do not.
    pub(super) fn replicas(&self, held: &Assignment) -> (Vec<NodeId>, Vec<NodeId>) {
        let answers = |node: &NodeId| self.image.member(*node).is_some_and(|member| !member.is_fenced);
        held.replicas.iter().partition(|node| answers(node))
    }
}

pub(super) fn write_nodes(body: &mut Writer, nodes: &[NodeId]) {
    body.array(nodes, |body, node| body.i32(node_number(*node)));
}

/// The answer, as far as it is the same for all topics.
struct Page {
    version: i16,
    view: View,
}

impl Page {
    fn write(&self, mut body: Writer, told: &[Told], controller: Option<NodeId>) -> Writer {
        let version = self.version;
        if version >= 3 {
            body.i32(0);
        }
        body.array(self.view.brokers.iter().filter(|broker| !broker.is_fenced).collect::<Vec<_>>(), |body, broker| {
            body.i32(node_number(broker.node));
            body.text(&broker.host);
            body.i32(broker.port);
            if version >= 1 {
                body.nullable_text(broker.rack.as_deref());
            }
            body.tags();
        });
        if version >= 2 {
            let cluster = self.view.image.cluster().map(|cluster| cluster.to_string());
            body.nullable_text(cluster.as_deref());
        }
        if version >= 1 {
            body.i32(controller.map_or(-1, node_number));
        }
        body.array(told, |body, told| self.write_topic(body, told));
        if (8..=10).contains(&version) {
            body.i32(NO_OPERATIONS);
        }
        if version >= 13 {
            body.i16(KafkaCode::NONE.number());
        }
        body.tags();
        body
    }

    fn write_topic(&self, body: &mut Writer, told: &Told) {
        let version = self.version;
        body.i16(code_of(&told.found));
        let (id, name) = match &told.found {
            Ok(topic) => (topic.id, Some(topic.name.as_str())),
            Err(_) => (told.asked.id, told.asked.name.as_deref()),
        };
        match version >= 12 {
            true => body.nullable_text(name),
            false => body.text(name.unwrap_or_default()),
        }
        if version >= 10 {
            body.topic_id(id);
        }
        if version >= 1 {
            body.bool(false);
        }
        let partitions = told.found.iter().flat_map(|topic| topic.numbered_partitions()).collect::<Vec<_>>();
        body.array(partitions, |body, (partition, held)| {
            self.write_partition(body, TopicPartition { topic: id, partition }, held);
        });
        if version >= 8 {
            body.i32(NO_OPERATIONS);
        }
        body.tags();
    }

    fn write_partition(&self, body: &mut Writer, at: TopicPartition, held: &Assignment) {
        let version = self.version;
        self.view.write_leader(body, at, version >= 7);
        let (online, offline) = self.view.replicas(held);
        write_nodes(body, &held.replicas);
        write_nodes(body, &online);
        if version >= 5 {
            write_nodes(body, &offline);
        }
        body.tags();
    }
}
