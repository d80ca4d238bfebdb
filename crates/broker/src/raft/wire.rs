//! The bytes of Raft's messages between nodes. All numbers little endian.
//!
//! | request | |
//! |---|---|
//! | 4, 4 | length of the head; CRC-32 of it |
//! | 1, 1, 20 | head: version = 1; what it is (see [`Request`]); the key of the group |
//! | ... | head: its fields |
//! | rest | payloads, one after the other |
//!
//! A pulse has no key: its head goes on with 4 bytes, the number of groups, and 20, 8, 8 (key, term, last index) for each.
//! A reply is the same without the key. Fields: a vote is 1 byte (1 = committed), 8, 8 (term, node); an optional log id
//! is 1 byte and, when that is 1, 8, 8 (term, index).
//!
//! | append | |
//! |---|---|
//! | vote, id?, id? | leader's vote; entry before the first; committed |
//! | 8, 4 | index of the first entry; number of entries, then for each: |
//! | 1, 8, 8, 4, 4 | kind; term; base offset (all ones: not told); records; length of its payload |
//!
//! The payload of a data entry is a record batch, which has a checksum of its own: it is checked here, so that damage on
//! the way is never stored. Other payloads are part of the head.

use std::collections::BTreeSet;

use bytes::Bytes;
use highwater_storage::{Entry, EntryKind, LogKey};
use highwater_types::batch::verify_crc;
use highwater_types::{EntryId, LogIndex, Offset, Term};
use openraft::EntryPayload;
use openraft::entry::RaftEntry as _;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderError, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};

use super::codec;
use super::pace::Still;
use super::types::{Command, LogId, RaftEntry, SnapshotMeta, StoredMembership, TypeConfig, Vote, entry_id, log_id};
use crate::peer::{Frame, FrameReader, FrameWriter, Malformed};

#[cfg(test)]
mod tests;

const VERSION: u8 = 1;
const NO_OFFSET: u64 = u64::MAX;

/// A request to a replica of another node.
#[derive(Debug)]
pub(crate) enum Request {
    /// 1: entries, or none to tell what is committed or that the leader lives.
    Append(AppendEntriesRequest<TypeConfig>),
    /// 2
    Vote(VoteRequest<TypeConfig>),
    /// 3
    PreVote(VoteRequest<TypeConfig>),
    /// 4
    TransferLeader(TransferLeaderRequest<TypeConfig>),
    /// 5: a part of a snapshot.
    Snapshot(SnapshotPart),
}

/// A part of a snapshot on its way.
#[derive(Debug)]
pub(crate) struct SnapshotPart {
    pub(crate) vote: Vote,
    pub(crate) meta: SnapshotMeta,
    /// Where in the whole this part belongs.
    pub(crate) at: u64,
    /// The length of the whole.
    pub(crate) total: u64,
    pub(crate) bytes: Bytes,
}

/// The answer to a [`Request`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// 1
    Append(AppendEntriesResponse<TypeConfig>),
    /// 2: to a vote or a pre-vote.
    Vote(VoteResponse<TypeConfig>),
    /// 3
    TransferLeader(TransferLeaderResponse<TypeConfig>),
    /// 4: the part is taken, more are missing.
    SnapshotTaken,
    /// 5: the snapshot is complete.
    Snapshot(SnapshotResponse<TypeConfig>),
    /// 6: to a pulse. The node agrees, but for the groups at these places of it.
    Pulse {
        /// Places, from 0.
        refused: BTreeSet<u32>,
    },
}

/// Why a request is not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("a message of Raft of version {0}; this node reads only {VERSION}")]
    UnknownVersion(u8),
    #[error("a message of Raft was damaged on its way")]
    Checksum,
    #[error("entry {0} was damaged on its way, or in the log of the leader: its checksum does not match")]
    DamagedBatch(EntryId),
}

/// What came from another node.
#[derive(Debug)]
pub(crate) enum Received {
    /// For the replica of this group.
    Request(LogKey, Request),
    /// 6: the groups that the node leads and in which nothing is under way.
    Pulse(Vec<(LogKey, Still)>),
}

/// Encodes a pulse.
pub(crate) fn encode_pulse(said: &[(LogKey, Still)]) -> Frame {
    let mut head = FrameWriter::default();
    head.put_u8(VERSION);
    head.put_u8(6);
    head.put_u32(u32::try_from(said.len()).unwrap_or(u32::MAX));
    for (key, still) in said {
        head.put_slice(&key.to_bytes());
        head.put_u64(still.term.get());
        head.put_u64(still.last.get());
    }
    seal(head, Vec::new())
}

/// The length of a group in a pulse.
const STILL_BYTES: usize = 36;

