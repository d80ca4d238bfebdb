//! The binary as its users meet it: real processes, real files, real signals. One file per behaviour.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "tests look at files, and wait")]

mod bench;
mod crash;
mod data_dir;
mod disk_full;
mod lifecycle;
mod main_job;
mod nodes;
mod queues;
mod records;
mod topics;
mod usage;

use std::path::Path;

use highwater_tests::{Node, Outcome};

/// The binary that cargo built beside these tests.
const BINARY: &str = env!("CARGO_BIN_EXE_highwater");

/// A node on an empty data directory that goes away with it.
struct Fixture {
    node: Node,
    data: tempfile::TempDir,
}

impl Fixture {
    /// A node that serves.
    fn new() -> Self {
        Self::with(&[])
    }

    /// A node that serves, started with more arguments.
    fn with(arguments: &[&str]) -> Self {
        let data = tempfile::tempdir().unwrap();
        Self { node: Node::start_with(BINARY, data.path(), arguments), data }
    }

    /// Kills the node and starts another on the same data.
    fn kill_and_restart(self) -> Self {
        self.kill_and_restart_with(&[])
    }

    /// The same, with more arguments for the other.
    fn kill_and_restart_with(self, arguments: &[&str]) -> Self {
        self.node.kill();
        let node = Node::start_with(BINARY, self.data.path(), arguments);
        Self { node, data: self.data }
    }

    /// Makes a topic of one partition.
    fn topic(&self, name: &str) {
        self.run(&["topic", "create", name]).ok();
    }

    /// Runs a verb against the node.
    fn run(&self, arguments: &[&str]) -> Outcome {
        self.run_with(arguments, b"")
    }

    /// Runs a verb with an input.
    fn run_with(&self, arguments: &[&str], stdin: &[u8]) -> Outcome {
        highwater_tests::highwater(BINARY, self.node.address(), arguments, stdin)
    }

    /// Runs a verb that must succeed, and gives what it printed.
    fn text(&self, arguments: &[&str]) -> String {
        self.run(arguments).ok().text().to_owned()
    }

    /// Where the node keeps its data.
    fn path(&self) -> &Path {
        self.data.path()
    }
}

/// Compares long outputs without printing them.
#[track_caller]
fn assert_same(actual: &[u8], expected: &[u8]) {
    if actual == expected {
        return;
    }
    let at = actual.iter().zip(expected).position(|(a, b)| a != b).unwrap_or(actual.len().min(expected.len()));
    let near =
        |bytes: &[u8]| String::from_utf8_lossy(&bytes[at.saturating_sub(40)..bytes.len().min(at + 40)]).into_owned();
    panic!(
        "{} bytes instead of {}, different from byte {at} on:\n{:?}\n{:?}",
        actual.len(),
        expected.len(),
        near(actual),
        near(expected)
    );
}
