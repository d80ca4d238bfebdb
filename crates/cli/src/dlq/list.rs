//! `highwater dlq list`: dead messages, a line each.
//!
//! Owns: the JSON of a dead message, which is a contract: one object a line, as they come.

use highwater_client::{DeadMessage, DeadPages, MessageState};
use serde::Serialize;

use super::ListArgs;
use crate::console::remark;
use crate::error::CliError;
use crate::output::{OutputForm, Table, write_stdout};
use crate::queue::QueueName;
use crate::queue::output::{bytes_cell, cell, text, time};
use crate::queue::status::{AttemptRow, cause_name};

/// So many are asked for at a time.
const PAGE: u32 = 200;
/// A table without `--max` has so many lines.
const TABLE_MAX: u64 = 100;

/// A dead message as a line of JSON.
#[derive(Debug, Serialize)]
pub(super) struct DeadRow {
    pub(super) partition: u32,
    pub(super) offset: u64,
    pub(super) attempts: Vec<AttemptRow>,
    pub(super) key: Option<String>,
    pub(super) cause: &'static str,
    pub(super) dead_at: Option<String>,
}

impl DeadRow {
    pub(super) fn new(dead: &DeadMessage) -> Self {
        let (cause, dead_at) = match &dead.status.state {
            MessageState::Dead(death) => (cause_name(death.cause), Some(time(death.at))),
            _ => ("unknown", None),
        };
        Self {
            partition: dead.partition.get(),
            offset: dead.offset.get(),
            attempts: dead.status.journal.iter().map(AttemptRow::new).collect(),
            key: dead.record.as_ref().and_then(|record| record.key.as_deref()).map(text),
            cause,
            dead_at,
        }
    }

    fn cells(&self) -> [String; 7] {
        // The journal keeps the newest; its last one says how many there were.
        let attempts = self.attempts.last().map_or(0, |attempt| attempt.number);
        [
            self.partition.to_string(),
            self.offset.to_string(),
            attempts.to_string(),
            self.cause.to_owned(),
            self.dead_at.clone().unwrap_or_else(|| "-".to_owned()),
            bytes_cell(self.key.as_deref().map(str::as_bytes)),
            self.attempts.last().map_or_else(|| "-".to_owned(), |attempt| cell(&attempt.reason)),
        ]
    }
}

/// Prints them.
pub(super) async fn run(args: ListArgs) -> Result<(), CliError> {
    let filter = args.dead.filter()?;
    let QueueName { topic, group } = &args.dead.queue;
    let failed = CliError::queue(&args.dead.queue);
    let admin = args.dead.connect.client().await?.admin();
    let mut pages = admin.dead_messages(topic.as_str(), group, filter, PAGE, true).await.map_err(&failed)?;
    match args.output.output {
        OutputForm::Json => {
            let mut left = args.max.unwrap_or(u64::MAX);
            while left > 0
                && let Some(rows) = next_rows(&mut pages, left).await.map_err(&failed)?
            {
                left = left.saturating_sub(count(&rows));
                print_json(&rows)?;
            }
            Ok(())
        }
        OutputForm::Table => {
            let max = args.max.unwrap_or(TABLE_MAX);
            let mut rows = Vec::new();
            while count(&rows) < max
                && let Some(more) = next_rows(&mut pages, max - count(&rows)).await.map_err(&failed)?
            {
                rows.extend(more);
            }
            if args.max.is_none() && count(&rows) == max {
                remark(format_args!("these are the first {max}; --max shows more"));
            }
            write_stdout(table(&rows).as_bytes())
        }
    }
}

async fn next_rows(pages: &mut DeadPages, max: u64) -> Result<Option<Vec<DeadRow>>, highwater_client::RequestError> {
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    Ok(pages.next_page().await?.map(|page| page.iter().take(max).map(DeadRow::new).collect()))
}

fn count(rows: &[DeadRow]) -> u64 {
    u64::try_from(rows.len()).unwrap_or(u64::MAX)
}

/// One object a line.
pub(super) fn print_json(rows: &[impl Serialize]) -> Result<(), CliError> {
    let mut lines = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut lines, row).map_err(CliError::Json)?;
        lines.push(b'\n');
    }
    write_stdout(&lines)
}

fn table(rows: &[DeadRow]) -> String {
    if rows.is_empty() {
        return "no message is dead\n".to_owned();
    }
    let mut table = Table::new(["PARTITION", "OFFSET", "ATTEMPTS", "CAUSE", "DEAD SINCE", "KEY", "LAST REASON"]);
    for row in rows {
        table.row(row.cells());
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> DeadRow {
        let attempt = |number, reason: &str| AttemptRow {
            number,
            worker: "w-1".to_owned(),
            at: "2026-01-31T08:00:00.000Z".to_owned(),
            duration_ms: 12,
            reason: reason.to_owned(),
        };
        DeadRow {
            partition: 1,
            offset: 17,
            attempts: vec![attempt(4, "no paper"), attempt(5, "no\nink")],
            key: Some("anna".to_owned()),
            cause: "attempts",
            dead_at: Some("2026-01-31T09:00:00.000Z".to_owned()),
        }
    }

    #[test]
    fn the_dead_have_a_line_each() {
        let shown = "\
PARTITION  OFFSET  ATTEMPTS  CAUSE     DEAD SINCE                KEY   LAST REASON
1          17      5         attempts  2026-01-31T09:00:00.000Z  anna  no ink
";
        assert_eq!(table(&[row()]), shown);
        assert_eq!(table(&[]), "no message is dead\n");
    }

    #[test]
    fn the_names_of_the_keys_are_a_contract() {
        let json = serde_json::to_string(&row()).unwrap();
        let expected = concat!(
            r#"{"partition":1,"offset":17,"attempts":[{"number":4,"worker":"w-1","at":"2026-01-31T08:00:00.000Z","#,
            r#""duration_ms":12,"reason":"no paper"},{"number":5,"worker":"w-1","at":"2026-01-31T08:00:00.000Z","#,
            r#""duration_ms":12,"reason":"no\nink"}],"key":"anna","cause":"attempts","#,
            r#""dead_at":"2026-01-31T09:00:00.000Z"}"#
        );
        assert_eq!(json, expected);
    }
}
