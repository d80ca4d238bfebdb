#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]
//! Golden bytes of every form in version 1: a change of these is a new version.

use super::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn members() -> Membership {
    Membership::new_with_defaults(vec![BTreeSet::from([1, 2])], [3])
}

fn checkpoint() -> Checkpoint {
    let membership = Some((EntryId::new(1, 0), Bytes::from_static(b"mm")));
    Checkpoint {
        applied: Some(EntryId::new(2, 9)),
        next_offset: Offset::new(100).unwrap(),
        seen: Some(EntryId::new(2, 11)),
        membership: membership.clone(),
        boundary: Some(Boundary { id: EntryId::new(1, 4), next_offset: Offset::new(40).unwrap(), membership }),
        reset_log: true,
        state: Bytes::from_static(b"state"),
    }
}

#[test]
fn a_vote() {
    let vote = Vote::new_committed(0x0102, 3);
    let bytes = encode_vote(&vote);
    assert_eq!(hex(&bytes), ["01", "01", "0201000000000000", "0300000000000000"].concat());
    assert_eq!(decode_vote(bytes), Ok(vote));
    let vote = Vote::new(7, 1);
    assert_eq!(decode_vote(encode_vote(&vote)), Ok(vote));
}

#[test]
fn a_membership() {
    let bytes = encode_membership(&members());
    let golden = [
        "01",
        "01000000",
        "02000000",
        "0100000000000000",
        "0200000000000000", //
        "03000000",
        "0100000000000000",
        "0200000000000000",
        "0300000000000000",
    ];
    assert_eq!(hex(&bytes), golden.concat());
    assert_eq!(decode_membership(bytes), Ok(members()));
}

#[test]
fn a_checkpoint() {
    let bytes = encode_checkpoint(&checkpoint());
    let golden = [
        "01",
        "01", // version, flags
        "01",
        "0200000000000000",
        "0900000000000000",
        "6400000000000000", // applied, offset after it
        "01",
        "0200000000000000",
        "0b00000000000000", // seen
        "01",
        "0100000000000000",
        "0000000000000000",
        "02000000",
        "6d6d", // membership
        "01",
        "0100000000000000",
        "0400000000000000",
        "2800000000000000", // boundary, offset after it
        "01",
        "0100000000000000",
        "0000000000000000",
        "02000000",
        "6d6d", // its membership
        "7374617465",
    ];
    assert_eq!(hex(&bytes), golden.concat());
    assert_eq!(decode_checkpoint(bytes), Ok(checkpoint()));
    assert_eq!(decode_checkpoint(encode_checkpoint(&Checkpoint::default())), Ok(Checkpoint::default()));
}

#[test]
fn a_snapshot() {
    let data = SnapshotData {
        next_offset: Offset::new(5).unwrap(),
        seen: Some(EntryId::new(2, 3)),
        state: Bytes::from_static(b"s"),
    };
    let bytes = encode_snapshot(&data);
    assert_eq!(hex(&bytes), ["01", "0500000000000000", "01", "0200000000000000", "0300000000000000", "73"].concat());
    assert_eq!(decode_snapshot(bytes), Ok(data));
}

#[test]
fn what_is_cut_or_newer_is_refused() {
    // Up to the state, which is the rest, whatever its length.
    let whole = encode_checkpoint(&checkpoint());
    for end in 0..whole.len() - 5 {
        assert!(decode_checkpoint(whole.slice(..end)).is_err(), "checkpoint cut at {end}");
    }
    let members = encode_membership(&members());
    for end in 0..members.len() {
        assert!(decode_membership(members.slice(..end)).is_err(), "membership cut at {end}");
    }
    let vote = encode_vote(&Vote::new(1, 2));
    for end in 0..vote.len() {
        assert!(decode_vote(vote.slice(..end)).is_err(), "vote cut at {end}");
    }
    let newer = Bytes::from_static(&[2; 18]);
    assert_eq!(decode_vote(newer), Err(DecodeError::UnknownVersion { what: "vote", version: 2 }));
}
