//! Golden transcripts of queues: each file in `tests/queue_scripts` holds commands to one queue, and under each the
//! records and the answers. Records and images go through their bytes. Time moves only by `wait` and `wall`.
//!
//! A line that starts with `>` is a command, the lines under it are what comes of it, `#` is a remark. After a wanted
//! change, run with `HIGHWATER_UPDATE_SCRIPTS=1` and read the difference before it is committed.
//!
//! A token is an offset and the number of its lease, as `5#2`; `5` alone is the newest lease of that message.
#![allow(clippy::disallowed_methods, reason = "reads and rewrites its own scripts")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod queue_script;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use queue_script::Leader;

/// The script again, with what came of each command under it.
fn replay(script: &str) -> String {
    let mut leader = Leader::default();
    let mut text = String::new();
    for line in script.lines() {
        match line.strip_prefix("> ") {
            Some(command) => write!(text, "{line}\n{}", leader.run(command)).unwrap(),
            None if line.is_empty() || line.starts_with('#') => writeln!(text, "{line}").unwrap(),
            None => {} // what came of it last time
        }
    }
    text
}

#[test]
fn every_script_runs_as_it_is_written() {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/queue_scripts");
    let mut count = 0;
    for entry in fs::read_dir(scripts).unwrap() {
        let path = entry.unwrap().path();
        let expected = fs::read_to_string(&path).unwrap();
        let found = replay(&expected);
        if std::env::var_os("HIGHWATER_UPDATE_SCRIPTS").is_some() {
            fs::write(&path, &found).unwrap();
        } else if let Some((line, (expected, found))) =
            expected.lines().chain(["(end)"]).zip(found.lines().chain(["(end)"])).enumerate().find(|(_, (a, b))| a != b)
        {
            panic!("{}:{}\n expected: {expected}\n    found: {found}", path.display(), line + 1);
        }
        count += 1;
    }
    assert!(count >= 10, "only {count} scripts were found");
}
