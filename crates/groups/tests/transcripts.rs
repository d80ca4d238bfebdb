//! Golden transcripts: each file in `tests/scripts` holds commands to one coordinator, and under each the records, the
//! answers, or that it waits. Records and images go through their bytes. Time moves only by `wait`.
//!
//! A line that starts with `>` is a command, the lines under it are what comes of it, `#` is a remark. After a wanted
//! change, run with `HIGHWATER_UPDATE_SCRIPTS=1` and read the difference before it is committed.
//!
//! A member id is a name and a number, as `a#1` for the first nonce; a topic stands by its name.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod script;

use highwater_golden::script::replay_all;
use script::Coordinator;

#[test]
fn every_script_runs_as_it_is_written() {
    replay_all(env!("CARGO_MANIFEST_DIR"), "tests/scripts", 10, Coordinator::default, Coordinator::run);
}
