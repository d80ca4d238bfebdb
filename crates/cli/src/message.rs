//! `highwater message where`: where is my message?
//!
//! Owns: the arguments and what is shown: the record's place, and for each queue group whether it waits, who has it, when it
//! is tried again, or why it is dead. The names of the JSON keys are a contract.

use bytes::Bytes;
use clap::{Args, Subcommand};
use highwater_client::{LocateBy, LocatedMessage, Offset, PartitionId, RequestError};
use highwater_types::{ErrorCode, TopicName};
use serde::Serialize;

use crate::args::ConnectArgs;
use crate::error::CliError;
use crate::output::{OutputArgs, Report, Table};
use crate::queue::output::{cell, text, time};
use crate::queue::parse_offset;
use crate::queue::status::StatusRow;

/// The verbs of single messages.
#[derive(Debug, Subcommand)]
pub(crate) enum MessageVerb {
    /// Show where a message is for each queue group: waiting, with whom, tried again when, acked, dead and why
    Where(WhereArgs),
}

/// What `message where` takes.
#[derive(Debug, Args)]
#[group(id = "by", required = true, multiple = false, args = ["offset", "key", "id"])]
#[command(
    after_help = "By key or id, the newest records of each partition are looked through. The id of a message is its header\n\
                        message-id."
)]
pub(crate) struct WhereArgs {
    /// The topic
    topic: TopicName,
    /// Its partition
    #[arg(long, value_name = "PARTITION", requires = "offset")]
    partition: Option<u32>,
    /// Its offset
    #[arg(long, value_name = "OFFSET", requires = "partition", value_parser = parse_offset)]
    offset: Option<Offset>,
    /// The newest with this key
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// The newest with this id
    #[arg(long, value_name = "ID", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    id: Option<String>,
    /// At most so many, by key or id
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..))]
    max: u32,
    /// Look through so many of the newest records of each partition, by key or id
    #[arg(long, value_name = "COUNT", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    look_back: u64,
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Does what was asked for.
pub(crate) async fn run(verb: MessageVerb) -> Result<(), CliError> {
    match verb {
        MessageVerb::Where(args) => find(args).await,
    }
}

async fn find(args: WhereArgs) -> Result<(), CliError> {
    let (by, what) = by(&args);
    let admin = args.connect.client().await?.admin();
    let found = match admin.locate(args.topic.as_str(), by, args.max, args.look_back).await {
        Err(RequestError::Server(error)) if error.code == ErrorCode::OffsetOutOfRange => {
            return Err(CliError::NoMessage(error.to_string()));
        }
        found => found.map_err(CliError::topic(&args.topic))?,
    };
    if found.is_empty() {
        return Err(CliError::NoMessage(format!("topic {} has no message {what}", args.topic)));
    }
    args.output.print(&Found::new(&found))
}

