//! `highwater queue set|work|peek|stats|list|delete|pause|resume|cancel|reschedule`: work queues on the topics that there are.
//!
//! Owns: which verbs there are, and those that are one call each. `set`, `work` and what is shown have files of their own.

pub(crate) mod output;
mod peek;
mod set;
mod settings;
mod stats;
pub(crate) mod status;
mod work;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use highwater_client::{Offset, PartitionId, Timestamp};
use highwater_types::TopicName;

use crate::args::ConnectArgs;
use crate::error::CliError;
use crate::output::{OutputArgs, write_stdout};
use crate::position::parse_moment;

use self::stats::Queues;

/// The verbs of queues.
#[derive(Debug, Subcommand)]
pub(crate) enum QueueVerb {
    /// Make a queue group of a topic, or change its settings
    Set(Box<set::SetArgs>),
    /// Run a command for each message: exit code 0 acks it, 75 gives it back, any other fails it
    Work(work::WorkArgs),
    /// Show messages that are not done, without taking them
    Peek(peek::PeekArgs),
    /// Show how many messages are where, and whether the group is paused
    Stats(stats::StatsArgs),
    /// List the queue groups
    List(ListArgs),
    /// Forget a queue group and what became of its messages, which stay in the topic; there is no way back
    Delete(DeleteArgs),
    /// Hand out no more messages until 'queue resume'
    Pause(PauseArgs),
    /// Hand out messages again, whoever paused the group
    Resume(QueueArgs),
    /// Call a message off that nobody has: the group is done with it
    Cancel(CancelArgs),
    /// Give a message that nobody has another time to be delivered
    Reschedule(RescheduleArgs),
}

/// Which queue group.
#[derive(Clone, Debug, Args)]
pub(crate) struct QueueName {
    /// The topic
    pub(crate) topic: TopicName,
    /// The queue group
    #[arg(short, long, value_name = "GROUP", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) group: String,
}

/// Which message.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct MessagePlace {
    /// The partition
    #[arg(long, value_name = "PARTITION")]
    partition: u32,
    /// The offset
    #[arg(long, value_name = "OFFSET", value_parser = parse_offset)]
    offset: Offset,
}

/// What `queue list` takes.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only of this topic [default: of all]
    topic: Option<TopicName>,
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What a verb takes that needs no more than the group.
#[derive(Debug, Args)]
pub(crate) struct QueueArgs {
    #[command(flatten)]
    queue: QueueName,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// What `queue delete` takes.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    queue: QueueName,
    /// Yes, forget it
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// What `queue pause` takes.
#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    #[command(flatten)]
    queue: QueueName,
    /// Why, for whoever looks at it
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// What `queue cancel` takes.
#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    #[command(flatten)]
    queue: QueueName,
    #[command(flatten)]
    place: MessagePlace,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// What `queue reschedule` takes.
#[derive(Debug, Args)]
pub(crate) struct RescheduleArgs {
    #[command(flatten)]
    queue: QueueName,
    #[command(flatten)]
    place: MessagePlace,
    /// When: ms since 1970, 2026-01-31T08:00:00Z, +15m for so long from now, or now
    #[arg(long, value_name = "TIME", value_parser = parse_moment, allow_hyphen_values = true)]
    at: Timestamp,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Reads an offset.
pub(crate) fn parse_offset(text: &str) -> Result<Offset, &'static str> {
    let number: u64 = text.parse().map_err(|_| "an offset is a number, from 0")?;
    Offset::new(number).ok_or("no offset is that large")
}

/// Does what was asked for.
pub(crate) async fn run(verb: QueueVerb) -> Result<(), CliError> {
    match verb {
        QueueVerb::Set(args) => set::run(*args).await,
        QueueVerb::Work(args) => work::run(args).await,
        QueueVerb::Peek(args) => peek::run(args).await,
        QueueVerb::Stats(args) => stats::run(args).await,
        QueueVerb::List(args) => list(args).await,
        QueueVerb::Delete(args) => delete(args).await,
        QueueVerb::Pause(args) => pause(&args.queue, &args.reason, &args.connect).await,
        QueueVerb::Resume(args) => resume(&args.queue, &args.connect).await,
        QueueVerb::Cancel(args) => cancel(args).await,
        QueueVerb::Reschedule(args) => reschedule(args).await,
    }
}

async fn list(args: ListArgs) -> Result<(), CliError> {
    let admin = args.connect.client().await?.admin();
    let listed = admin.list_queues(args.topic.as_ref().map(TopicName::as_str)).await;
    let queues = listed.map_err(|source| match &args.topic {
        Some(topic) => CliError::topic(topic)(source),
        None => CliError::Request(source),
    })?;
    args.output.print(&Queues::new(queues))
}

async fn delete(args: DeleteArgs) -> Result<(), CliError> {
    let QueueName { topic, group } = &args.queue;
    if !args.yes {
        let what = format!(
            "forgets queue group {group} of topic {topic} and what became of its messages, and there is no way back"
        );
        return Err(CliError::NeedsYesTo { what });
    }
    let admin = args.connect.client().await?.admin();
    admin.delete_queue(topic.as_str(), group).await.map_err(CliError::queue(&args.queue))
}

/// Hands out nothing more.
pub(crate) async fn pause(queue: &QueueName, reason: &str, connect: &ConnectArgs) -> Result<(), CliError> {
    let admin = connect.client().await?.admin();
    admin.pause_queue(queue.topic.as_str(), &queue.group, reason).await.map_err(CliError::queue(queue))?;
    write_stdout(format!("queue group {} of topic {} is paused\n", queue.group, queue.topic).as_bytes())
}

/// Hands out messages again.
pub(crate) async fn resume(queue: &QueueName, connect: &ConnectArgs) -> Result<(), CliError> {
    let admin = connect.client().await?.admin();
    admin.resume_queue(queue.topic.as_str(), &queue.group).await.map_err(CliError::queue(queue))?;
    write_stdout(format!("queue group {} of topic {} hands out messages\n", queue.group, queue.topic).as_bytes())
}

async fn cancel(args: CancelArgs) -> Result<(), CliError> {
    let QueueName { topic, group } = &args.queue;
    let MessagePlace { partition, offset } = args.place;
    let admin = args.connect.client().await?.admin();
    let cancelled = admin.cancel(topic.as_str(), group, PartitionId::new(partition), offset).await;
    cancelled.map_err(CliError::queue(&args.queue))?;
    write_stdout(format!("queue group {group} is done with {topic}-{partition} {offset}\n").as_bytes())
}

async fn reschedule(args: RescheduleArgs) -> Result<(), CliError> {
    let QueueName { topic, group } = &args.queue;
    let MessagePlace { partition, offset } = args.place;
    let admin = args.connect.client().await?.admin();
    let moved = admin.reschedule(topic.as_str(), group, PartitionId::new(partition), offset, args.at).await;
    moved.map_err(CliError::queue(&args.queue))?;
    let at = output::time(args.at);
    write_stdout(format!("queue group {group} gets {topic}-{partition} {offset} at {at}\n").as_bytes())
}
