//! `highwater cluster …`: what an operator asks of a cluster, and does with its nodes.
//!
//! Owns: the arguments, and the words of each verb. What is printed stands in `report`, waiting in `wait`.
//!
//! Never: does anything by itself. The cluster decides and carries out, also when this command has ended; `--wait` only
//! watches.

mod join;
pub(crate) mod report;
mod wait;

use std::time::Duration;

use clap::{Args, Subcommand};
use highwater_client::{Admin, NodeId, NodeState, PartitionId};
use highwater_types::TopicName;

use self::join::JoinArgs;
use self::report::{Begun, Health, Plan, Status};
use crate::args::ConnectArgs;
use crate::error::CliError;
use crate::output::OutputArgs;

/// The verbs of clusters.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterVerb {
    /// Show the nodes: where they are, their state, what they hold and lead
    Status(StatusArgs),
    /// Say what is wrong and what to do; exits with 1 if anything is
    Health(StatusArgs),
    /// Start a node on this machine that joins a running cluster; prints 'ready' when it serves
    Join(JoinArgs),
    /// Take the leaders off a node, so that it can be stopped without anybody noticing
    Drain(DrainArgs),
    /// Move everything off a node to the others, and remove it when that is done
    Decommission(DecommissionArgs),
    /// Move everything that one node holds to another, and remove the first when that is done
    Replace(ReplaceArgs),
    /// Spread replicas and leaders evenly over the nodes
    Balance(BalanceArgs),
    /// Make another of its replicas the leader of a partition
    Transfer(TransferArgs),
    /// Move the replicas of a partition to other nodes
    Move(MoveArgs),
    /// Remove a node that holds nothing; its number is never given out again
    Remove(RemoveArgs),
}

/// What `cluster status` and `cluster health` take.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Watching what was begun.
#[derive(Clone, Copy, Debug, Args)]
struct WaitArgs {
    /// Wait until it is done, for so long at most [without a value: 1h]; it goes on if this command is interrupted
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = "1h", require_equals = true,
          value_parser = humantime::parse_duration)]
    wait: Option<Duration>,
}

/// What `cluster drain` takes.
#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// The node
    #[arg(value_name = "NODE")]
    node: u64,
    /// Let it lead again
    #[arg(long)]
    undo: bool,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// What `cluster decommission` takes.