/// What is looked for, for the server and for people.
fn by(args: &WhereArgs) -> (LocateBy, String) {
    if let Some(key) = &args.key {
        let what =
            format!("with key {key:?} among the newest {} of a partition; --look-back goes further", args.look_back);
        return (LocateBy::Key(Bytes::from(key.clone())), what);
    }
    if let Some(id) = &args.id {
        let what =
            format!("with id {id:?} among the newest {} of a partition; --look-back goes further", args.look_back);
        return (LocateBy::MessageId(id.clone()), what);
    }
    // One of them is there: the command line is refused otherwise.
    let (partition, offset) = (args.partition.unwrap_or_default(), args.offset.unwrap_or_default());
    (LocateBy::Offset(PartitionId::new(partition), offset), format!("at {partition} {offset}"))
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
struct Found(Vec<FoundRow>);

#[derive(Debug, Serialize)]
struct FoundRow {
    topic: String,
    partition: u32,
    offset: u64,
    timestamp: String,
    key: Option<String>,
    groups: Vec<GroupRow>,
}

#[derive(Debug, Serialize)]
struct GroupRow {
    group: String,
    #[serde(flatten)]
    status: StatusRow,
}

impl Found {
    fn new(found: &[LocatedMessage]) -> Self {
        let row = |message: &LocatedMessage| {
            let record = &message.record;
            let groups = message.groups.iter();
            FoundRow {
                topic: record.topic.as_str().to_owned(),
                partition: record.partition.get(),
                offset: record.offset.get(),
                timestamp: time(record.timestamp),
                key: record.key.as_deref().map(text),
                groups: groups
                    .map(|(group, status)| GroupRow { group: group.clone(), status: StatusRow::new(status) })
                    .collect(),
            }
        };
        Self(found.iter().map(row).collect())
    }
}

impl FoundRow {
    fn text(&self) -> String {
        let key = self.key.as_deref().map_or_else(String::new, |key| format!(", key {}", cell(key)));
        let head = format!("{}-{} {}, {}{key}\n\n", self.topic, self.partition, self.offset, self.timestamp);
        if self.groups.is_empty() {
            return format!(
                "{head}the topic has no queue groups; streams and replays read the message at its offset\n"
            );
        }
        let mut table = Table::new(["GROUP", "STATE", "FAILED", "DETAIL", "LAST REASON"]);
        for GroupRow { group, status } in &self.groups {
            table.row([
                group.clone(),
                status.state.to_owned(),
                status.failed_attempts.to_string(),
                cell(&status.detail()),
                status.last_reason().map_or_else(|| "-".to_owned(), cell),
            ]);
        }
        head + &table.render()
    }
}

impl Report for Found {
    fn table(&self) -> String {
        self.0.iter().map(FoundRow::text).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use clap::error::ErrorKind;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        found: WhereArgs,
    }

    fn parse(arguments: &[&str]) -> Result<LocateBy, ErrorKind> {
        let line = ["where", "orders"].iter().chain(arguments);
        Line::try_parse_from(line).map(|line| by(&line.found).0).map_err(|error| error.kind())
    }

    #[test]
    fn a_message_is_looked_for_in_one_of_three_ways() {
        let at = LocateBy::Offset(PartitionId::new(2), Offset::new(17).unwrap());
        assert_eq!(parse(&["--partition", "2", "--offset", "17"]), Ok(at));
        assert_eq!(parse(&["--key", "anna"]), Ok(LocateBy::Key("anna".into())));
        assert_eq!(parse(&["--id", "m-1"]), Ok(LocateBy::MessageId("m-1".to_owned())));
        assert_eq!(parse(&[]), Err(ErrorKind::MissingRequiredArgument));
        assert_eq!(parse(&["--offset", "17"]), Err(ErrorKind::MissingRequiredArgument));
        assert_eq!(parse(&["--partition", "2"]), Err(ErrorKind::MissingRequiredArgument));
        assert_eq!(parse(&["--key", "a", "--id", "b"]), Err(ErrorKind::ArgumentConflict));
    }

    #[test]
    fn each_group_says_where_it_is() {
        let group = |group: &str, state| GroupRow {
            group: group.to_owned(),
            status: StatusRow { state, failed_attempts: 1, ..StatusRow::default() },
        };
        let mut row = FoundRow {
            topic: "orders".to_owned(),
            partition: 2,
            offset: 17,
            timestamp: "2026-01-31T08:00:00.000Z".to_owned(),
            key: Some("anna".to_owned()),
            groups: vec![group("billing", "ready"), group("mail", "done")],
        };
        let shown = "\
orders-2 17, 2026-01-31T08:00:00.000Z, key anna

GROUP    STATE  FAILED  DETAIL  LAST REASON
billing  ready  1       -       -
mail     done   1       -       -
";
        assert_eq!(row.text(), shown);
        let json = serde_json::to_string(&row).unwrap();
        assert!(json.contains(r#""key":"anna","groups":[{"group":"billing","state":"ready","failed_attempts":1,"#));
        row.groups.clear();
        assert!(row.text().contains("no queue groups"));
    }
}
