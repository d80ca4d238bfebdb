//! `highwater health`: for what watches over one node, such as a container's health check.
//!
//! Never: judges the cluster. A node is not ill because another one is, and must not be restarted for it.

use std::time::Duration;

use clap::Args;
use highwater_client::{ConnectError, HealthError, check_health};
use serde::Serialize;

use crate::clock;
use crate::error::CliError;
use crate::output::{OutputArgs, Report};

/// Between two questions to a node that is waited for.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// What `highwater health` takes.
#[derive(Debug, Args)]
#[command(after_help = "'highwater cluster health' asks about the whole cluster.")]
pub(crate) struct HealthArgs {
    /// The node, as HOST:PORT
    #[arg(long, env = "HIGHWATER_SERVER", value_name = "HOST:PORT", default_value = "127.0.0.1:7400")]
    server: String,
    /// How long to wait for its answer
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Ask again until it serves, for so long at most
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = humantime::parse_duration)]
    wait: Duration,
    #[command(flatten)]
    output: OutputArgs,
}

/// Asks the node.
pub(crate) async fn run(args: HealthArgs) -> Result<(), CliError> {
    let deadline = clock::now() + args.wait;
    while let Err(error) = check_health(&args.server, args.timeout).await {
        let is_hopeless = matches!(error, HealthError::Connect(ConnectError::InvalidAddress { .. }));
        if is_hopeless || clock::now() + ASK_EVERY > deadline {
            return Err(error.into());
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    args.output.print(&Serving { server: args.server, serving: true })
}

/// The only result there is; everything else is an error.
#[derive(Debug, Serialize)]
struct Serving {
    server: String,
    serving: bool,
}

impl Report for Serving {
    fn table(&self) -> String {
        format!("{} serves\n", self.server)
    }
}
