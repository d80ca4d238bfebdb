//! `highwater dump`: what stands in the files of a log, read without a server and without its lock.
//!
//! Owns: finding the segments that a path means, and going through them in order.
//!
//! Never: writes, repairs or decides; while a server appends, the last frame may look unfinished.

mod check;
mod print;

use std::path::{Path, PathBuf};

use clap::Args;
use highwater_storage::disk::Disk as _;
use highwater_storage::disk::os::OsDisk;
use highwater_storage::inspect::{self, LogFiles, SegmentFile};
use highwater_storage::log::manifest::Tail;
use highwater_storage::log::{FileName, SegmentNumber};
use highwater_storage::{FileError, FileStep, LogKey};

use self::check::{Checker, Problem};
use self::print::Printer;
use crate::error::CliError;
use crate::output::OutputArgs;

/// What `highwater dump` takes.
#[derive(Debug, Args)]
#[command(after_help = "With -o json: a JSON object a line, for each frame, or with --verify for each segment.\n\
                        It may be used while a server runs on the same files.")]
pub(crate) struct DumpArgs {
    /// A data directory, the folder of one log in it, or one segment
    #[arg(value_name = "DIR-OR-SEGMENT")]
    path: PathBuf,
    /// Check every frame and batch, and show only how many there are and what is wrong; exits with 1 if anything is
    #[arg(long)]
    verify: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// A segment to go through.
struct Target {
    file: SegmentFile,
    /// Whether entries may follow those that the manifest knows.
    is_open: bool,
}

/// Prints or checks everything that the path means.
pub(crate) fn run(args: DumpArgs) -> Result<(), CliError> {
    let mut printer = Printer::new(args.output.output, args.verify);
    let mut problems = 0_u64;
    let mut go_through = |target: Target| -> Result<bool, CliError> {
        problems += dump_segment(&target, &mut printer)?;
        Ok(printer.has_audience())
    };
    let dumped = each_target(&args.path, &mut go_through);
    printer.finish()?;
    dumped?;
    if problems > 0 && args.verify {
        return Err(CliError::Damaged { problems, path: args.path });
    }
    Ok(())
}

/// Calls `go_through` with each segment that `path` means, until it says that it is enough.
fn each_target(path: &Path, go_through: &mut dyn FnMut(Target) -> Result<bool, CliError>) -> Result<(), CliError> {
    const LOGS: &str = "logs";
    if path.is_file() {
        go_through(one_segment(path)?)?;
        return Ok(());
    }
    let logs = path.join(LOGS);
    let folders = if logs.is_dir() { folders_in(&logs)? } else { vec![path.to_owned()] };
    for folder in folders {
        let files = inspect::log_files(&OsDisk::default(), &folder)?;
        if files.manifest.is_none() && files.segments.is_empty() {
            return Err(CliError::NoLog { path: folder });
        }
        let last_listed = last_listed(&files);
        for file in files.segments {
            let is_open = Some(file.number) == last_listed;
            if !go_through(Target { file, is_open })? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// The segment that may have grown since the manifest was written.
fn last_listed(files: &LogFiles) -> Option<SegmentNumber> {
    let manifest = files.manifest.as_ref().filter(|manifest| manifest.tail == Tail::Open)?;
    manifest.segments.last().map(|facts| facts.number)
}

fn folders_in(dir: &Path) -> Result<Vec<PathBuf>, CliError> {
    let step = FileStep::List;
    let entries = OsDisk::default().list(dir).map_err(|source| FileError::Io { step, file: dir.to_owned(), source })?;
    // Other names are foreign, or logs that are being deleted.
    let logs = entries.into_iter().filter(|entry| entry.is_dir && entry.name.parse::<LogKey>().is_ok());
    Ok(logs.map(|entry| dir.join(entry.name)).collect())
}

/// A segment by itself, with what the manifest beside it says, if there is one.
fn one_segment(path: &Path) -> Result<Target, CliError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some(FileName::Segment(number)) = FileName::parse(name) else {
        return Err(CliError::NoLog { path: path.to_owned() });
    };
    let beside = path.parent().and_then(|dir| inspect::log_files(&OsDisk::default(), dir).ok());
    let (is_open, known) = match beside {
        Some(files) => {
            (last_listed(&files) == Some(number), files.segments.into_iter().find(|file| file.number == number))
        }
        None => (true, None),
    };
    let alone = SegmentFile { number, path: path.to_owned(), exists: true, facts: None };
    Ok(Target { file: known.unwrap_or(alone), is_open })
}

/// Prints or checks one segment; returns how much is wrong with it.
fn dump_segment(target: &Target, printer: &mut Printer) -> Result<u64, CliError> {
    let mut checker = Checker::new(target.file.facts, target.is_open);
    if !target.file.exists {
        return printer.missing(&target.file);
    }
    let dump = inspect::segment(&OsDisk::default(), &target.file.path)?;
    printer.segment(&target.file, &dump.header)?;
    let mut problems: Vec<Problem> = checker.header(&dump.header).into_iter().collect();
    for frame in dump {
        let frame = frame?;
        let found = checker.frame(&frame);
        printer.frame(&frame, found.as_ref())?;
        problems.extend(found);
        if !printer.has_audience() {
            return Ok(0);
        }
    }
    problems.extend(checker.finish());
    printer.verdict(&target.file, checker.counts(), &problems)?;
    Ok(u64::try_from(problems.len()).unwrap_or(u64::MAX))
}