fn pulse(head: &mut FrameReader) -> Result<Vec<(LogKey, Still)>, Malformed> {
    let count = head.u32()? as usize;
    if count > head.left() / STILL_BYTES {
        return Err(head.malformed());
    }
    let mut next = || {
        let key = LogKey::from_bytes(head.array()?);
        Ok((key, Still { term: Term::new(head.u64()?), last: LogIndex::new(head.u64()?) }))
    };
    (0..count).map(|_| next()).collect()
}

/// Encodes a request to the group of `key`.
pub(crate) fn encode_request(key: LogKey, request: &Request) -> Frame {
    let mut head = FrameWriter::default();
    head.put_u8(VERSION);
    let mut payloads = Vec::new();
    let mut what = |number| {
        head.put_u8(number);
        head.put_slice(&key.to_bytes());
    };
    match request {
        Request::Append(append) => {
            what(1);
            put_append(&mut head, append, &mut payloads);
        }
        Request::Vote(vote) => {
            what(2);
            put_vote_request(&mut head, vote);
        }
        Request::PreVote(vote) => {
            what(3);
            put_vote_request(&mut head, vote);
        }
        Request::TransferLeader(transfer) => {
            what(4);
            put_vote(&mut head, transfer.from_leader());
            head.put_u64(*transfer.to_node_id());
            put_id(&mut head, transfer.last_log_id());
        }
        Request::Snapshot(part) => {
            what(5);
            put_vote(&mut head, &part.vote);
            put_id(&mut head, part.meta.last_log_id.as_ref());
            put_id(&mut head, part.meta.last_membership.log_id().as_ref());
            put_small(&mut head, &codec::encode_membership(part.meta.last_membership.membership()));
            head.put_u64(part.at);
            head.put_u64(part.total);
            payloads.push(part.bytes.clone());
        }
    }
    seal(head, payloads)
}

/// What is in a frame.
pub(crate) fn decode_request(frame: Frame) -> Result<Received, WireError> {
    let (mut head, mut payloads) = open("request", frame)?;
    let what = head.u8()?;
    if what == 6 {
        let said = pulse(&mut head)?;
        head.end()?;
        payloads.end()?;
        return Ok(Received::Pulse(said));
    }
    let key = LogKey::from_bytes(head.array()?);
    let request = match what {
        1 => Request::Append(append(&mut head, &mut payloads)?),
        2 => Request::Vote(vote_request(&mut head)?),
        3 => Request::PreVote(vote_request(&mut head)?),
        4 => {
            let (from, to) = (vote(&mut head)?, head.u64()?);
            Request::TransferLeader(TransferLeaderRequest::new(from, to, id(&mut head)?))
        }
        5 => {
            let from = vote(&mut head)?;
            let meta = snapshot_meta(&mut head)?;
            let (at, total) = (head.u64()?, head.u64()?);
            let left = payloads.left();
            Request::Snapshot(SnapshotPart { vote: from, meta, at, total, bytes: payloads.bytes(left)? })
        }
        _ => return Err(head.malformed().into()),
    };
    head.end()?;
    payloads.end()?;
    Ok(Received::Request(key, request))
}

/// Encodes a reply.
pub(crate) fn encode_reply(reply: &Reply) -> Frame {
    let mut head = FrameWriter::default();
    head.put_u8(VERSION);
    match reply {
        Reply::Append(AppendEntriesResponse::Success) => {
            head.put_u8(1);
            head.put_u8(0);
        }
        Reply::Append(AppendEntriesResponse::PartialSuccess(last)) => {
            head.put_u8(1);
            head.put_u8(1);
            put_id(&mut head, last.as_ref());
        }
        Reply::Append(AppendEntriesResponse::Conflict) => {
            head.put_u8(1);
            head.put_u8(2);
        }
        Reply::Append(AppendEntriesResponse::HigherVote(higher)) => {
            head.put_u8(1);
            head.put_u8(3);
            put_vote(&mut head, higher);
        }
        Reply::Vote(response) => {
            head.put_u8(2);
            put_vote(&mut head, &response.vote);
            head.put_u8(u8::from(response.vote_granted));
            put_id(&mut head, response.last_log_id.as_ref());
        }
        Reply::TransferLeader(response) => {
            head.put_u8(3);
            put_transfer(&mut head, response);
        }
        Reply::SnapshotTaken => head.put_u8(4),
        Reply::Snapshot(response) => {
            head.put_u8(5);
            put_vote(&mut head, &response.vote);
        }
        Reply::Pulse { refused } => {
            head.put_u8(6);
            head.put_u32(u32::try_from(refused.len()).unwrap_or(u32::MAX));
            refused.iter().for_each(|place| head.put_u32(*place));
        }
    }
    seal(head, Vec::new())
}

