//! The simulated front door: what clients ask of a node, and the node's side of it.
//!
//! It stands where gRPC stands in the product and holds as little logic: decode, call, encode.

use std::time::Duration;

use bytes::Bytes;
use highwater_broker::admission::ByteBudget;
use highwater_broker::controller::ControllerError;
use highwater_broker::coordinator::{CoordinatorError, CoordinatorHandle, received};
use highwater_broker::node::Node;
use highwater_broker::partition::{Acks, AppendError, PartitionHandle, Position, ReadError, ReadFrom};
use highwater_broker::queues::{self, QueueError};
use highwater_broker::router::{RouteError, Router};
use highwater_groups::queue::{self, QueueConfig};
use highwater_groups::stream::{Answer, Command, GroupId};
use highwater_metadata::{AlterTopic, CreateTopic, GROUPS_TOPIC};
use highwater_types::batch::{ValidBatch, records};
use highwater_types::partitioner::partition_of;
use highwater_types::{ErrorCode, NodeId, Offset, PartitionId, TopicName};
use tokio::sync::{mpsc, oneshot};

/// What a client asks.
#[derive(Clone, Debug)]
pub enum Request {
    ProducerId,
    Produce {
        topic: TopicName,
        partition: u32,
        batch: Bytes,
    },
    Read {
        topic: TopicName,
        partition: u32,
        from: u64,
    },
    End {
        topic: TopicName,
        partition: u32,
    },
    Create {
        topic: TopicName,
        partitions: u32,
        replicas: u32,
    },
    AddPartitions {
        topic: TopicName,
        partitions: u32,
    },
    Delete {
        topic: TopicName,
    },
    Describe {
        topic: TopicName,
    },
    /// For the coordinator of a group. `confirms`: only if nobody has taken over from it.
    Group {
        group: GroupId,
        command: Command,
        confirms: bool,
    },
    /// For a queue group on a partition.
    Queue {
        topic: TopicName,
        partition: u32,
        group: GroupId,
        command: queue::Command,
    },
    /// Makes a queue group on a partition.
    MakeQueue {
        topic: TopicName,
        partition: u32,
        group: GroupId,
        config: QueueConfig,
    },
    /// How a queue group stands on a partition.
    LookAtQueue {
        topic: TopicName,
        partition: u32,
        group: GroupId,
    },
}

/// What it is answered.
#[derive(Clone, Debug)]
pub enum Response {
    Producer { id: i64, epoch: i16 },
    Stored { base: u64, epoch: i32 },
    Records(Read),
    End(u64),
    Topic { id: [u8; 16], partitions: u32 },
    Done,
    Group(Answer),
    Queue(queue::Answer),
    Stands(Stands),
    Refused { code: ErrorCode, leader: Option<NodeId>, words: String },
}

/// Records as a reader gets them.
#[derive(Clone, Debug)]
pub struct Read {
    pub records: Vec<(u64, u64)>,
    pub next: u64,
    pub start: u64,
    pub high_watermark: u64,
}

/// How a queue stands.
#[derive(Clone, Copy, Debug)]
pub struct Stands {
    /// The first message that is neither done nor dead.
    pub first_open: u64,
    pub dead: usize,
    pub is_paused: bool,
}

/// A request at the door, and the way back.
pub struct Call {
    pub request: Request,
    pub reply: oneshot::Sender<Response>,
}

