//! Data directories that are in use, damaged, newer, or hold what is not ours: nothing is guessed, everything is named.

use std::path::{Path, PathBuf};

use highwater_tests::{Failed, Node, Outcome};
use serde_json::Value;

use crate::{BINARY, Fixture, assert_same};

/// A data directory with a topic of some batches, left by a node that was killed or stopped.
struct Left {
    data: tempfile::TempDir,
    log: PathBuf,
    input: Vec<u8>,
}

impl Left {
    fn behind(was_killed: bool) -> Self {
        let fixture = Fixture::new();
        fixture.topic("t");
        let input = highwater_tests::text(30_000);
        for part in input.split_inclusive(|byte| *byte == b'\n').collect::<Vec<_>>().chunks(5_000) {
            fixture.run_with(&["produce", "t"], &part.concat()).ok();
        }
        let Fixture { node, data } = fixture;
        if was_killed {
            node.kill();
        } else {
            node.stop();
        }
        // The cluster's own log has the key of zeros.
        let logs = std::fs::read_dir(data.path().join("logs")).unwrap().map(|entry| entry.unwrap().path());
        let log = logs.into_iter().find(|path| !path.ends_with(format!("{}-0", "0".repeat(32)))).unwrap();
        Self { data, log, input }
    }

    fn start(&self) -> Result<Node, Failed> {
        Node::try_start(BINARY, self.data.path(), &[])
    }

    /// The node must refuse to start, and name this file.
    #[track_caller]
    fn is_refused(&self, file: &Path, words: &[&str]) {
        let failed = self.start().expect_err("it started on a damaged directory");
        assert_eq!(failed.status.code(), Some(1), "{}", failed.stderr);
        assert!(failed.stderr.starts_with("error: "), "{}", failed.stderr);
        for word in [file.to_str().unwrap()].iter().chain(words) {
            assert!(failed.stderr.contains(word), "{word:?} is not said in: {}", failed.stderr);
        }
    }

    /// The node must start, and everything must be there.
    #[track_caller]
    fn is_whole(&self) -> Node {
        let node = self.start().unwrap_or_else(|failed| panic!("{}", failed.stderr));
        let arguments = ["consume", "t", "--offset", "start", "--exit-at-end"];
        let out = highwater_tests::highwater(BINARY, node.address(), &arguments, b"").ok().stdout;
        assert_same(&out, &self.input);
        node
    }

    fn segment(&self) -> PathBuf {
        self.log.join("00000000000000000001.segment")
    }

    fn dump(&self, arguments: &[&str]) -> Outcome {
        let path = self.data.path().to_str().unwrap();
        highwater_tests::highwater(BINARY, "127.0.0.1:1", &[&["dump", path], arguments].concat(), b"")
    }
}

/// Changes the bytes of a file.
fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_directory_in_use_is_refused_by_name() {
    let fixture = Fixture::new();
    fixture.topic("t");
    let failed = Node::try_start(BINARY, fixture.path(), &[]).unwrap_err();
    assert_eq!(failed.status.code(), Some(1));
    assert!(failed.stderr.contains(fixture.path().to_str().unwrap()), "{}", failed.stderr);
    assert!(failed.stderr.contains("another highwater process"), "{}", failed.stderr);
    fixture.run_with(&["produce", "t"], b"still here\n").ok();
    assert_eq!(fixture.text(&["consume", "t", "--offset", "start", "--exit-at-end"]), "still here\n");
}

#[test]
fn small_files_that_are_garbled_or_cut_short_are_refused_by_name() {
    for name in ["format", "identity", "votes"] {
        let left = Left::behind(false);
        let file = left.data.path().join(name);
        change(&file, |bytes| bytes[24] ^= 1);
        left.is_refused(&file, &["damaged"]);
    }
    let left = Left::behind(true);
    for name in ["manifest", "checkpoint"] {
        let file = left.log.join(name);
        let Ok(whole) = std::fs::read(&file) else { continue };
        change(&file, |bytes| bytes[24] ^= 0x80);
        left.is_refused(&file, &["damaged", "topic 't'"]);
        std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
        left.is_refused(&file, &["damaged"]);
        std::fs::write(&file, &whole).unwrap();
    }
    left.is_whole();
}

#[test]
fn a_file_that_is_missing_is_not_taken_for_a_new_one() {
    let left = Left::behind(false);
    let elsewhere = tempfile::tempdir_in(left.data.path().parent().unwrap()).unwrap();
    let away = elsewhere.path().join("away");
    for file in [left.log.join("manifest"), left.segment(), left.data.path().join("votes")] {
        std::fs::rename(&file, &away).unwrap();
        left.is_refused(&file, &[]);
        std::fs::rename(&away, &file).unwrap();
    }
    left.is_whole();
}

