//! The bytes of one simulated file: what is live in the page cache, what is durable, and which pages differ.
//!
//! Invariant: a page whose live bytes differ from its durable bytes is in `dirty` (the next sync writes it) or in
//! `dropped` (a failed sync forgot it: reads show it until the crash, no sync will ever write it).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::random::Random;

/// What the cache holds and a sync writes.
pub(super) const PAGE_BYTES: u64 = 4096;
const PAGE: usize = 4096;
/// What the medium writes as one: a page may survive a crash in part, a sector only as a whole.
const SECTOR: usize = 512;

type Page = Arc<[u8; PAGE]>;

/// Pages by number; a missing page reads as zero.
#[derive(Clone, Debug, Default)]
struct Contents {
    pages: BTreeMap<u64, Page>,
    bytes: u64,
}

impl Contents {
    fn set(&mut self, index: u64, page: Option<Page>) {
        match page {
            Some(page) => drop(self.pages.insert(index, page)),
            None => drop(self.pages.remove(&index)),
        }
    }

    fn page_mut(&mut self, index: u64) -> &mut [u8; PAGE] {
        Arc::make_mut(self.pages.entry(index).or_insert_with(|| Arc::new([0; PAGE])))
    }

    /// Writes, without looking at the length.
    fn copy_in(&mut self, mut position: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let within = in_page(position);
            let (now, later) = bytes.split_at(bytes.len().min(PAGE - within));
            let (_, tail) = self.page_mut(position / PAGE_BYTES).split_at_mut(within);
            tail.split_at_mut(now.len()).0.copy_from_slice(now);
            position += now.len() as u64;
            bytes = later;
        }
    }

    /// Reads, without looking at the length.
    fn copy_out(&self, mut position: u64, mut buffer: &mut [u8]) {
        while !buffer.is_empty() {
            let within = in_page(position);
            let length = buffer.len().min(PAGE - within);
            let (now, later) = buffer.split_at_mut(length);
            match self.pages.get(&(position / PAGE_BYTES)) {
                Some(page) => now.copy_from_slice(page.split_at(within).1.split_at(length).0),
                None => now.fill(0),
            }
            position += length as u64;
            buffer = later;
        }
    }

    /// Sets the length; what lies above a shorter one reads as zero when the file grows again.
    fn set_length(&mut self, bytes: u64) {
        if bytes < self.bytes {
            drop(self.pages.split_off(&bytes.div_ceil(PAGE_BYTES)));
            if let Some(last) = self.pages.get_mut(&(bytes / PAGE_BYTES)) {
                Arc::make_mut(last).split_at_mut(in_page(bytes)).1.fill(0);
            }
        }
        self.bytes = bytes;
    }
}

fn in_page(position: u64) -> usize {
    usize::try_from(position % PAGE_BYTES).unwrap_or(0)
}

/// How to take the newest write back.
#[derive(Debug)]
struct Undo {
    position: u64,
    written: u64,
    bytes_before: u64,
    pages_before: Vec<(u64, Option<Page>)>,
}

/// One file, whatever its name.
#[derive(Debug, Default)]
pub(super) struct FileData {
    live: Contents,
    durable: Contents,
    dirty: BTreeSet<u64>,
    dropped: BTreeSet<u64>,
    /// What each page was on the medium before its newest sync.
    previous: BTreeMap<u64, Option<Page>>,
    /// Space is reserved from the beginning up to here.
    reserved_bytes: u64,
    undo: Option<Undo>,
}

impl FileData {
    pub(super) fn bytes(&self) -> u64 {
        self.live.bytes
    }

    pub(super) fn reserved_bytes(&self) -> u64 {
        self.reserved_bytes
    }

    /// How much more space a file that reaches to `end` takes.
    pub(super) fn more_bytes(&self, end: u64) -> u64 {
        end.next_multiple_of(PAGE_BYTES).saturating_sub(self.reserved_bytes)
    }

    fn reserve(&mut self, end: u64) {
        self.reserved_bytes = self.reserved_bytes.max(end.next_multiple_of(PAGE_BYTES));
    }

    pub(super) fn allocate(&mut self, end: u64) {
        self.reserve(end);
        self.live.bytes = self.live.bytes.max(end);
    }

    pub(super) fn write(&mut self, position: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = position + bytes.len() as u64;
        let pages = position / PAGE_BYTES..end.div_ceil(PAGE_BYTES);
        self.undo = Some(Undo {
            position,
            written: bytes.len() as u64,
            bytes_before: self.live.bytes,
            pages_before: pages.clone().map(|index| (index, self.live.pages.get(&index).cloned())).collect(),
        });
        self.live.copy_in(position, bytes);
        self.dirty.extend(pages);
        self.allocate(end);
    }

