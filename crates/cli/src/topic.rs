//! `highwater topic create|list|describe|alter|delete`.

mod report;

use clap::{Args, Subcommand};
use highwater_client::{Admin, NewTopic, TopicChange};
use highwater_types::TopicName;

use crate::args::ConnectArgs;
use crate::error::CliError;
use crate::key_value::KeyValue;
use crate::output::OutputArgs;

use self::report::{Created, Description, Topics};

/// The verbs of topics.
#[derive(Debug, Subcommand)]
pub(crate) enum TopicVerb {
    /// Create a topic
    Create(CreateArgs),
    /// List all topics
    List(ListArgs),
    /// Show the partitions of a topic with their leaders, replicas, lag and offsets, and its settings
    Describe(DescribeArgs),
    /// Change the settings of a topic, or add partitions
    Alter(AlterArgs),
    /// Delete a topic with all its records; there is no way back
    Delete(DeleteArgs),
}

/// What `topic create` takes.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Its name: 1 to 249 of a-z A-Z 0-9 . _ -
    topic: TopicName,
    /// How many partitions [default: the server's setting topic.default_partitions]
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    partitions: Option<u32>,
    /// On how many nodes each partition is kept [default: the server's]
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    replicas: Option<u32>,
    /// A setting of the topic, such as retention.ms=86400000, as often as needed
    #[arg(short, long = "config", value_name = "KEY=VALUE")]
    config: Vec<KeyValue>,
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What `topic list` takes.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What `topic describe` takes.
#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    /// The topic
    topic: TopicName,
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What `topic alter` takes.
#[derive(Debug, Args)]
#[group(id = "change", required = true, multiple = true, args = ["config", "unset", "partitions", "replicas"])]
pub(crate) struct AlterArgs {
    /// The topic
    topic: TopicName,
    /// A setting to change, as often as needed
    #[arg(short, long = "config", value_name = "KEY=VALUE")]
    config: Vec<KeyValue>,
    /// A setting to return to its default, as often as needed
    #[arg(long, value_name = "KEY")]
    unset: Vec<String>,
    /// Grow to so many partitions; records with a key may then go to another one than before
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    partitions: Option<u32>,
    /// Keep each partition on so many nodes; the cluster moves them one after another
    #[arg(short, long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    replicas: Option<u32>,
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What `topic delete` takes.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The topic
    topic: TopicName,
    /// Yes, delete it and all its records
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Does what was asked for.
pub(crate) async fn run(verb: TopicVerb) -> Result<(), CliError> {
    match verb {
        TopicVerb::Create(args) => create(args).await,
        TopicVerb::List(args) => list(args).await,
        TopicVerb::Describe(args) => describe(args).await,
        TopicVerb::Alter(args) => alter(args).await,
        TopicVerb::Delete(args) => delete(args).await,
    }
}

async fn create(args: CreateArgs) -> Result<(), CliError> {
    let admin = args.connect.client().await?.admin();
    let mut topic = NewTopic::new(args.topic.as_str())
        .partitions(args.partitions.unwrap_or_default())
        .replicas(args.replicas.unwrap_or_default());
    for pair in args.config {
        topic = topic.config(pair.key, pair.value);
    }
    admin.create_topic(topic).await.map_err(CliError::topic(&args.topic))?;
    let found = admin.describe_topic(args.topic.as_str()).await.map_err(CliError::topic(&args.topic))?;
    args.output.print(&Created(Description::new(found)))
}

async fn list(args: ListArgs) -> Result<(), CliError> {
    let topics = args.connect.client().await?.admin().list_topics().await.map_err(CliError::Request)?;
    args.output.print(&Topics::new(&topics))
}

async fn describe(args: DescribeArgs) -> Result<(), CliError> {
    show(&args.connect.client().await?.admin(), &args.topic, args.output).await
}

async fn alter(args: AlterArgs) -> Result<(), CliError> {
    let admin = args.connect.client().await?.admin();
    let mut change = TopicChange::new();
    for pair in args.config {
        change = change.set(pair.key, pair.value);
    }
    for name in args.unset {
        change = change.unset(name);
    }
    if let Some(count) = args.partitions {
        change = change.partitions(count);
    }
    if let Some(count) = args.replicas {
        change = change.replicas(count);
    }
    admin.alter_topic(args.topic.as_str(), change).await.map_err(CliError::topic(&args.topic))?;
    show(&admin, &args.topic, args.output).await
}

async fn delete(args: DeleteArgs) -> Result<(), CliError> {
    if !args.yes {
        return Err(CliError::NeedsYes { topic: args.topic });
    }
    let admin = args.connect.client().await?.admin();
    admin.delete_topic(args.topic.as_str()).await.map_err(CliError::topic(&args.topic))
}

async fn show(admin: &Admin, topic: &TopicName, output: OutputArgs) -> Result<(), CliError> {
    let found = admin.describe_topic(topic.as_str()).await.map_err(CliError::topic(topic))?;
    output.print(&Description::new(found))
}