/// Answers calls until nobody can call any more. Appends are handed on in the order of their arrival.
pub async fn serve(
    router: Router,
    controller: highwater_broker::controller::ControllerHandle,
    mut calls: mpsc::Receiver<Call>,
) {
    let budget = ByteBudget::new(64 << 20);
    while let Some(Call { request, reply }) = calls.recv().await {
        match request {
            Request::Produce { topic, partition, batch } => {
                let ticket = append(&router, &budget, &topic, partition, batch).await;
                tokio::spawn(async move {
                    let answer = match ticket {
                        Ok(ticket) => ticket.await.map_err(refused_append),
                        Err(refused) => Err(refused),
                    };
                    let answer = match answer {
                        Ok(ack) => {
                            Response::Stored { base: ack.base_offset.unwrap().get(), epoch: ack.leader_epoch.get() }
                        }
                        Err(refused) => refused,
                    };
                    let _client_gone = reply.send(answer);
                });
            }
            // What one client asks is decided in the order in which it asked, as on a member's stream.
            Request::Group { group, command, confirms: false } => {
                let sent = match coordinator(&router, &group) {
                    Ok(handle) => handle.send(command).await.map_err(refused_by_coordinator),
                    Err(refused) => Err(refused),
                };
                tokio::spawn(async move {
                    let answer = match sent {
                        Ok(asked) => received(asked).await.map_err(refused_by_coordinator),
                        Err(refused) => Err(refused),
                    };
                    let _client_gone = reply.send(answer.map_or_else(|refused| refused, Response::Group));
                });
            }
            Request::Queue { topic, partition, group, command }
                if !matches!(command, queue::Command::Acquire { .. }) =>
            {
                let sent = match find(&router, &topic, partition) {
                    Ok(handle) => handle.queues().send(&group, command).await.map_err(refused_by_queue),
                    Err(refused) => Err(refused),
                };
                tokio::spawn(async move {
                    let answer = match sent {
                        Ok(asked) => queues::received(asked).await.map_err(refused_by_queue),
                        Err(refused) => Err(refused),
                    };
                    let _client_gone = reply.send(answer.map_or_else(|refused| refused, Response::Queue));
                });
            }
            other => {
                let (router, controller) = (router.clone(), controller.clone());
                tokio::spawn(async move {
                    let answer = answer(&router, &controller, other).await.unwrap_or_else(|refused| refused);
                    let _client_gone = reply.send(answer);
                });
            }
        }
    }
}

/// The router and controller of a node.
pub fn doors(node: &Node) -> (Router, highwater_broker::controller::ControllerHandle) {
    (node.router().clone(), node.controller().clone())
}

async fn append(
    router: &Router,
    budget: &ByteBudget,
    topic: &TopicName,
    partition: u32,
    batch: Bytes,
) -> Result<highwater_broker::partition::AppendTicket, Response> {
    if router.disk_gate().check().is_err() {
        return Err(refused(ErrorCode::DiskFull, None, "the disk gate"));
    }
    let handle = find(router, topic, partition)?;
    let batch = ValidBatch::check(batch, 1 << 20).unwrap();
    let permit = budget.acquire(batch.bytes().len()).await.unwrap();
    handle.append(batch, Acks::Quorum, permit).await.map_err(refused_append)
}

