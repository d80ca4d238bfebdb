//! `highwater dlq show`: dead messages whole, with every attempt that is remembered.

use std::collections::BTreeMap;

use highwater_client::DeadMessage;
use serde::Serialize;

use super::ShowArgs;
use super::list::{DeadRow, print_json};
use crate::error::CliError;
use crate::group::report::ago;
use crate::output::{OutputForm, Table, write_stdout};
use crate::queue::QueueName;
use crate::queue::output::{cell, text, time};

/// A dead message with its record. The names of the JSON keys are a contract.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    dead: DeadRow,
    timestamp: Option<String>,
    headers: BTreeMap<String, String>,
    /// `null` where there is none, or the record is not kept.
    value: Option<String>,
}

impl Shown {
    fn new(message: &DeadMessage) -> Self {
        let record = message.record.as_ref();
        let headers = record.map(|record| record.headers.as_slice()).unwrap_or_default().iter();
        Self {
            dead: DeadRow::new(message),
            timestamp: record.map(|record| time(record.timestamp)),
            headers: headers
                .map(|header| (header.name.as_str().to_owned(), text(header.value.as_deref().unwrap_or_default())))
                .collect(),
            value: record.and_then(|record| record.value.as_deref()).map(text),
        }
    }

    fn text(&self, topic: &str) -> String {
        let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let mut head = Table::plain();
        let mut line = |name: &str, value: String| head.row([name.to_owned(), value]);
        line("message", format!("{topic}-{} {}", self.dead.partition, self.dead.offset));
        line("dead since", format!("{} ({})", dash(&self.dead.dead_at), self.dead.cause));
        line("time", dash(&self.timestamp));
        line("key", dash(&self.dead.key));
        for (name, value) in &self.headers {
            line("header", format!("{name}={}", cell(value)));
        }
        let mut attempts = Table::new(["ATTEMPT", "AT", "TOOK", "WORKER", "REASON"]);
        for attempt in &self.dead.attempts {
            attempts.row([
                attempt.number.to_string(),
                attempt.at.clone(),
                ago(attempt.duration_ms),
                attempt.worker.clone(),
                attempt.reason.replace('\n', " "),
            ]);
        }
        let value = self.value.as_deref().unwrap_or("-");
        format!("{}\n{}\n{value}\n", head.render(), attempts.render())
    }
}

/// Prints them.
pub(super) async fn run(args: ShowArgs) -> Result<(), CliError> {
    let filter = args.dead.filter()?;
    let QueueName { topic, group } = &args.dead.queue;
    let failed = CliError::queue(&args.dead.queue);
    let admin = args.dead.connect.client().await?.admin();
    let page = u32::try_from(args.max).unwrap_or(u32::MAX).min(100);
    let mut pages = admin.dead_messages(topic.as_str(), group, filter, page, true).await.map_err(&failed)?;
    let mut shown = 0;
    while shown < args.max
        && let Some(messages) = pages.next_page().await.map_err(&failed)?
    {
        for message in messages.iter().take(usize::try_from(args.max - shown).unwrap_or(usize::MAX)) {
            let message = Shown::new(message);
            match args.output.output {
                OutputForm::Json => print_json(&[message])?,
                OutputForm::Table => {
                    let gap = if shown == 0 { "" } else { "\n" };
                    write_stdout(format!("{gap}{}", message.text(topic.as_str())).as_bytes())?;
                }
            }
            shown += 1;
        }
    }
    if shown == 0 {
        return Err(CliError::NoMessage(format!("queue group {group} of topic {topic} has no such dead message")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::status::AttemptRow;

    fn shown() -> Shown {
        let attempt = AttemptRow {
            number: 1,
            worker: "w-1".to_owned(),
            at: "2026-01-31T08:00:00.000Z".to_owned(),
            duration_ms: 1_200,
            reason: "no\npaper".to_owned(),
        };
        Shown {
            dead: DeadRow {
                partition: 0,
                offset: 5,
                attempts: vec![attempt],
                key: None,
                cause: "rejected",
                dead_at: Some("2026-01-31T09:00:00.000Z".to_owned()),
            },
            timestamp: Some("2026-01-31T07:00:00.000Z".to_owned()),
            headers: BTreeMap::from([("tenant".to_owned(), "acme".to_owned())]),
            value: Some("one tea".to_owned()),
        }
    }

    #[test]
    fn a_dead_message_is_shown_whole() {
        let text = "\
message     orders-0 5
dead since  2026-01-31T09:00:00.000Z (rejected)
time        2026-01-31T07:00:00.000Z
key         -
header      tenant=acme

ATTEMPT  AT                        TOOK  WORKER  REASON
1        2026-01-31T08:00:00.000Z  1s    w-1     no paper

one tea
";
        assert_eq!(shown().text("orders"), text);
        let json = serde_json::to_string(&shown()).unwrap();
        let end = r#""timestamp":"2026-01-31T07:00:00.000Z","headers":{"tenant":"acme"},"value":"one tea"}"#;
        assert!(json.starts_with(r#"{"partition":0,"offset":5,"attempts":["#) && json.ends_with(end), "{json}");
    }
}
