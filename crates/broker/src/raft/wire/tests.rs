//! Forms on the wire: golden bytes, round trips, garbage.

use highwater_types::Timestamp;
use highwater_types::batch::{BatchBuilder, Compression, NO_HEADERS};
use proptest::prelude::*;

use super::*;

const KEY: LogKey = LogKey::new(*b"0123456789abcdef", 7);

fn at(term: u64, index: u64) -> LogId {
    log_id(EntryId::new(term, index))
}

fn batch(bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.append(Timestamp::from_ms(1_000_000), None, Some(&vec![b'x'; bytes]), NO_HEADERS).unwrap();
    builder.finish().unwrap()
}

fn stored(index: u64, offset: u64, payload: Bytes) -> RaftEntry {
    let id = EntryId::new(3, index);
    let base_offset = Offset::new(offset).unwrap();
    let entry = Entry { id, kind: EntryKind::Data, base_offset, record_count: 1, payload };
    RaftEntry::new(log_id(id), EntryPayload::Normal(Command::Stored(entry)))
}

fn append_of(entries: Vec<RaftEntry>) -> Request {
    Request::Append(AppendEntriesRequest {
        vote: Vote::new_committed(3, 2),
        prev_log_id: Some(at(2, 9)),
        leader_commit: Some(at(2, 8)),
        entries,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn request_in(frame: Frame) -> (LogKey, Request) {
    match decode_request(frame).unwrap() {
        Received::Request(key, request) => (key, request),
        Received::Pulse(_) => panic!("a pulse"),
    }
}

fn whole(frame: Frame) -> Bytes {
    frame.into_pieces().concat().into()
}

/// These bytes are sent by version 1. Another version may send others; this one never.
#[test]
fn the_form_is_as_it_was() {
    let membership = super::super::types::Membership::new_with_defaults(vec![[1, 2].into()], [3]);
    let entries = vec![
        RaftEntry::new_blank(at(3, 10)),
        RaftEntry::new_membership(at(3, 11), membership),
        stored(12, 40, batch(3)),
    ];
    let append = hex(&whole(encode_request(KEY, &append_of(entries))));
    let key = "3031323334353637383961626364656607000000";
    let head = format!(
        "0101{key}0103000000000000000200000000000000\
         0102000000000000000900000000000000\
         0102000000000000000800000000000000\
         0a0000000000000003000000\
         020300000000000000ffffffffffffffff0000000000000000\
         030300000000000000ffffffffffffffff0000000035000000\
         01030000000000000028000000000000000100000047000000\
         010100000002000000010000000000000002000000000000000300000001000000000000000200000000000000\
         0300000000000000"
    );
    assert!(append.contains(&head), "{append}");
    assert!(append.ends_with(&hex(&batch(3))));
    assert_eq!(append.len(), 16 + head.len() + 2 * batch(3).len());

    let vote = Request::Vote(VoteRequest::new(Vote::new(4, 2), None));
    let vote = hex(&whole(encode_request(KEY, &vote)));
    assert!(vote.ends_with(&format!("0102{key}00040000000000000002000000000000000000")), "{vote}");
    let reply = hex(&whole(encode_reply(&Reply::Append(AppendEntriesResponse::Success))));
    assert_eq!(reply, "03000000648298e7010100");
}

#[test]
fn requests_are_read_as_written_and_large_batches_not_copied() {
    let large = batch(100_000);
    let sent = vec![RaftEntry::new_blank(at(3, 10)), stored(11, 40, batch(3)), stored(12, 41, large.clone())];
    let frame = encode_request(KEY, &append_of(sent));
    let (key, Request::Append(got)) = request_in(frame) else { panic!("another request") };
    assert_eq!(key, KEY);
    assert_eq!(
        (got.vote, got.prev_log_id, got.leader_commit),
        (Vote::new_committed(3, 2), Some(at(2, 9)), Some(at(2, 8)))
    );
    let ids: Vec<_> = got.entries.iter().map(|entry| entry_id(&entry.log_id())).collect();
    assert_eq!(ids, [EntryId::new(3, 10), EntryId::new(3, 11), EntryId::new(3, 12)]);
    let EntryPayload::Normal(Command::Stored(last)) = &got.entries[2].payload else { panic!("another entry") };
    assert_eq!((last.base_offset.get(), last.record_count), (41, 1));
    assert_eq!(last.payload.as_ptr(), large.as_ptr(), "a slice of what arrived");

    for transferred in [true, false] {
        let mut request = VoteRequest::new(Vote::new(4, 2), Some(at(3, 12)));
        request.leadership_transfer = transferred;
        let (_, got) = request_in(encode_request(KEY, &Request::PreVote(request.clone())));
        assert!(matches!(got, Request::PreVote(got) if got == request));
    }
    let transfer = TransferLeaderRequest::new(Vote::new_committed(3, 2), 1, Some(at(3, 12)));
    let (_, got) = request_in(encode_request(KEY, &Request::TransferLeader(transfer.clone())));
    assert!(matches!(got, Request::TransferLeader(got) if got == transfer));
    let part = SnapshotPart {
        vote: Vote::new_committed(3, 2),
        meta: SnapshotMeta { last_log_id: Some(at(2, 5)), last_membership: StoredMembership::default() },
        at: 100,
        total: 105,
        bytes: Bytes::from_static(b"state"),
    };
    let (_, Request::Snapshot(got)) = request_in(encode_request(KEY, &Request::Snapshot(part))) else {
        panic!("another request")
    };
    assert_eq!((got.meta.last_log_id, got.at, got.total, &got.bytes[..]), (Some(at(2, 5)), 100, 105, &b"state"[..]));
}

#[test]
fn replies_are_read_as_written() {
    let replies = [
        Reply::Append(AppendEntriesResponse::Success),
        Reply::Append(AppendEntriesResponse::PartialSuccess(Some(at(2, 3)))),
        Reply::Append(AppendEntriesResponse::Conflict),
        Reply::Append(AppendEntriesResponse::HigherVote(Vote::new(7, 1))),
        Reply::Vote(VoteResponse::new(Vote::new(7, 1), Some(at(2, 3)), true)),
        Reply::TransferLeader(Ok(())),
        Reply::TransferLeader(Err(TransferLeaderError::VoteChanged {
            expected: Vote::new_committed(1, 1),
            actual: Vote::new(2, 2),
        })),
        Reply::TransferLeader(Err(TransferLeaderError::LogNotFlushed { expected: Some(at(2, 3)), actual: None })),
        Reply::SnapshotTaken,
        Reply::Snapshot(SnapshotResponse::new(Vote::new(7, 1))),
    ];
    for reply in replies {
        assert_eq!(decode_reply(encode_reply(&reply)).unwrap(), reply);
    }
}

#[test]
fn damage_on_the_way_is_seen_wherever_it_is() {
    let sent =
        whole(encode_request(KEY, &append_of(vec![RaftEntry::new_blank(at(3, 10)), stored(11, 40, batch(300))])));
    // What a batch's own checksum does not cover is stamped anew, or compared, when it is stored.
    let batch_at = sent.len() - batch(300).len();
    let unchecked = batch_at..batch_at + 17;
    for byte in (0..sent.len()).filter(|byte| !unchecked.contains(byte)) {
        let mut damaged = sent.to_vec();
        damaged[byte] ^= 0x10;
        assert!(decode_request(Bytes::from(damaged).into()).is_err(), "byte {byte}");
    }
    for length in 0..sent.len() {
        assert!(decode_request(sent.slice(..length).into()).is_err(), "cut at {length}");
    }
}

#[test]
fn entries_beyond_the_last_index_are_refused() {
    let sent = whole(encode_request(KEY, &append_of(vec![stored(11, 40, batch(5))])));
    let length = u32::from_le_bytes(sent[..4].try_into().unwrap()) as usize;
    let mut head = sent[8..8 + length].to_vec();
    let at = head.windows(8).rposition(|bytes| bytes == 11_u64.to_le_bytes()).unwrap();
    head[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut out = FrameWriter::default();
    out.put_slice(&head);
    let refused = decode_request(seal(out, vec![sent.slice(8 + length..)])).unwrap_err();
    assert!(matches!(refused, WireError::Malformed(_)), "{refused}");
}

#[test]
fn a_newer_version_is_refused_by_number() {
    let mut head = FrameWriter::default();
    head.put_u8(2);
    let error = decode_reply(seal(head, Vec::new())).unwrap_err();
    assert_eq!(error, WireError::UnknownVersion(2));
}

proptest! {
    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes: Vec<u8>, is_sealed: bool) {
        let frame = if is_sealed {
            let mut head = FrameWriter::default();
            head.put_u8(VERSION);
            head.put_slice(&bytes);
            seal(head, Vec::new())
        } else {
            Bytes::from(bytes).into()
        };
        let _ = decode_request(frame.clone());
        let _ = decode_reply(frame);
    }

    /// Near what is really sent, with checksums that hold.
    #[test]
    fn a_mangled_head_is_a_message_or_an_error(at_byte in 0_usize..400, value: u8, count in 0_u64..5) {
        let entries = (0..count).map(|n| stored(10 + n, n, batch(5))).collect();
        let sent = whole(encode_request(KEY, &append_of(entries)));
        let length = u32::from_le_bytes(sent[..4].try_into().unwrap()) as usize;
        let mut head = sent[8..8 + length].to_vec();
        let at_byte = at_byte % head.len();
        head[at_byte] = value;
        let mut out = FrameWriter::default();
        out.put_slice(&head);
        let _ = decode_request(seal(out, vec![sent.slice(8 + length..)]));
    }
}

#[test]
fn a_pulse_and_its_answer_come_as_they_were_sent() {
    let still = |last| Still { term: Term::new(4), last: LogIndex::new(last) };
    let said = vec![(KEY, still(7)), (LogKey::new(*b"fedcba9876543210", 1), still(0))];
    let sent = whole(encode_pulse(&said));
    let one = "303132333435363738396162636465660700000004000000000000000700000000000000";
    assert_eq!(hex(&sent.slice(8..8 + 6 + 36)), format!("010602000000{one}"));
    assert!(matches!(decode_request(sent.clone().into()).unwrap(), Received::Pulse(got) if got == said));
    for length in 0..sent.len() {
        assert!(decode_request(sent.slice(..length).into()).is_err(), "cut at {length}");
    }
    let reply = Reply::Pulse { refused: [1, 5].into() };
    assert_eq!(decode_reply(encode_reply(&reply)).unwrap(), reply);
}
