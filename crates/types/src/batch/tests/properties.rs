//! Any records come back; any bytes are refused or read, and nothing panics.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

type Model = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>);

fn blob(bytes_max: usize) -> impl Strategy<Value = Option<Vec<u8>>> {
    option::of(vec(any::<u8>(), 0..bytes_max))
}

fn model() -> impl Strategy<Value = Vec<Model>> {
    let time = -1_000_000_000_000_000_i64..1_000_000_000_000_000;
    vec((time, blob(40), blob(2_000), vec((".{0,20}", blob(50)), 0..4)), 1..60)
}

fn build(compression: Compression, model: &[Model]) -> Bytes {
    let mut builder = BatchBuilder::new(compression);
    for (index, (ms, key, value, headers)) in (0_u32..).zip(model) {
        let appended = builder.append(Timestamp::from_ms(*ms), key.as_deref(), value.as_deref(), headers);
        assert_eq!(appended, Ok(index));
    }
    builder.finish().unwrap()
}

/// Everything that reading may do with bytes, whatever they are.
fn exercise(bytes: &Bytes) {
    let _ = BatchHeader::read(bytes);
    let is_valid = check(bytes.clone()).is_ok();
    let Ok(all) = records(bytes.clone()) else { return };
    let is_compressed = all.header().compression != Compression::None;
    let is_readable = all.filter(Result::is_err).count() == 0;
    // The promise of a check: what it lets in uncompressed, every reader can read.
    assert!(!is_valid || is_compressed || is_readable);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_records_come_back_under_any_codec(model in model(), compression in select(&Compression::ALL[..])) {
        let batch = check(build(compression, &model)).unwrap();
        prop_assert_eq!(batch.header().max_timestamp.as_ms(), model.iter().map(|record| record.0).max().unwrap());
        let read: Vec<Model> = read_all(batch.into_bytes()).into_iter().map(|record| {
            let headers = record.headers.into_iter().map(|header| {
                (header.name.as_str().to_owned(), header.value.map(Vec::from))
            });
            (record.timestamp.as_ms(), record.key.map(Vec::from), record.value.map(Vec::from), headers.collect())
        }).collect();
        prop_assert_eq!(read, model);
    }

    #[test]
    fn damage_never_panics(
        model in model(),
        compression in select(&Compression::ALL[..]),
        damage in vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        is_sealed in any::<bool>(),
    ) {
        let batch = build(compression, &model);
        let damaged = |bytes: &mut Vec<u8>| {
            for (at, byte) in &damage {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
        };
        let mut open = batch.to_vec();
        damaged(&mut open);
        exercise(&if is_sealed { edited(&batch, damaged) } else { open.into() });
    }

    #[test]
    fn arbitrary_records_never_panic(body in vec(any::<u8>(), 0..200), codec in 0_u8..5, count in 1_u8..20) {
        let sealed = edited(&with_records(&sample(Compression::None), &body), |bytes| {
            (bytes[22], bytes[26], bytes[60]) = (codec, count - 1, count);
        });
        exercise(&sealed);
    }
}
