//! Golden transcripts of queues: each file in `tests/queue_scripts` holds commands to one queue, and under each the
//! records and the answers. Records and images go through their bytes. Time moves only by `wait` and `wall`.
//!
//! A line that starts with `>` is a command, the lines under it are what comes of it, `#` is a remark. After a wanted
//! change, run with `HIGHWATER_UPDATE_SCRIPTS=1` and read the difference before it is committed.
//!
//! A token is an offset and the number of its lease, as `5#2`; `5` alone is the newest lease of that message.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod queue_script;

use highwater_golden::script::replay_all;
use queue_script::Leader;

#[test]
fn every_script_runs_as_it_is_written() {
    replay_all(env!("CARGO_MANIFEST_DIR"), "tests/queue_scripts", 10, Leader::default, Leader::run);
}
