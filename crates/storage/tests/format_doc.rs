//! The worked examples in `docs/format.md` are what a data directory writes, to the byte.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use highwater_storage::disk::os::OsDisk;
use highwater_storage::{DataDir, DataDirOptions, Identity, LogKey};
use highwater_types::{ClusterId, NodeId, NodeUuid};

/// The first block of hex digits under a heading.
fn example(heading: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/format.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (_, section) = page.split_once(heading).unwrap();
    let (_, block) = section.split_once("```hex\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let digits = block.lines().flat_map(|line| line.split(';').next().unwrap().split_whitespace());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

#[test]
fn identity_and_vote_are_written_as_the_page_says() {
    let dir = tempfile::tempdir().unwrap();
    let options = DataDirOptions { starts_flusher: false, ..DataDirOptions::default() };
    let data_dir = DataDir::open(Arc::new(OsDisk::new()), dir.path(), options).unwrap();
    let cluster = ClusterId::from_bytes([0x11; 16]);
    let identity = Identity { cluster, node: NodeId::new(1), uuid: NodeUuid::from_bytes([0x22; 16]) };
    data_dir.set_identity(identity).unwrap();
    let vote = Bytes::from_static(b"vote");
    data_dir.votes().save(LogKey::new([0x33; 16], 7), vote, Box::new(|outcome| outcome.unwrap()));
    data_dir.flusher().run_round();
    assert_eq!(std::fs::read(dir.path().join("identity")).unwrap(), example("### An identity file, byte by byte"));
    let votes = std::fs::read(dir.path().join("votes")).unwrap();
    let record = example("### A vote, byte by byte");
    assert_eq!(votes.split_at(12_288).1.split_at(record.len()).0, record);
}
