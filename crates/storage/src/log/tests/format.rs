//! The worked example in `docs/format.md` is what the code writes.

use bytes::Bytes;
use highwater_types::{EntryId, LogIndex, Offset, Timestamp};

use crate::disk::sim::SimDisk;
use crate::disk::{Disk, DiskFile};
use crate::flush::{Flusher, SyncFilesystem};
use crate::frame::FrameHeader;
use crate::log::{Log, LogOptions, SegmentHeader, SegmentNumber};
use crate::poison::Poison;
use crate::{EntryKind, LogKey, NewEntry};
use std::path::Path;
use std::sync::Arc;

/// The bytes of the first hex block after a headline of the document.
fn example(headline: &str) -> Vec<u8> {
    let document = include_str!("../../../../../docs/format.md");
    let (_, rest) = document.split_once(headline).expect("the headline");
    let (_, rest) = rest.split_once("```hex\n").expect("a hex block");
    let (block, _) = rest.split_once("```").expect("its end");
    let digits = block.lines().flat_map(|line| line.split(';').next().unwrap_or_default().split_whitespace());
    digits.map(|byte| u8::from_str_radix(byte, 16).expect("two hex digits")).collect()
}

#[test]
fn the_example_is_what_an_append_writes() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    let dir = Path::new("/log");
    let flusher = Arc::new(Flusher::new(Arc::clone(&disk), dir, SyncFilesystem::Never, Arc::new(Poison::new())));
    let key = LogKey::new([0x33; 16], 7);
    let (log, _) = Log::open(&disk, dir, key, LogOptions::default(), &flusher, &Arc::default()).unwrap();
    let payload = Bytes::from_static(b"hello");
    let entry = NewEntry { id: EntryId::new(2, 0), kind: EntryKind::Metadata, payload, expected_base_offset: None };
    log.append(&[entry], Timestamp::from_ms(1_700_000_000_000), None).unwrap();
    let file: Arc<dyn DiskFile> = disk.open(&SegmentNumber::FIRST.segment_path(dir)).unwrap();
    let wanted = example("### A segment, byte by byte");
    let mut written = vec![0; wanted.len()];
    file.read_at(0, &mut written).unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    assert_eq!(hex(&written), hex(&wanted));
    let (header, length, salt) = SegmentHeader::decode(&wanted).unwrap();
    assert_eq!((header.key, header.base_index, header.base_offset), (key, LogIndex::new(0), Offset::ZERO));
    assert_eq!(FrameHeader::verify(&wanted[length..], salt).unwrap().id, EntryId::new(2, 0));
}
