//! The bytes of votes, memberships, checkpoints and snapshots. All numbers little endian, each form with its version
//! first; checksums are the business of the files and messages that carry them.
//!
//! | vote | |
//! |---|---|
//! | 1, 1 | version = 1; 1 when committed, else 0 |
//! | 8, 8 | term, node voted for |
//!
//! | membership (the payload of a membership entry) | |
//! |---|---|
//! | 1, 4 | version = 1; number of voter sets (two while it changes), then for each: |
//! | 4, 8 × n | number of nodes, their ids |
//! | 4, 8 × n | number of all members, learners too, and their ids |
//!
//! | checkpoint | |
//! |---|---|
//! | 1, 1 | version = 1; flags: 1 = the log is to be reset to the boundary |
//! | 1 [8, 8] | last applied entry: 0, or 1 and term and index |
//! | 8 | offset after it |
//! | 1 [8, 8] | the newest entry that the state has seen |
//! | 1 [8, 8, 4, n] | membership as of last applied: 0, or 1 and its entry's term, index, payload |
//! | 1 [8, 8, 8, membership] | boundary: 0, or 1 and its entry, the offset after it, membership as of it |
//! | rest | the state's own bytes |
//!
//! | snapshot | |
//! |---|---|
//! | 1, 8 | version = 1; the offset after the boundary |
//! | 1 [8, 8] | the newest entry that the state has seen |
//! | rest | the state's own bytes |

use std::collections::BTreeSet;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use highwater_storage::{Boundary, MembershipEntry};
use highwater_types::{EntryId, Offset};

use super::types::{Membership, Vote};

#[cfg(test)]
mod tests;

const VERSION: u8 = 1;
const RESET: u8 = 1;

/// Why bytes are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Written by a newer version of the product.
    #[error("{what} of version {version}; this version reads only {VERSION}: start a newer highwater")]
    UnknownVersion {
        /// What was read.
        what: &'static str,
        /// Its version.
        version: u8,
    },
    /// They end early, or hold what is never written.
    #[error("malformed {what}")]
    Malformed {
        /// What was read.
        what: &'static str,
    },
}

/// What a state machine needs to start again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// The last entry applied.
    pub(crate) applied: Option<EntryId>,
    /// The offset of the first record after it.
    pub(crate) next_offset: Offset,
    /// The newest entry that `state` has seen: later than `applied` when it came with a snapshot.
    pub(crate) seen: Option<EntryId>,
    /// The membership as of `applied`.
    pub(crate) membership: Option<MembershipEntry>,
    /// Where the log may begin: what a replica that is far behind starts from.
    pub(crate) boundary: Option<Boundary>,
    /// A snapshot was installed and the log has yet to be emptied up to its boundary.
    pub(crate) reset_log: bool,
    /// The state's own bytes.
    pub(crate) state: Bytes,
}

/// The data of a snapshot; its boundary and membership travel beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotData {
    /// The offset of the first record after the boundary.
    pub(crate) next_offset: Offset,
    /// The newest entry that `state` has seen; the boundary or later.
    pub(crate) seen: Option<EntryId>,
    /// The state's own bytes.
    pub(crate) state: Bytes,
}

pub(crate) fn encode_vote(vote: &Vote) -> Bytes {
    let mut out = BytesMut::with_capacity(18);
    out.put_u8(VERSION);
    out.put_u8(u8::from(vote.committed));
    out.put_u64_le(vote.leader_id.term);
    out.put_u64_le(vote.leader_id.voted_for);
    out.freeze()
}

pub(crate) fn decode_vote(bytes: Bytes) -> Result<Vote, DecodeError> {
    let mut input = Input::open("vote", bytes)?;
    let is_committed = input.u8()? == 1;
    let (term, node) = (input.u64()?, input.u64()?);
    input.end()?;
    Ok(if is_committed { Vote::new_committed(term, node) } else { Vote::new(term, node) })
}

pub(crate) fn encode_membership(membership: &Membership) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(VERSION);
    let sets = membership.get_joint_config();
    put_count(&mut out, sets.len());
    for set in sets {
        put_nodes(&mut out, set.iter().copied());
    }
    put_nodes(&mut out, membership.nodes().map(|(id, ())| *id));
    out.freeze()
}

fn put_nodes(out: &mut BytesMut, nodes: impl Iterator<Item = u64>) {
    let nodes: Vec<u64> = nodes.collect();
    put_count(out, nodes.len());
    nodes.iter().for_each(|node| out.put_u64_le(*node));
}

fn put_count(out: &mut BytesMut, count: usize) {
    out.put_u32_le(u32::try_from(count).unwrap_or(u32::MAX));
}

pub(crate) fn decode_membership(bytes: Bytes) -> Result<Membership, DecodeError> {
    let mut input = Input::open("membership", bytes)?;
    let mut sets = Vec::new();
    for _ in 0..input.u32()? {
        sets.push(input.nodes()?);
    }
    let nodes = input.nodes()?;
    input.end()?;
    Ok(Membership::new_with_defaults(sets, nodes))
}

