//! How much of the mapped files this process keeps in its page tables.
//!
//! Owns: counting the pages that readers touch through all maps, and letting go of them at a mark. The kernel keeps the
//! bytes in its page cache as before; touching them again costs a minor fault. Without this the resident size of a
//! process that reads its logs once would grow to the size of the logs (P7).
//!
//! Never: changes what a map shows. A slice that is held stays valid while its pages are let go.
//!
//! Invariant: a window counts once between two times that all are let go, however often readers come back to it. Several
//! readers of one log, or of many, are not charged for taking turns.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use memmap2::Mmap;

use super::map::let_go;

/// What the kernel maps around one fault of a page in its cache (`fault_around_bytes`).
pub(super) const WINDOW_BYTES: usize = 64 * 1024;

/// The windows of one word.
const BITS: usize = 64;

/// At so many touched bytes over all maps, all are let go. Large enough that the faults are lost in the noise of moving
/// as many bytes, small enough not to be seen beside the budget for requests.
const TOUCHED_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// The maps of one disk, and what was touched of them since they were last let go.
#[derive(Debug, Default)]
pub(super) struct Residency {
    touched_bytes: AtomicU64,
    maps: Mutex<Vec<Weak<Touched>>>,
}

/// A map, and which of its windows were touched since it was last let go.
#[derive(Debug)]
pub(super) struct Touched {
    map: Arc<Mmap>,
    /// A bit a window.
    windows: Box<[AtomicU64]>,
}

impl Touched {
    pub(super) fn new(map: Arc<Mmap>) -> Self {
        let windows = map.len().div_ceil(WINDOW_BYTES) + 1;
        Self { map, windows: (0..windows.div_ceil(BITS)).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Marks the windows of a range as touched; how many bytes of windows were not.
    pub(super) fn touch(&self, range: &Range<usize>) -> usize {
        let windows = range.start / WINDOW_BYTES..=range.end / WINDOW_BYTES;
        let is_new = |window: &usize| {
            let (Some(word), bit) = (self.windows.get(window / BITS), 1 << (window % BITS)) else { return false };
            // Most often it is marked, and then nothing need be written to what other threads read.
            word.load(Ordering::Relaxed) & bit == 0 && word.fetch_or(bit, Ordering::Relaxed) & bit == 0
        };
        windows.filter(is_new).count() * WINDOW_BYTES
    }

    fn let_go(&self) {
        for word in &self.windows {
            word.store(0, Ordering::Relaxed);
        }
        let_go(&self.map);
    }
}

impl Residency {
    /// Counts a new map in.
    pub(super) fn enroll(&self, map: &Arc<Touched>) {
        let mut maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
        // Swept where the list would grow anyway, so the cost of a map does not grow with the maps that are gone.
        if maps.len() == maps.capacity() {
            maps.retain(|map| map.strong_count() > 0);
        }
        maps.push(Arc::downgrade(map));
    }

    /// Notes that so many bytes are about to be touched for the first time in a while.
    pub(super) fn touch(&self, bytes: usize) {
        let bytes = bytes as u64;
        let touched_bytes = self.touched_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if touched_bytes < TOUCHED_BYTES_MAX {
            return;
        }
        // One of those who pass the mark together does the work; the others go on.
        let mark = self.touched_bytes.compare_exchange(touched_bytes, 0, Ordering::Relaxed, Ordering::Relaxed);
        if mark.is_ok() {
            let maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
            maps.iter().filter_map(Weak::upgrade).for_each(|map| map.let_go());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods)]

    use std::path::Path;

    use super::*;
    use crate::disk::Disk as _;
    use crate::disk::os::OsDisk;

    /// The resident bytes of the map of `path`, as the kernel counts them.
    fn resident_bytes(path: &Path) -> u64 {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let of_file = maps.lines().skip_while(|line| !line.ends_with(path.to_str().unwrap()));
        let rss = of_file.into_iter().find_map(|line| line.strip_prefix("Rss:")).unwrap();
        rss.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    #[test]
    fn a_window_counts_once_until_all_are_let_go() {
        let map =
            Touched::new(Arc::new(memmap2::MmapMut::map_anon(10 * WINDOW_BYTES).unwrap().make_read_only().unwrap()));
        assert_eq!(map.touch(&(0..10)), WINDOW_BYTES);
        assert_eq!(map.touch(&(5 * WINDOW_BYTES..7 * WINDOW_BYTES - 1)), 2 * WINDOW_BYTES);
        assert_eq!(map.touch(&(10..20)), 0, "a reader that comes back");
        assert_eq!(map.touch(&(0..10 * WINDOW_BYTES)), 8 * WINDOW_BYTES, "and the end of the map");
        map.let_go();
        assert_eq!(map.touch(&(0..10)), WINDOW_BYTES);
    }

    #[test]
    fn reading_a_large_file_through_its_map_keeps_little_of_it_and_every_slice_valid() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large");
        let bytes = 4 * TOUCHED_BYTES_MAX;
        std::fs::write(&path, vec![7; usize::try_from(bytes).unwrap()]).unwrap();
        let view = OsDisk::new().open(&path).unwrap().map(bytes).unwrap();

        let held = view.slice(0..1_000_000);
        view.will_touch(0..1_000_000);
        for position in (0..bytes).step_by(1 << 20) {
            let slice = view.slice(position..bytes).slice(..1 << 20);
            view.will_touch(position..position + (1 << 20));
            assert!(slice.iter().all(|byte| *byte == 7));
        }
        assert!(held.iter().all(|byte| *byte == 7), "let go, and back again when touched");
        let resident = resident_bytes(&path);
        assert!(resident <= 2 * TOUCHED_BYTES_MAX, "{resident} of {bytes} bytes are resident");
    }
}