    /// Reads what lies below the end; returns how much that was.
    pub(super) fn read(&self, position: u64, buffer: &mut [u8]) -> usize {
        let there = self.live.bytes.saturating_sub(position);
        let length = usize::try_from(there).map_or(buffer.len(), |there| there.min(buffer.len()));
        self.live.copy_out(position, buffer.split_at_mut(length).0);
        length
    }

    /// A sync that works.
    pub(super) fn sync(&mut self) {
        self.undo = None;
        for index in std::mem::take(&mut self.dirty) {
            self.dropped.remove(&index);
            let page = self.live.pages.get(&index).cloned();
            self.previous.insert(index, self.durable.pages.get(&index).cloned());
            self.durable.set(index, page);
        }
        self.durable.set_length(self.live.bytes);
    }

    /// A sync that fails as Linux does: the pages count as clean from now on, and are not on the medium.
    pub(super) fn sync_failed(&mut self) {
        self.undo = None;
        self.dropped.append(&mut self.dirty);
    }

    /// Takes back the newest write from a random byte on.
    pub(super) fn tear(&mut self, random: &mut Random) {
        let Some(undo) = self.undo.take() else { return };
        let kept_end = undo.position + random.below(undo.written + 1);
        for (index, before) in undo.pages_before {
            let first = index * PAGE_BYTES;
            let keep = usize::try_from(kept_end.clamp(first, first + PAGE_BYTES) - first).unwrap_or(PAGE);
            let before = before.unwrap_or_else(|| Arc::new([0; PAGE]));
            let (_, torn) = self.live.page_mut(index).split_at_mut(keep);
            torn.copy_from_slice(before.split_at(keep).1);
        }
        self.live.bytes = undo.bytes_before.max(kept_end);
    }

    /// The power goes and all that is pending was just written.
    pub(super) fn crash_keeping_all(&mut self) {
        self.sync();
        self.lose_rest();
    }

    /// The power goes and nothing that is pending was written.
    pub(super) fn crash_losing_all(&mut self) {
        self.dropped.append(&mut self.dirty);
        self.lose_rest();
    }

    /// The power goes with any part of what is pending written, in any order; `per_million` is how likely each sector
    /// is to be.
    pub(super) fn crash_keeping_some(&mut self, random: &mut Random, per_million: u32) {
        for index in std::mem::take(&mut self.dirty) {
            let mut live = self.live.pages.get(&index).map_or([0; PAGE], |page| **page);
            let durable = self.durable.pages.get(&index).map_or([0; PAGE], |page| **page);
            for (sector, old) in live.chunks_mut(SECTOR).zip(durable.chunks(SECTOR)) {
                if !random.chance(per_million) {
                    sector.copy_from_slice(old);
                }
            }
            self.durable.set(index, Some(Arc::new(live)));
            self.dropped.insert(index);
        }
        let grown = self.live.bytes.saturating_sub(self.durable.bytes);
        let length = match random.below(3) {
            0 => self.durable.bytes,
            1 => self.live.bytes,
            _ => self.durable.bytes + random.below(grown + 1),
        };
        // The medium may hold pages above a length that was not written: nobody sees them.
        self.durable.bytes = self.durable.bytes.max(self.live.bytes);
        self.durable.set_length(length);
        self.lose_rest();
    }

    /// After the crash the file is what the medium holds.
    fn lose_rest(&mut self) {
        self.undo = None;
        for index in std::mem::take(&mut self.dropped) {
            self.live.set(index, self.durable.pages.get(&index).cloned());
        }
        self.live.set_length(self.durable.bytes);
        self.reserved_bytes = self.live.bytes.next_multiple_of(PAGE_BYTES);
    }

    /// Damage on the medium: one bit of the byte at `position` turns over.
    pub(super) fn flip_bit(&mut self, position: u64, bit: u8) {
        for contents in [&mut self.live, &mut self.durable] {
            let mut byte = [0];
            contents.copy_out(position, &mut byte);
            contents.copy_in(position, &byte.map(|byte| byte ^ (1 << (bit % 8))));
        }
    }

    /// Damage on the medium: the page at `position` is what it was before its newest sync, as if that write had never
    /// reached it. `false` when it was never written twice.
    pub(super) fn make_stale(&mut self, position: u64) -> bool {
        let index = position / PAGE_BYTES;
        let Some(previous) = self.previous.remove(&index) else { return false };
        self.live.set(index, previous.clone());
        self.durable.set(index, previous);
        true
    }

    /// Damage from outside: the file is made shorter.
    pub(super) fn cut(&mut self, bytes: u64) {
        for contents in [&mut self.live, &mut self.durable] {
            let length = contents.bytes.min(bytes);
            contents.set_length(length);
        }
    }
}