/// The reply in a frame.
pub(crate) fn decode_reply(frame: Frame) -> Result<Reply, WireError> {
    let (mut head, rest) = open("reply", frame)?;
    let reply = match head.u8()? {
        1 => Reply::Append(match head.u8()? {
            0 => AppendEntriesResponse::Success,
            1 => AppendEntriesResponse::PartialSuccess(id(&mut head)?),
            2 => AppendEntriesResponse::Conflict,
            3 => AppendEntriesResponse::HigherVote(vote(&mut head)?),
            _ => return Err(head.malformed().into()),
        }),
        2 => {
            let (vote, is_granted) = (vote(&mut head)?, flag(&mut head)?);
            Reply::Vote(VoteResponse { vote, vote_granted: is_granted, last_log_id: id(&mut head)? })
        }
        3 => Reply::TransferLeader(transfer(&mut head)?),
        4 => Reply::SnapshotTaken,
        5 => Reply::Snapshot(SnapshotResponse::new(vote(&mut head)?)),
        6 => Reply::Pulse { refused: places(&mut head)? },
        _ => return Err(head.malformed().into()),
    };
    head.end()?;
    rest.end()?;
    Ok(reply)
}

fn places(head: &mut FrameReader) -> Result<BTreeSet<u32>, Malformed> {
    let count = head.u32()? as usize;
    if count > head.left() / size_of::<u32>() {
        return Err(head.malformed());
    }
    (0..count).map(|_| head.u32()).collect()
}

fn seal(head: FrameWriter, payloads: Vec<Bytes>) -> Frame {
    let head = head.finish().into_pieces().concat();
    let mut out = FrameWriter::default();
    out.put_u32(u32::try_from(head.len()).unwrap_or(u32::MAX));
    out.put_u32(crc32fast::hash(&head));
    out.put_bytes(head.into());
    payloads.into_iter().for_each(|payload| out.put_bytes(payload));
    out.finish()
}

/// The head, past its version, and the payloads.
fn open(what: &'static str, frame: Frame) -> Result<(FrameReader, FrameReader), WireError> {
    let mut input = FrameReader::new(what, frame);
    let (length, checksum) = (input.u32()? as usize, input.u32()?);
    let head = input.bytes(length)?;
    if crc32fast::hash(&head) != checksum {
        return Err(WireError::Checksum);
    }
    let mut head = FrameReader::new(what, head.into());
    match head.u8()? {
        VERSION => Ok((head, input)),
        version => Err(WireError::UnknownVersion(version)),
    }
}

fn put_append(head: &mut FrameWriter, append: &AppendEntriesRequest<TypeConfig>, payloads: &mut Vec<Bytes>) {
    put_vote(head, &append.vote);
    put_id(head, append.prev_log_id.as_ref());
    put_id(head, append.leader_commit.as_ref());
    head.put_u64(append.entries.first().map_or(0, |entry| entry.log_id().index));
    head.put_u32(u32::try_from(append.entries.len()).unwrap_or(u32::MAX));
    let mut small = FrameWriter::default();
    for entry in &append.entries {
        let (kind, base_offset, records, payload) = match &entry.payload {
            EntryPayload::Blank => (EntryKind::Blank, NO_OFFSET, 0, Bytes::new()),
            EntryPayload::Membership(m) => (EntryKind::Membership, NO_OFFSET, 0, codec::encode_membership(m)),
            EntryPayload::Normal(Command::Stored(stored)) => {
                (stored.kind, stored.base_offset.get(), stored.record_count, stored.payload.clone())
            }
            EntryPayload::Normal(Command::Proposed(new)) => (new.kind, NO_OFFSET, 0, new.payload.clone()),
        };
        head.put_u8(kind.number());
        head.put_u64(entry.log_id().leader_id.term);
        head.put_u64(base_offset);
        head.put_u32(records);
        head.put_u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
        if kind == EntryKind::Data {
            payloads.push(payload);
        } else {
            small.put_slice(&payload);
        }
    }
    head.put_frame(small.finish());
}

/// What the head says of one entry.
struct Described {
    id: EntryId,
    kind: EntryKind,
    base_offset: u64,
    record_count: u32,
    payload_bytes: usize,
}

/// The length of a [`Described`].
const DESCRIBED_BYTES: usize = 25;

