//! The worked example in `docs/format.md` is a batch that we build, to the byte, and that reads as its comments say.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use bytes::Bytes;
use highwater_types::Timestamp;
use highwater_types::batch::{BatchBuilder, Compression, NO_HEADERS, ValidBatch, records};
use highwater_types::limits;

fn example() -> Bytes {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/format.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (_, section) = page.split_once("### A worked example").unwrap();
    let (_, block) = section.split_once("```hex\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let digits = block.lines().flat_map(|line| line.split(';').next().unwrap().split_whitespace());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

#[test]
fn the_worked_example_is_what_we_build() {
    let mut builder = BatchBuilder::new(Compression::None);
    let first = Timestamp::from_ms(1_700_000_000_000);
    builder.append(first, Some(b"k"), Some(b"hello"), NO_HEADERS).unwrap();
    let second = Timestamp::from_ms(1_700_000_000_005);
    builder.append(second, None, Some(b"hi"), &[("a", Some("b"))]).unwrap();
    assert_eq!(example(), builder.finish().unwrap());
}

#[test]
fn the_worked_example_reads_as_its_comments_say() {
    let batch = ValidBatch::check(example(), limits::BATCH_BYTES_DEFAULT).unwrap();
    assert_eq!((batch.header().total_bytes, batch.header().record_count), (87, 2));
    let records: Vec<_> = records(batch.into_bytes()).unwrap().map(Result::unwrap).collect();
    assert_eq!(records[0].value.as_deref(), Some(&b"hello"[..]));
    assert_eq!((records[1].timestamp.as_ms(), records[1].headers[0].name.as_str()), (1_700_000_000_005, "a"));
}

/// The limits that the page names in words.
#[test]
fn the_page_names_the_limits_as_they_are() {
    assert_eq!(limits::BATCH_BYTES_DEFAULT, (1 << 20) + 12);
    assert_eq!(limits::BATCH_BYTES_MAX, 8 << 20);
    assert_eq!(limits::BATCH_DECOMPRESSED_BYTES_MAX, 64 << 20);
    assert_eq!(limits::BATCH_RECORDS_MAX, 1_000_000);
    assert_eq!(limits::RECORD_HEADERS_MAX, 1_024);
}
