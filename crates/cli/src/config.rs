//! `highwater config`: every setting of a node with its value and where that came from.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::error::CliError;
use crate::node_args::NodeArgs;
use crate::output::{OutputArgs, Report, Table, write_stdout};

/// What `highwater config` takes.
#[derive(Debug, Args)]
#[command(after_help = "Flags go before environment variables, these before the file, the file before the defaults.\n\
                        A setting's variable is HIGHWATER_SECTION__NAME: HIGHWATER_GRPC__LISTEN is grpc.listen.")]
pub(crate) struct ConfigArgs {
    /// A configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print a configuration file that holds every setting, its documentation and its default
    #[arg(long, conflicts_with_all = ["config", "data", "listen", "log", "log_format", "set", "output"])]
    sample: bool,
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Row {
    key: &'static str,
    value: String,
    source: String,
}

#[derive(Serialize)]
#[serde(transparent)]
struct Settings(Vec<Row>);

impl Report for Settings {
    fn table(&self) -> String {
        let mut table = Table::new(["SETTING", "VALUE", "FROM"]);
        for row in &self.0 {
            table.row([row.key.to_owned(), row.value.clone(), row.source.clone()]);
        }
        table.render()
    }
}

/// Shows the settings that a node would have, started with the same file, environment and flags.
pub(crate) fn run(args: ConfigArgs) -> Result<(), CliError> {
    if args.sample {
        return write_stdout(highwater_broker::config::sample().as_bytes());
    }
    let config = args.node.load(args.config)?;
    let rows = config.settings().map(|row| Row { key: row.key, value: row.value.clone(), source: row.source.clone() });
    args.output.print(&Settings(rows.collect()))
}