fn append(head: &mut FrameReader, payloads: &mut FrameReader) -> Result<AppendEntriesRequest<TypeConfig>, WireError> {
    let leader = vote(head)?;
    let prev_log_id = id(head)?;
    let leader_commit = id(head)?;
    let (first, count) = (head.u64()?, head.u32()? as usize);
    // The second: no entry's index is the largest number, which has no next one.
    if count > head.left() / DESCRIBED_BYTES || first.checked_add(count as u64).is_none() {
        return Err(head.malformed().into());
    }
    let mut described = Vec::with_capacity(count);
    for (index, _) in (first..).zip(0..count) {
        described.push(Described {
            kind: EntryKind::from_number(head.u8()?).ok_or(head.malformed())?,
            id: EntryId::new(head.u64()?, index),
            base_offset: head.u64()?,
            record_count: head.u32()?,
            payload_bytes: head.u32()? as usize,
        });
    }
    let mut entries = Vec::with_capacity(described.len());
    for entry in described {
        let from = if entry.kind == EntryKind::Data { &mut *payloads } else { &mut *head };
        let payload = from.bytes(entry.payload_bytes)?;
        entries.push(raise(entry, payload, head)?);
    }
    Ok(AppendEntriesRequest { vote: leader, prev_log_id, entries, leader_commit })
}

fn raise(entry: Described, payload: Bytes, input: &FrameReader) -> Result<RaftEntry, WireError> {
    let Described { id, kind, base_offset, record_count, .. } = entry;
    let payload = match kind {
        EntryKind::Blank => EntryPayload::Blank,
        EntryKind::Membership => {
            EntryPayload::Membership(codec::decode_membership(payload).map_err(|_| input.malformed())?)
        }
        EntryKind::Data if !verify_crc(&payload) => return Err(WireError::DamagedBatch(id)),
        _ => {
            let base_offset = Offset::new(base_offset).ok_or(input.malformed())?;
            EntryPayload::Normal(Command::Stored(Entry { id, kind, base_offset, record_count, payload }))
        }
    };
    Ok(RaftEntry::new(log_id(id), payload))
}

fn put_vote_request(head: &mut FrameWriter, request: &VoteRequest<TypeConfig>) {
    put_vote(head, &request.vote);
    put_id(head, request.last_log_id.as_ref());
    head.put_u8(u8::from(request.leadership_transfer));
}

fn vote_request(head: &mut FrameReader) -> Result<VoteRequest<TypeConfig>, Malformed> {
    let mut request = VoteRequest::new(vote(head)?, id(head)?);
    request.leadership_transfer = flag(head)?;
    Ok(request)
}

fn put_transfer(head: &mut FrameWriter, response: &TransferLeaderResponse<TypeConfig>) {
    match response {
        Ok(()) => head.put_u8(0),
        Err(TransferLeaderError::VoteChanged { expected, actual }) => {
            head.put_u8(1);
            put_vote(head, expected);
            put_vote(head, actual);
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
            head.put_u8(2);
            put_id(head, expected.as_ref());
            put_id(head, actual.as_ref());
        }
    }
}

fn transfer(head: &mut FrameReader) -> Result<TransferLeaderResponse<TypeConfig>, Malformed> {
    Ok(match head.u8()? {
        0 => Ok(()),
        1 => Err(TransferLeaderError::VoteChanged { expected: vote(head)?, actual: vote(head)? }),
        2 => Err(TransferLeaderError::LogNotFlushed { expected: id(head)?, actual: id(head)? }),
        _ => return Err(head.malformed()),
    })
}

fn snapshot_meta(head: &mut FrameReader) -> Result<SnapshotMeta, Malformed> {
    let last_log_id = id(head)?;
    let set_at = id(head)?;
    let length = head.u32()? as usize;
    let membership = codec::decode_membership(head.bytes(length)?).map_err(|_| head.malformed())?;
    Ok(SnapshotMeta { last_log_id, last_membership: StoredMembership::new(set_at, membership) })
}

fn put_small(head: &mut FrameWriter, bytes: &[u8]) {
    head.put_u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    head.put_slice(bytes);
}

fn put_vote(head: &mut FrameWriter, vote: &Vote) {
    head.put_u8(u8::from(vote.committed));
    head.put_u64(vote.leader_id.term);
    head.put_u64(vote.leader_id.voted_for);
}

fn vote(head: &mut FrameReader) -> Result<Vote, Malformed> {
    let is_committed = flag(head)?;
    let (term, node) = (head.u64()?, head.u64()?);
    Ok(if is_committed { Vote::new_committed(term, node) } else { Vote::new(term, node) })
}

fn put_id(head: &mut FrameWriter, id: Option<&LogId>) {
    head.put_u8(u8::from(id.is_some()));
    if let Some(id) = id.map(entry_id) {
        head.put_u64(id.term.get());
        head.put_u64(id.index.get());
    }
}

fn id(head: &mut FrameReader) -> Result<Option<LogId>, Malformed> {
    Ok(if flag(head)? { Some(log_id(EntryId::new(head.u64()?, head.u64()?))) } else { None })
}

fn flag(head: &mut FrameReader) -> Result<bool, Malformed> {
    match head.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(head.malformed()),
    }
}
