//! `highwater dlq list|show|redrive|drop`: messages that are not tried again, why, and what to do about them.
//!
//! Owns: which verbs there are, and which messages they are about.
//!
//! Invariant: without `--yes` nothing is changed.

pub(crate) mod filter;
mod list;
mod pace;
mod shift;
mod show;

use clap::{Args, Subcommand};
use highwater_client::DeadFilter;

use self::filter::{Condition, OffsetsArg, combine, parse_condition, parse_offsets};
use crate::args::ConnectArgs;
use crate::error::CliError;
use crate::output::OutputArgs;
use crate::queue::QueueName;

const WHERE: &str = "\
Conditions, which may be combined:
  reason~TEXT        the last attempt failed for a reason that contains this
  key=KEY            with this key
  cause=CAUSE        attempts (failed too often), rejected, or expired
  age>1h, age<2d     dead for at least, at most so long
  offset=A..B        offsets from A up to but not including B; A.., ..B and a single A as well
  partition=P        of this partition";

/// The verbs of dead messages.
#[derive(Debug, Subcommand)]
pub(crate) enum DlqVerb {
    /// List dead messages, with why each died
    #[command(after_help = WHERE)]
    List(ListArgs),
    /// Show dead messages whole: every attempt, the headers and the value
    #[command(after_help = WHERE)]
    Show(ShowArgs),
    /// Have dead messages tried again, with a new budget of attempts; without --yes, say how many
    #[command(after_help = WHERE)]
    Redrive(ShiftArgs),
    /// Give dead messages up for good, which keeps them in the topic; without --yes, say how many
    #[command(after_help = WHERE)]
    Drop(ShiftArgs),
}

/// Which dead messages.
#[derive(Clone, Debug, Args)]
pub(crate) struct DeadArgs {
    #[command(flatten)]
    queue: QueueName,
    /// Only those, such as 'reason~timed out' or 'age>1h', as often as needed: all of it holds
    #[arg(long = "where", value_name = "CONDITION", value_parser = parse_condition)]
    conditions: Vec<Condition>,
    /// Only of this partition
    #[arg(long, value_name = "PARTITION")]
    partition: Option<u32>,
    /// Only with this offset, or with offsets A..B
    #[arg(long, value_name = "OFFSETS", value_parser = parse_offsets)]
    offset: Option<OffsetsArg>,
    #[command(flatten)]
    connect: ConnectArgs,
}

impl DeadArgs {
    fn filter(&self) -> Result<DeadFilter, CliError> {
        let flags = self.partition.map(Condition::Partition).into_iter().chain(self.offset.map(Condition::Offsets));
        combine(self.conditions.iter().cloned().chain(flags)).map_err(CliError::Condition)
    }
}

/// What `dlq list` takes.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    dead: DeadArgs,
    /// At most so many [default: 100 in a table, all as JSON]
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    max: Option<u64>,
    #[command(flatten)]
    output: OutputArgs,
}

/// What `dlq show` takes.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    dead: DeadArgs,
    /// At most so many
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..))]
    max: u64,
    #[command(flatten)]
    output: OutputArgs,
}

/// What `dlq redrive` and `dlq drop` take.
#[derive(Debug, Args)]
pub(crate) struct ShiftArgs {
    #[command(flatten)]
    dead: DeadArgs,
    /// At most so many
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    max: Option<u64>,
    /// So many a second, to spare what the workers depend on [default: as fast as it goes]
    #[arg(long, value_name = "PER SECOND", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// Yes, do it
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
    /// Only say how many it would be, as without --yes
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// Does what was asked for.
pub(crate) async fn run(verb: DlqVerb) -> Result<(), CliError> {
    match verb {
        DlqVerb::List(args) => list::run(args).await,
        DlqVerb::Show(args) => show::run(args).await,
        DlqVerb::Redrive(args) => shift::run(args, shift::Shift::Redrive).await,
        DlqVerb::Drop(args) => shift::run(args, shift::Shift::Drop).await,
    }
}