#[test]
fn damage_in_the_middle_of_a_log_is_refused_and_dump_says_where() {
    for was_killed in [false, true] {
        let left = Left::behind(was_killed);
        let frames = left.dump(&["-o", "json"]).ok();
        let rows: Vec<Value> = frames.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let position = rows.iter().filter(|row| row["kind"] == "data").nth(1).unwrap()["position"].as_u64().unwrap();
        let at = usize::try_from(position).unwrap() + 300;
        change(&left.segment(), |bytes| bytes[at] ^= 4);

        left.is_refused(&left.segment(), &["damaged", &position.to_string(), "topic 't'"]);
        let checked = left.dump(&["--verify"]);
        assert_eq!(checked.code, Some(1), "{}", checked.stderr);
        let said = checked.text();
        assert!(said.contains(&format!("at byte {position}")), "{said}");
        let damaged: Vec<&str> = said.lines().filter(|line| line.starts_with("DAMAGED")).collect();
        assert!(damaged.len() == 1 && damaged[0].contains(left.segment().to_str().unwrap()), "{said}");
    }
}

#[test]
fn a_torn_tail_is_dropped_and_an_index_is_made_again() {
    let left = Left::behind(true);
    let frames = left.dump(&["-o", "json"]).ok();
    let last: Value = serde_json::from_str(frames.text().lines().last().unwrap()).unwrap();
    let end =
        usize::try_from(last["position"].as_u64().unwrap() + 40 + last["payload_bytes"].as_u64().unwrap()).unwrap();
    // What a power cut leaves of a batch that was being written: never durable, so never acknowledged.
    change(&left.segment(), |bytes| bytes[end.next_multiple_of(8)..][..100].fill(0xa5));
    // A node that was killed has not written its index; this is one of a disk gone bad.
    std::fs::write(left.log.join("00000000000000000001.index"), [0x5a; 64]).unwrap();
    let node = left.is_whole();
    let more = highwater_tests::highwater(BINARY, node.address(), &["produce", "t"], b"after\n");
    assert_eq!(more.code, Some(0), "{}", more.stderr);
    node.stop();
    assert_eq!(left.dump(&["--verify"]).code, Some(0), "{:?}", left.dump(&["--verify"]));
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let left = Left::behind(false);
    for (file, what) in [(left.data.path().join("format"), "format"), (left.log.join("manifest"), "manifest")] {
        let whole = std::fs::read(&file).unwrap();
        change(&file, |bytes| {
            // A sealed file: magic 8, version 2, kind 2, length 4, CRC-32 of all but itself, payload.
            bytes[8] = 99;
            let mut crc = crc32fast::Hasher::new();
            crc.update(&bytes[..16]);
            crc.update(&bytes[20..]);
            let crc = crc.finalize().to_le_bytes();
            bytes[16..20].copy_from_slice(&crc);
        });
        left.is_refused(&file, &["99", "version", what]);
        std::fs::write(&file, whole).unwrap();
    }
    change(&left.segment(), |bytes| {
        bytes[8] = 99;
        let length = usize::try_from(u32::from_le_bytes(bytes[12..16].try_into().unwrap())).unwrap();
        let mut crc = crc32fast::Hasher::new();
        crc.update(&bytes[..16]);
        crc.update(&bytes[20..length]);
        let crc = crc.finalize().to_le_bytes();
        bytes[16..20].copy_from_slice(&crc);
    });
    left.is_refused(&left.segment(), &["99", "version"]);
}

#[test]
fn foreign_files_are_left_alone_and_told() {
    let left = Left::behind(false);
    let foreign =
        [left.data.path().join("notes.txt"), left.data.path().join("logs/README"), left.log.join(".DS_Store")];
    for file in &foreign {
        std::fs::write(file, b"not ours").unwrap();
    }
    let (status, said) = left.is_whole().stop();
    assert!(status.success(), "{said}");
    for file in &foreign {
        assert_eq!(std::fs::read(file).unwrap(), b"not ours");
        assert!(said.contains(file.to_str().unwrap()), "{} is not told in: {said}", file.display());
    }
}

#[test]
fn a_folder_full_of_other_things_is_not_made_ours() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("logs")).unwrap();
    std::fs::write(folder.path().join("logs/access.log"), b"somebody's").unwrap();
    let failed = Node::try_start(BINARY, folder.path(), &[]);
    if let Ok(node) = failed {
        // Then at least nothing of theirs is touched.
        node.stop();
    }
    assert_eq!(std::fs::read(folder.path().join("logs/access.log")).unwrap(), b"somebody's");
}

#[test]
fn a_running_log_can_be_dumped() {
    let fixture = Fixture::new();
    fixture.topic("t");
    fixture.run_with(&["produce", "t"], b"a\nb\n").ok();
    std::fs::create_dir(fixture.path().join("logs/half-gone.deleted")).unwrap();
    let dumped = fixture.run(&["dump", fixture.path().to_str().unwrap()]).ok();
    assert!(dumped.text().contains("data") && dumped.text().contains("segment"), "{}", dumped.text());
    assert_eq!(fixture.run(&["dump", fixture.path().to_str().unwrap(), "--verify"]).code, Some(0));
    assert_eq!(fixture.run(&["dump", "/nowhere"]).code, Some(3));
}