async fn answer(
    router: &Router,
    controller: &highwater_broker::controller::ControllerHandle,
    request: Request,
) -> Result<Response, Response> {
    Ok(match request {
        Request::ProducerId => {
            let (id, epoch) = controller.allocate_producer_id().await.map_err(refused_command)?;
            Response::Producer { id: id.get(), epoch: epoch.get() }
        }
        Request::Read { topic, partition, from } => {
            let from = Offset::new(from).unwrap();
            let request = ReadFrom {
                from,
                bytes_max: 64 << 10,
                bytes_min: 1,
                wait: Duration::from_millis(50),
                may_follow: false,
            };
            let read = find(router, &topic, partition)?.read(request).await.map_err(refused_read)?;
            let mut found = Vec::new();
            for batch in read.batches {
                for record in records(batch).unwrap() {
                    let record = record.unwrap();
                    let value = record.value.unwrap();
                    found.push((record.offset.get(), u64::from_be_bytes(value[..8].try_into().unwrap())));
                }
            }
            Response::Records(Read {
                records: found,
                next: read.next_offset.get(),
                start: read.log_start.get(),
                high_watermark: read.high_watermark.get(),
            })
        }
        Request::End { topic, partition } => {
            let end = find(router, &topic, partition)?.resolve(Position::End).await.map_err(refused_read)?;
            Response::End(end.offset.get())
        }
        Request::Create { topic, partitions, replicas } => {
            let create =
                CreateTopic { name: topic, partitions, replicas, settings: Vec::new(), is_validate_only: false };
            let topic = controller.create_topic(create).await.map_err(refused_command)?;
            Response::Topic { id: topic.id.to_bytes(), partitions: topic.partition_count() }
        }
        Request::AddPartitions { topic, partitions } => {
            let change = AlterTopic { name: topic, set: Vec::new(), unset: Vec::new(), partitions: Some(partitions) };
            let topic = controller.alter_topic(change).await.map_err(refused_command)?;
            Response::Topic { id: topic.id.to_bytes(), partitions: topic.partition_count() }
        }
        Request::Delete { topic } => {
            controller.delete_topic(topic).await.map_err(refused_command)?;
            Response::Done
        }
        Request::Describe { topic } => {
            let topic = router.topic(&topic).map_err(refused_route)?;
            Response::Topic { id: topic.id.to_bytes(), partitions: topic.partition_count() }
        }
        Request::Group { group, command, .. } => {
            let handle = coordinator(router, &group)?;
            handle.confirm().await.map_err(refused_by_coordinator)?;
            Response::Group(handle.ask(command).await.map_err(refused_by_coordinator)?)
        }
        Request::MakeQueue { topic, partition, group, config } => {
            let handle = find(router, &topic, partition)?;
            handle.queues().create(&group, config, false).await.map_err(refused_by_queue)?;
            Response::Done
        }
        Request::LookAtQueue { topic, partition, group } => {
            let handle = find(router, &topic, partition)?;
            let look = |_: &queue::Desk, queue: &queue::Queue, _: &queue::Context| Stands {
                first_open: queue.first_open().get(),
                dead: queue.dead_count(),
                is_paused: queue.pause().is_some(),
            };
            Response::Stands(handle.queues().look(&group, look).await.map_err(refused_by_queue)?)
        }
        Request::Queue { topic, partition, group, command: queue::Command::Acquire { worker, max } } => {
            let handle = find(router, &topic, partition)?;
            let acquired = handle.queues().acquire(&group, worker, max).await.map_err(refused_by_queue)?;
            Response::Queue(queue::Answer::Acquire(acquired))
        }
        Request::Produce { .. } | Request::Queue { .. } => unreachable!("they are taken in their order"),
    })
}

fn find(router: &Router, topic: &TopicName, partition: u32) -> Result<PartitionHandle, Response> {
    router.partition(topic, PartitionId::new(partition)).map_err(refused_route)
}

/// The coordinator of a group: the front's own choice, with as many coordinators as there are.
fn coordinator(router: &Router, group: &GroupId) -> Result<CoordinatorHandle, Response> {
    let name = TopicName::new(GROUPS_TOPIC).unwrap();
    let count = router.topic(&name).map_err(refused_route)?.partition_count();
    router.coordinator(&name, partition_of(group.as_str().as_bytes(), count)).map_err(refused_route)
}

fn refused_by_coordinator(error: CoordinatorError) -> Response {
    let leader = match &error {
        CoordinatorError::NotCoordinator { leader } => *leader,
        _ => None,
    };
    refused(error.code(), leader, error)
}

fn refused_by_queue(error: QueueError) -> Response {
    let leader = match &error {
        QueueError::NotLeader { leader } => *leader,
        _ => None,
    };
    refused(error.code(), leader, error)
}

fn refused(code: ErrorCode, leader: Option<NodeId>, words: impl ToString) -> Response {
    Response::Refused { code, leader, words: words.to_string() }
}

fn refused_route(error: RouteError) -> Response {
    let leader = match &error {
        RouteError::Elsewhere { instead, .. } => Some(*instead),
        _ => None,
    };
    refused(error.code(), leader, error)
}

fn refused_append(error: AppendError) -> Response {
    let leader = match &error {
        AppendError::NotLeader { leader } => *leader,
        _ => None,
    };
    refused(error.code(), leader, error)
}

fn refused_read(error: ReadError) -> Response {
    let leader = match &error {
        ReadError::NotLeader { leader } => *leader,
        _ => None,
    };
    refused(error.code(), leader, error)
}

fn refused_command(error: ControllerError) -> Response {
    refused(error.code(), None, error)
}
