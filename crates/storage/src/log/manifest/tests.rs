//! The manifest reads back, and nothing that makes no sense is taken for one.

use super::*;

fn offset(value: u64) -> Offset {
    Offset::new(value).unwrap()
}

fn facts(number: u64, base: u64, last: u64) -> SegmentFacts {
    SegmentFacts {
        number: SegmentNumber::new(number),
        base_index: LogIndex::new(base),
        base_offset: offset(base * 10),
        end: SegmentEnd {
            position: 4096,
            last: EntryId::new(3, last),
            next_offset: offset(last * 10 + 10),
            max_timestamp: Some(Timestamp::from_ms(-5)),
            membership_position: Some(200),
        },
    }
}

fn sample() -> Manifest {
    let mut second = facts(7, 20, 29);
    second.end.max_timestamp = None;
    second.end.membership_position = None;
    Manifest {
        key: LogKey::new([9; 16], 1),
        next_segment: SegmentNumber::new(8),
        purged: Some(EntryId::new(2, 14)),
        log_start: offset(150),
        membership: None,
        segments: vec![facts(4, 10, 19), second],
        tail: Tail::Open,
    }
}

#[test]
fn a_manifest_reads_back() {
    let after_reset = Manifest {
        membership: Some((EntryId::new(1, 1), Bytes::from_static(b"one voter"))),
        segments: Vec::new(),
        tail: Tail::Sealed,
        ..sample()
    };
    let clean = Manifest { tail: Tail::Clean, ..sample() };
    for manifest in [sample(), clean, after_reset, Manifest::empty(LogKey::new([0; 16], 0))] {
        assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
    }
}

#[test]
fn every_cut_is_seen() {
    let bytes = sample().encode();
    for cut in 0..bytes.len() {
        assert!(Manifest::decode(&bytes[..cut]).is_err(), "{cut}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(Manifest::decode(&longer).is_err());
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let broken = |change: fn(&mut Manifest)| {
        let mut manifest = sample();
        change(&mut manifest);
        Manifest::decode(&manifest.encode()).unwrap_err().0
    };
    assert!(broken(|m| m.next_segment = SegmentNumber::new(7)).contains("next number"));
    assert!(broken(|m| m.segments[1].number = SegmentNumber::new(4)).contains("out of order"));
    assert!(broken(|m| m.segments[1].base_index = LogIndex::new(21)).contains("gap"));
    assert!(broken(|m| m.segments[1].base_offset = offset(201)).contains("gap"));
    assert!(broken(|m| m.segments[1].end.last.term = highwater_types::Term::new(2)).contains("earlier term"));
    assert!(broken(|m| m.segments[0].end.position = 8).contains("ends where"));
    assert!(broken(|m| m.segments[0].end.membership_position = Some(5000)).contains("outside"));
    assert!(broken(|m| m.segments.clear()).contains("no segments"));
    assert!(broken(|m| m.log_start = offset(99)).contains("first offset"));
    assert!(broken(|m| m.purged = Some(EntryId::new(2, 19))).contains("purged"));
}