#[derive(Debug, Args)]
pub(crate) struct DecommissionArgs {
    /// The node
    #[arg(value_name = "NODE")]
    node: u64,
    /// Keep it after all: what has not moved yet stays
    #[arg(long)]
    undo: bool,
    /// Yes, empty and remove it
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// What `cluster replace` takes.
#[derive(Debug, Args)]
pub(crate) struct ReplaceArgs {
    /// The node to empty and remove; it may be gone already
    #[arg(value_name = "NODE")]
    node: u64,
    /// The node that takes its place; start it first, with 'highwater cluster join'
    #[arg(long, value_name = "NODE")]
    by: u64,
    /// Yes, empty and remove it
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// What `cluster balance` takes.
#[derive(Debug, Args)]
pub(crate) struct BalanceArgs {
    /// Only show what would be done first
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What `cluster transfer` takes.
#[derive(Debug, Args)]
pub(crate) struct TransferArgs {
    /// The topic
    topic: TopicName,
    /// The partition
    #[arg(long, value_name = "PARTITION", default_value_t = 0)]
    partition: u32,
    /// The node that is to lead it, one of its replicas
    #[arg(long, value_name = "NODE")]
    to: u64,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// What `cluster move` takes.
#[derive(Debug, Args)]
pub(crate) struct MoveArgs {
    /// The topic
    topic: TopicName,
    /// The partition
    #[arg(long, value_name = "PARTITION", default_value_t = 0)]
    partition: u32,
    /// The nodes that are to hold it, such as 1,2,4; the first is to lead it
    #[arg(long, value_name = "NODES", value_delimiter = ',', required = true)]
    to: Vec<u64>,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// What `cluster remove` takes.
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// The node
    #[arg(value_name = "NODE")]
    node: u64,
    /// Yes, remove it
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Does what was asked for.
pub(crate) fn run(verb: ClusterVerb) -> Result<(), CliError> {
    match verb {
        // It becomes a server, with a runtime of its own.
        ClusterVerb::Join(args) => join::run(args),
        verb => crate::on_runtime(ask(verb)),
    }
}

async fn ask(verb: ClusterVerb) -> Result<(), CliError> {
    match verb {
        ClusterVerb::Status(args) => status(args).await,
        ClusterVerb::Health(args) => health(args).await,
        ClusterVerb::Join(_) => Ok(()),
        ClusterVerb::Drain(args) => drain(args).await,
        ClusterVerb::Decommission(args) => decommission(args).await,
        ClusterVerb::Replace(args) => replace(args).await,
        ClusterVerb::Balance(args) => balance(args).await,
        ClusterVerb::Transfer(args) => transfer(args).await,
        ClusterVerb::Move(args) => move_replicas(args).await,
        ClusterVerb::Remove(args) => remove(args).await,
    }
}

async fn status(args: StatusArgs) -> Result<(), CliError> {
    let admin = args.connect.client().await?.admin();
    args.output.print(&Status::new(admin.describe_cluster().await.map_err(CliError::Request)?))
}

async fn health(args: StatusArgs) -> Result<(), CliError> {
    let admin = args.connect.client().await?.admin();
    let problems = admin.cluster_health().await.map_err(CliError::Request)?;
    let count = problems.len();
    args.output.print(&Health::new(problems))?;
    if count == 0 { Ok(()) } else { Err(CliError::Unhealthy { problems: count }) }
}

async fn drain(args: DrainArgs) -> Result<(), CliError> {
    let (admin, node) = (args.connect.client().await?.admin(), NodeId::new(args.node));
    if args.undo {
        set_state(&admin, node, NodeState::Active).await?;
        return Begun(format!("node {node} may lead again; leaders come back to it after a while")).print();
    }
    set_state(&admin, node, NodeState::Draining).await?;
    match args.wait.wait {
        Some(longest) => {
            wait::until_it_leads_nothing(&admin, node, longest).await?;
            Begun(format!("node {node} leads nothing; it can be stopped")).print()
        }
        None => Begun(format!("node {node} hands over what it leads; 'cluster status' shows how far it is")).print(),
    }
}

async fn decommission(args: DecommissionArgs) -> Result<(), CliError> {
    let node = NodeId::new(args.node);
    if args.undo {
        let admin = args.connect.client().await?.admin();
        set_state(&admin, node, NodeState::Active).await?;
        return Begun(format!("node {node} stays")).print();
    }
    if !args.yes {
        return Err(CliError::NeedsYesTo { what: format!("moves everything off node {node} and removes it") });
    }
    let admin = args.connect.client().await?.admin();
    set_state(&admin, node, NodeState::Decommissioning).await?;
    finish_removal(&admin, node, args.wait).await
}

async fn replace(args: ReplaceArgs) -> Result<(), CliError> {
    let (node, by) = (NodeId::new(args.node), NodeId::new(args.by));
    if !args.yes {
        let what = format!("moves everything that node {node} holds to node {by} and removes node {node}");
        return Err(CliError::NeedsYesTo { what });
    }
    let admin = args.connect.client().await?.admin();
    admin.replace_node(node, by).await.map_err(CliError::Request)?;
    finish_removal(&admin, node, args.wait).await
}

async fn finish_removal(admin: &Admin, node: NodeId, args: WaitArgs) -> Result<(), CliError> {
    match args.wait {
        Some(longest) => {
            wait::until_it_is_gone(admin, node, longest).await?;
            Begun(format!("node {node} is removed; stop it, its data is not needed any more")).print()
        }
        None => Begun(format!("node {node} is being emptied; 'cluster status' shows how far it is")).print(),
    }
}

async fn balance(args: BalanceArgs) -> Result<(), CliError> {
    let admin = args.connect.client().await?.admin();
    let moves = admin.balance(args.dry_run).await.map_err(CliError::Request)?;
    args.output.print(&Plan::new(moves, args.dry_run))?;
    match args.wait.wait {
        Some(longest) if !args.dry_run => wait::until_balanced(&admin, longest).await,
        _ => Ok(()),
    }
}

async fn transfer(args: TransferArgs) -> Result<(), CliError> {
    let admin = args.connect.client().await?.admin();
    let (topic, partition, to) = (&args.topic, PartitionId::new(args.partition), NodeId::new(args.to));
    admin.transfer_leader(topic.as_str(), partition, to).await.map_err(CliError::topic(topic))?;
    match args.wait.wait {
        Some(longest) => {
            wait::until_led_by(&admin, topic, partition, to, longest).await?;
            Begun(format!("node {to} leads partition {partition} of {topic}")).print()
        }
        None => Begun(format!("node {to} is to lead partition {partition} of {topic}")).print(),
    }
}

async fn move_replicas(args: MoveArgs) -> Result<(), CliError> {
    let admin = args.connect.client().await?.admin();
    let (topic, partition) = (&args.topic, PartitionId::new(args.partition));
    let to: Vec<NodeId> = args.to.iter().copied().map(NodeId::new).collect();
    admin.move_replicas(topic.as_str(), partition, &to).await.map_err(CliError::topic(topic))?;
    let nodes = report::nodes(args.to.iter().copied());
    match args.wait.wait {
        Some(longest) => {
            wait::until_moved(&admin, topic, partition, &to, longest).await?;
            Begun(format!("partition {partition} of {topic} is on nodes {nodes}")).print()
        }
        None => Begun(format!("partition {partition} of {topic} moves to nodes {nodes}")).print(),
    }
}

async fn remove(args: RemoveArgs) -> Result<(), CliError> {
    let node = NodeId::new(args.node);
    if !args.yes {
        return Err(CliError::NeedsYesTo { what: format!("removes node {node} for ever") });
    }
    let admin = args.connect.client().await?.admin();
    admin.remove_node(node).await.map_err(CliError::Request)?;
    Begun(format!("node {node} is removed")).print()
}

async fn set_state(admin: &Admin, node: NodeId, state: NodeState) -> Result<(), CliError> {
    admin.set_node_state(node, state).await.map_err(CliError::Request)
}
