//! What `dump` prints, a line at a time, as a table or as JSON.
//!
//! Invariant: memory does not grow with the log.

use std::io::{self, BufWriter, StdoutLock, Write as _};

use highwater_storage::EntryKind;
use highwater_storage::inspect::{FrameDump, SegmentFile};
use highwater_storage::log::{SegmentHeader, SegmentHeaderError};
use serde_json::{Value, json};

use super::check::{Counts, Problem};
use crate::error::CliError;
use crate::output::OutputForm;

/// Prints lines for as long as somebody reads them.
pub(super) struct Printer {
    out: BufWriter<StdoutLock<'static>>,
    form: OutputForm,
    /// Only how many frames there are and what is wrong with them.
    is_summary: bool,
    has_audience: bool,
}

impl Printer {
    pub(super) fn new(form: OutputForm, is_summary: bool) -> Self {
        Self { out: BufWriter::new(io::stdout().lock()), form, is_summary, has_audience: true }
    }

    /// Whether anybody still reads what is printed.
    pub(super) fn has_audience(&self) -> bool {
        self.has_audience
    }

    fn line(&mut self, text: &str) -> Result<(), CliError> {
        let written = writeln!(self.out, "{text}");
        self.note(written)
    }

    fn note(&mut self, written: io::Result<()>) -> Result<(), CliError> {
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.has_audience = false;
                Ok(())
            }
            other => other.map_err(CliError::Stdout),
        }
    }

    /// A listed segment that is not there: one problem.
    pub(super) fn missing(&mut self, file: &SegmentFile) -> Result<u64, CliError> {
        let problem = Problem { position: 0, what: "the manifest lists it, and it is not there".to_owned() };
        self.is_summary = true;
        self.verdict(file, Counts::default(), &[problem])?;
        Ok(1)
    }

    /// The beginning of a segment.
    pub(super) fn segment(
        &mut self,
        file: &SegmentFile,
        header: &Result<SegmentHeader, SegmentHeaderError>,
    ) -> Result<(), CliError> {
        if self.is_summary || self.form == OutputForm::Json {
            return Ok(());
        }
        self.line(&format!("segment {}", file.path.display()))?;
        match header {
            Ok(header) => self.line(&format!(
                "  log {}, from entry {} and offset {}, made at {} ms",
                header.key, header.base_index, header.base_offset, header.created
            ))?,
            Err(error) => self.line(&format!("  {error}"))?,
        }
        match &file.facts {
            Some(facts) => self.line(&format!("  the manifest knows it up to byte {}", facts.end.position))?,
            None => self.line("  the manifest does not list it: nothing in it counts yet, or any more")?,
        }
        self.line("  POSITION    TERM.INDEX    KIND        RECORDS  BASE OFFSET   BYTES     COMPRESSION  PRODUCER")
    }

    /// A frame, good or bad.
    pub(super) fn frame(&mut self, frame: &FrameDump, problem: Option<&Problem>) -> Result<(), CliError> {
        if self.is_summary {
            return Ok(());
        }
        let text = match self.form {
            OutputForm::Json => json_frame(frame, problem).to_string(),
            OutputForm::Table => table_frame(frame, problem),
        };
        self.line(&text)
    }

    /// The end of a segment.
    pub(super) fn verdict(&mut self, file: &SegmentFile, counts: Counts, problems: &[Problem]) -> Result<(), CliError> {
        if !self.is_summary {
            return Ok(());
        }
        let Counts { frames, records, dropped } = counts;
        let path = file.path.display().to_string();
        if self.form == OutputForm::Json {
            let problems: Vec<Value> =
                problems.iter().map(|problem| json!({"position": problem.position, "what": problem.what})).collect();
            let verdict = json!({
                "segment": path, "frames": frames, "records": records, "dropped": dropped, "problems": problems,
            });
            return self.line(&verdict.to_string());
        }
        let state = if problems.is_empty() { "ok      " } else { "DAMAGED " };
        self.line(&format!("{state} {path}: {frames} frames, {records} records"))?;
        for problem in problems {
            self.line(&format!("         at byte {}: {}", problem.position, problem.what))?;
        }
        Ok(())
    }

    /// Prints what is still held back.
    pub(super) fn finish(mut self) -> Result<(), CliError> {
        let written = self.out.flush();
        self.note(written)
    }
}

fn table_frame(frame: &FrameDump, problem: Option<&Problem>) -> String {
    let position = frame.position;
    let mut line = match &frame.header {
        Err(error) => format!("  {position:<10}  {error}"),
        Ok(header) => {
            let (base, compression, producer) = match &frame.batch {
                None => ("-".to_owned(), "-".to_owned(), "-".to_owned()),
                Some(batch) => {
                    let producer = batch.producer.map_or_else(
                        || "-".to_owned(),
                        |stamp| format!("{}:{}:{}", stamp.id, stamp.epoch, stamp.first_sequence),
                    );
                    (batch.base_offset.to_string(), batch.compression.to_string(), producer)
                }
            };
            let (id, kind) = (header.id.to_string(), kind_name(header.kind));
            let (records, bytes) = (header.record_count, header.payload_bytes);
            format!(
                "  {position:<10}  {id:<12}  {kind:<10}  {records:<7}  {base:<12}  {bytes:<8}  {compression:<11}  {producer}"
            )
        }
    };
    if let Some(problem) = problem {
        line.push_str(&format!("  DAMAGED: {}", problem.what));
    }
    line
}

fn json_frame(frame: &FrameDump, problem: Option<&Problem>) -> Value {
    let mut row = match &frame.header {
        Err(error) => json!({"position": frame.position, "error": error.to_string()}),
        Ok(header) => json!({
            "position": frame.position,
            "index": header.id.index.get(),
            "term": header.id.term.get(),
            "kind": kind_name(header.kind),
            "records": header.record_count,
            "payload_bytes": header.payload_bytes,
            "durable_through": header.durable_through,
        }),
    };
    let mut set = |key: &str, value: Value| row.as_object_mut().and_then(|row| row.insert(key.to_owned(), value));
    if let Some(batch) = &frame.batch {
        set("base_offset", batch.base_offset.get().into());
        set("compression", batch.compression.to_string().into());
        set("max_timestamp", batch.max_timestamp.as_ms().into());
        set("producer_id", batch.producer.map_or(Value::Null, |stamp| stamp.id.get().into()));
    }
    if let Some(problem) = problem {
        set("problem", problem.what.as_str().into());
    }
    row
}

fn kind_name(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Data => "data",
        EntryKind::Blank => "blank",
        EntryKind::Membership => "membership",
        EntryKind::Metadata => "metadata",
        EntryKind::GroupDelta => "queue",
        EntryKind::Groups => "groups",
        EntryKind::RecordsDeleted => "records deleted",
        _ => "unknown",
    }
}
