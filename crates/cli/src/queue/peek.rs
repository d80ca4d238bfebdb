//! `highwater queue peek`: messages that are not done, without taking them.

use clap::Args;
use highwater_client::{Offset, PartitionId, PeekQueue, PeekedMessage};
use serde::Serialize;

use super::output::{bytes_cell, cell, text, time};
use super::status::StatusRow;
use super::{QueueName, parse_offset};
use crate::args::ConnectArgs;
use crate::error::CliError;
use crate::output::{OutputArgs, Report, Table};

/// What `queue peek` takes.
#[derive(Debug, Args)]
pub(crate) struct PeekArgs {
    #[command(flatten)]
    queue: QueueName,
    /// Only this partition [default: all]
    #[arg(long, value_name = "PARTITION")]
    partition: Option<u32>,
    /// From this offset on [default: the first that is not done]
    #[arg(long, value_name = "OFFSET", requires = "partition", value_parser = parse_offset)]
    from: Option<Offset>,
    /// At most so many
    #[arg(short = 'n', long = "max", value_name = "COUNT", default_value_t = 20,
          value_parser = clap::value_parser!(u32).range(1..))]
    max: u32,
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Looks, and shows what there is.
pub(super) async fn run(args: PeekArgs) -> Result<(), CliError> {
    let mut peek = PeekQueue::new().max(args.max).records(true);
    if let Some(partition) = args.partition {
        peek = peek.partition(PartitionId::new(partition));
    }
    if let Some(offset) = args.from {
        peek = peek.from(offset);
    }
    let admin = args.connect.client().await?.admin();
    let peeked = admin.peek_queue(args.queue.topic.as_str(), &args.queue.group, peek).await;
    args.output.print(&Peeked::new(&peeked.map_err(CliError::queue(&args.queue))?))
}

/// The names of the JSON keys are a contract.
#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Peeked(Vec<PeekedRow>);

#[derive(Debug, Serialize)]
struct PeekedRow {
    partition: u32,
    offset: u64,
    priority: u32,
    timestamp: Option<String>,
    key: Option<String>,
    value: Option<String>,
    #[serde(flatten)]
    status: StatusRow,
}

impl Peeked {
    fn new(messages: &[PeekedMessage]) -> Self {
        let row = |message: &PeekedMessage| {
            let record = message.record.as_ref();
            PeekedRow {
                partition: message.partition.get(),
                offset: message.offset.get(),
                priority: message.priority,
                timestamp: record.map(|record| time(record.timestamp)),
                key: record.and_then(|record| record.key.as_deref()).map(text),
                value: record.and_then(|record| record.value.as_deref()).map(text),
                status: StatusRow::new(&message.status),
            }
        };
        Self(messages.iter().map(row).collect())
    }
}

impl Report for Peeked {
    fn table(&self) -> String {
        if self.0.is_empty() {
            return "nothing is waiting\n".to_owned();
        }
        let mut table = Table::new(["PARTITION", "OFFSET", "STATE", "FAILED", "PRIORITY", "DETAIL", "KEY", "VALUE"]);
        for row in &self.0 {
            table.row([
                row.partition.to_string(),
                row.offset.to_string(),
                row.status.state.to_owned(),
                row.status.failed_attempts.to_string(),
                row.priority.to_string(),
                cell(&row.status.detail()),
                bytes_cell(row.key.as_deref().map(str::as_bytes)),
                bytes_cell(row.value.as_deref().map(str::as_bytes)),
            ]);
        }
        table.render()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<PeekedRow> {
        let row = |offset, state, key: Option<&str>, value: &str| PeekedRow {
            partition: 0,
            offset,
            priority: 4,
            timestamp: None,
            key: key.map(str::to_owned),
            value: Some(value.to_owned()),
            status: StatusRow { state, ..StatusRow::default() },
        };
        vec![row(7, "ready", Some("anna"), "tea\n"), row(12, "waits-for-key", None, "coffee")]
    }

    #[test]
    fn messages_have_a_line_each() {
        let table = "\
PARTITION  OFFSET  STATE          FAILED  PRIORITY  DETAIL  KEY   VALUE
0          7       ready          0       4         -       anna  tea
0          12      waits-for-key  0       4         -       -     coffee
";
        assert_eq!(Peeked(rows()).table(), table);
        assert_eq!(Peeked(Vec::new()).table(), "nothing is waiting\n");
        let json = serde_json::to_string(&Peeked(rows())).unwrap();
        let first = r#"[{"partition":0,"offset":7,"priority":4,"timestamp":null,"key":"anna","value":"tea\n","state":"ready","failed_attempts":0,"#;
        assert!(json.starts_with(first), "{json}");
    }
}
