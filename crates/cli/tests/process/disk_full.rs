//! A disk that fills up: refusals before it is full, reads and deletes go on, and it recovers without a restart.
//!
//! Needs a small filesystem of its own, which only root can mount; without that it says SKIPPED.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use highwater_tests::Node;

use crate::{BINARY, Fixture};

/// A filesystem in memory, mounted for as long as this lives.
struct SmallDisk {
    at: tempfile::TempDir,
}

impl SmallDisk {
    /// `None` when this user or this machine cannot mount one.
    fn mount(mebibytes: u32) -> Option<Self> {
        let at = tempfile::tempdir().unwrap();
        let size = format!("size={mebibytes}m");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at.path()).output();
        match mount {
            Ok(output) if output.status.success() => Some(Self { at }),
            why => {
                // Not captured by the test runner: what was skipped must be seen.
                let mut stderr = std::io::stderr();
                let _ = writeln!(stderr, "SKIPPED: 1 test, a full disk: cannot mount a small filesystem here: {why:?}");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.at.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.at.path()).output();
    }
}

#[test]
fn a_full_disk_refuses_reads_deletes_and_recovers() {
    let Some(disk) = SmallDisk::mount(96) else { return };
    let data = tempfile::tempdir_in(disk.path()).unwrap();
    let node = Node::start_with(BINARY, data.path(), &["--set", "data.free_bytes_min=16MiB"]);
    let fixture = Fixture { node, data };
    fixture.topic("big");
    fixture.topic("small");
    fixture.run_with(&["produce", "small"], b"before\n").ok();

    let filled = fill(&fixture);
    let kept = fixture.text(&["consume", "big", "--offset", "start", "--exit-at-end", "-f", "%S\\n"]).lines().count();
    assert!(kept >= filled.acknowledged, "what was acknowledged is there: {kept} of {filled:?}");
    assert!(kept <= filled.acknowledged + filled.unknown, "what was refused is not: {kept} of {filled:?}");
    let refused = fixture.run_with(&["produce", "small", "--timeout", "3s"], b"meanwhile\n");
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("DISK_FULL"), "{}", refused.stderr);

    fixture.run(&["topic", "delete", "big", "--yes"]).ok();
    let deadline = Instant::now() + Duration::from_secs(30);
    while fixture.run_with(&["produce", "small", "--timeout", "5s"], b"after\n").code != Some(0) {
        assert!(Instant::now() < deadline, "it did not recover");
    }
    let small = fixture.text(&["consume", "small", "--offset", "start", "--exit-at-end"]);
    assert_eq!(small, "before\nafter\n");

    let fixture = fixture.kill_and_restart_with(&["--set", "data.free_bytes_min=16MiB"]);
    assert_eq!(fixture.text(&["consume", "small", "--offset", "start", "--exit-at-end"]), small);
    // The node lets go of the filesystem before that goes.
    drop(fixture);
}

/// What a producer says that the disk could not take all of.
#[derive(Debug)]
struct Filled {
    acknowledged: usize,
    unknown: usize,
}

/// Produces more than the disk holds.
fn fill(fixture: &Fixture) -> Filled {
    let line = "x".repeat(99_999);
    let input: String = (0..1_500).map(|_| format!("{line}\n")).collect();
    let full = fixture.run_with(&["produce", "big", "--timeout", "4s"], input.as_bytes());
    assert_eq!(full.code, Some(1), "{}", full.stderr);
    // On a busy machine the first to fail may be one that was not answered in time; the reason is looked at later.
    let words: Vec<&str> = full.stderr.split_whitespace().collect();
    let before = |pair: [&str; 2]| -> usize {
        let at = words.windows(2).position(|words| words == pair).unwrap();
        words[at - 1].parse().unwrap()
    };
    let acknowledged = before(["records", "acknowledged,"]);
    assert!((300..1_000).contains(&acknowledged), "{acknowledged} records of 100 kB, on a disk of 96 MiB");
    assert!(before(["not", "stored,"]) > 0, "a full disk is a definite refusal: {}", full.stderr);
    Filled { acknowledged, unknown: before(["perhaps", "stored"]) }
}
