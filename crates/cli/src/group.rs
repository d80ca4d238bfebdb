//! `highwater group list|describe|seek|delete|fence|pause|resume`: groups as an operator sees them.
//!
//! Owns: the arguments and the words of each verb, but for `seek`, which has a file of its own.
//!
//! Never: is a member of a group.

pub(crate) mod report;
mod seek;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand, ValueEnum};
use highwater_client::GroupState;
use highwater_types::TopicName;

use crate::args::ConnectArgs;
use crate::error::CliError;
use crate::output::{OutputArgs, write_stdout};
use crate::queue::{self, QueueName};

use self::report::{Description, Groups};
use self::seek::SeekArgs;

/// The verbs of groups.
#[derive(Debug, Subcommand)]
pub(crate) enum GroupVerb {
    /// List the groups of the cluster
    List(ListArgs),
    /// Show a group: how far it has read each partition, how far it is behind, and which member reads what
    Describe(DescribeArgs),
    /// Set where a group goes on reading, to replay or to skip records
    Seek(SeekArgs),
    /// Delete a group that has no members, with its offsets; there is no way back
    Delete(DeleteArgs),
    /// Throw a member out of its group; what it read goes to the others
    Fence(FenceArgs),
    /// Hand out no more messages of a queue group, as 'queue pause' does
    Pause(PauseArgs),
    /// Hand out messages of a queue group again, as 'queue resume' does
    Resume(ResumeArgs),
}

/// What `group list` takes.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only groups in this state, as often as needed [default: all]
    #[arg(long = "state", value_enum, value_name = "STATE")]
    states: Vec<StateArg>,
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// The states by the names that `group list` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StateArg {
    /// No members, perhaps offsets
    Empty,
    /// Members are joining the next generation
    PreparingRebalance,
    /// The partitions are being shared out
    CompletingRebalance,
    /// Every member has what it was given
    Stable,
    /// It is being deleted
    Dead,
}

/// What `group describe` takes.
#[derive(Debug, Args)]
pub(crate) struct DescribeArgs {
    /// The group
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    group: String,
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What `group delete` takes.
#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The group
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    group: String,
    /// Yes, delete it and forget how far it has read
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// What `group fence` takes.
#[derive(Debug, Args)]
pub(crate) struct FenceArgs {
    /// The group
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    group: String,
    /// The id of the member, as 'group describe' shows it
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    member: String,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// What `group pause` takes.
#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    #[command(flatten)]
    queue: QueueOfGroup,
    /// Why, for whoever looks at it
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// What `group resume` takes.
#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    queue: QueueOfGroup,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// A queue group, named by the group first.
#[derive(Debug, Args)]
struct QueueOfGroup {
    /// The queue group
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    group: String,
    /// Its topic
    #[arg(short, long, value_name = "TOPIC")]
    topic: TopicName,
}

impl From<QueueOfGroup> for QueueName {
    fn from(queue: QueueOfGroup) -> Self {
        Self { topic: queue.topic, group: queue.group }
    }
}

/// Does what was asked for.
pub(crate) async fn run(verb: GroupVerb) -> Result<(), CliError> {
    match verb {
        GroupVerb::List(args) => list(args).await,
        GroupVerb::Describe(args) => describe(args).await,
        GroupVerb::Seek(args) => seek::run(args).await,
        GroupVerb::Delete(args) => delete(args).await,
        GroupVerb::Fence(args) => fence(args).await,
        GroupVerb::Pause(args) => queue::pause(&args.queue.into(), &args.reason, &args.connect).await,
        GroupVerb::Resume(args) => queue::resume(&args.queue.into(), &args.connect).await,
    }
}

async fn list(args: ListArgs) -> Result<(), CliError> {
    let states: Vec<GroupState> = args.states.into_iter().map(StateArg::state).collect();
    let groups = args.connect.client().await?.admin().list_groups(&states).await.map_err(CliError::Request)?;
    args.output.print(&Groups::new(groups))
}

async fn describe(args: DescribeArgs) -> Result<(), CliError> {
    let admin = args.connect.client().await?.admin();
    let found = admin.describe_group(&args.group).await.map_err(CliError::group(&args.group))?;
    args.output.print(&Description::new(found))
}

async fn delete(args: DeleteArgs) -> Result<(), CliError> {
    if !args.yes {
        let what = format!("deletes group {} with its offsets, and there is no way back", args.group);
        return Err(CliError::NeedsYesTo { what });
    }
    let admin = args.connect.client().await?.admin();
    admin.delete_group(&args.group).await.map_err(|source| CliError::group_in_use(&args.group, source, STOP_THEM))
}

const STOP_THEM: &str = "stop its members, or throw them out with 'highwater group fence'";

async fn fence(args: FenceArgs) -> Result<(), CliError> {
    let admin = args.connect.client().await?.admin();
    admin.fence_member(&args.group, &args.member).await.map_err(CliError::group(&args.group))?;
    write_stdout(
        format!("{} is out of group {}; it may join again as a new member\n", args.member, args.group).as_bytes(),
    )
}

impl StateArg {
    fn state(self) -> GroupState {
        match self {
            Self::Empty => GroupState::Empty,
            Self::PreparingRebalance => GroupState::PreparingRebalance,
            Self::CompletingRebalance => GroupState::CompletingRebalance,
            Self::Stable => GroupState::Stable,
            Self::Dead => GroupState::Dead,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_asked_for_by_the_name_that_is_printed() {
        for state in StateArg::value_variants() {
            let name = state.to_possible_value().unwrap().get_name().to_owned();
            assert_eq!(name, report::state_name(Some(state.state())));
        }
    }
}