pub(crate) fn encode_checkpoint(checkpoint: &Checkpoint) -> Bytes {
    let mut out = BytesMut::with_capacity(128 + checkpoint.state.len());
    out.put_u8(VERSION);
    out.put_u8(if checkpoint.reset_log { RESET } else { 0 });
    put_id(&mut out, checkpoint.applied);
    out.put_u64_le(checkpoint.next_offset.get());
    put_id(&mut out, checkpoint.seen);
    put_membership(&mut out, checkpoint.membership.as_ref());
    match &checkpoint.boundary {
        None => out.put_u8(0),
        Some(boundary) => {
            put_id(&mut out, Some(boundary.id));
            out.put_u64_le(boundary.next_offset.get());
            put_membership(&mut out, boundary.membership.as_ref());
        }
    }
    out.put_slice(&checkpoint.state);
    out.freeze()
}

fn put_id(out: &mut BytesMut, id: Option<EntryId>) {
    out.put_u8(u8::from(id.is_some()));
    if let Some(id) = id {
        out.put_u64_le(id.term.get());
        out.put_u64_le(id.index.get());
    }
}

fn put_membership(out: &mut BytesMut, membership: Option<&MembershipEntry>) {
    put_id(out, membership.map(|(id, _)| *id));
    if let Some((_, payload)) = membership {
        put_count(out, payload.len());
        out.put_slice(payload);
    }
}

pub(crate) fn decode_checkpoint(bytes: Bytes) -> Result<Checkpoint, DecodeError> {
    let mut input = Input::open("checkpoint", bytes)?;
    let flags = input.u8()?;
    if flags & !RESET != 0 {
        return Err(input.malformed());
    }
    let applied = input.id()?;
    let next_offset = input.offset()?;
    let seen = input.id()?;
    let membership = input.membership()?;
    let boundary = match input.id()? {
        None => None,
        Some(id) => Some(Boundary { id, next_offset: input.offset()?, membership: input.membership()? }),
    };
    let reset_log = flags & RESET != 0;
    Ok(Checkpoint { applied, next_offset, seen, membership, boundary, reset_log, state: input.bytes })
}

pub(crate) fn encode_snapshot(data: &SnapshotData) -> Bytes {
    let mut out = BytesMut::with_capacity(32 + data.state.len());
    out.put_u8(VERSION);
    out.put_u64_le(data.next_offset.get());
    put_id(&mut out, data.seen);
    out.put_slice(&data.state);
    out.freeze()
}

pub(crate) fn decode_snapshot(bytes: Bytes) -> Result<SnapshotData, DecodeError> {
    let mut input = Input::open("snapshot", bytes)?;
    Ok(SnapshotData { next_offset: input.offset()?, seen: input.id()?, state: input.bytes })
}

/// Bytes that are read from the front, and what they are for messages.
struct Input {
    what: &'static str,
    bytes: Bytes,
}

impl Input {
    fn open(what: &'static str, bytes: Bytes) -> Result<Self, DecodeError> {
        let mut input = Self { what, bytes };
        match input.u8()? {
            VERSION => Ok(input),
            version => Err(DecodeError::UnknownVersion { what, version }),
        }
    }

    fn malformed(&self) -> DecodeError {
        DecodeError::Malformed { what: self.what }
    }

    fn take<T>(&mut self, bytes: usize, take: impl FnOnce(&mut Bytes) -> T) -> Result<T, DecodeError> {
        if self.bytes.remaining() < bytes { Err(self.malformed()) } else { Ok(take(&mut self.bytes)) }
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        self.take(1, Bytes::get_u8)
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        self.take(4, Bytes::get_u32_le)
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        self.take(8, Bytes::get_u64_le)
    }

    fn offset(&mut self) -> Result<Offset, DecodeError> {
        Offset::new(self.u64()?).ok_or(self.malformed())
    }

    fn id(&mut self) -> Result<Option<EntryId>, DecodeError> {
        match self.u8()? {
            0 => Ok(None),
            1 => Ok(Some(EntryId::new(self.u64()?, self.u64()?))),
            _ => Err(self.malformed()),
        }
    }

    fn membership(&mut self) -> Result<Option<MembershipEntry>, DecodeError> {
        let Some(id) = self.id()? else { return Ok(None) };
        let bytes = self.u32()? as usize;
        Ok(Some((id, self.take(bytes, |input| input.split_to(bytes))?)))
    }

    fn nodes(&mut self) -> Result<BTreeSet<u64>, DecodeError> {
        let count = self.u32()?;
        (0..count).map(|_| self.u64()).collect()
    }

    fn end(&self) -> Result<(), DecodeError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(self.malformed()) }
    }
}
