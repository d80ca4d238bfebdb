//! How much of the mapped files this process keeps in its page tables.
//!
//! Owns: counting the pages that readers touch through all maps, and letting go of them at a mark. The kernel keeps the
//! bytes in its page cache as before; touching them again costs a minor fault. Without this the resident size of a
//! process that reads its logs once would grow to the size of the logs (P7).
//!
//! Never: changes what a map shows. A slice that is held stays valid while its pages are let go.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use memmap2::Mmap;

use super::map::let_go;

/// What the kernel maps around one fault of a page in its cache (`fault_around_bytes`).
pub(super) const WINDOW_BYTES: u64 = 64 * 1024;

/// At so many touched bytes over all maps, all are let go. Large enough that the faults are lost in the noise of moving
/// as many bytes, small enough not to be seen beside the budget for requests.
const TOUCHED_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// The maps of one disk, and what was touched of them since they were last let go.
#[derive(Debug, Default)]
pub(super) struct Residency {
    touched_bytes: AtomicU64,
    maps: Mutex<Vec<Weak<Mmap>>>,
}

impl Residency {
    /// Counts a new map in.
    pub(super) fn enroll(&self, map: &Arc<Mmap>) {
        let mut maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
        // Swept where the list would grow anyway, so the cost of a map does not grow with the maps that are gone.
        if maps.len() == maps.capacity() {
            maps.retain(|map| map.strong_count() > 0);
        }
        maps.push(Arc::downgrade(map));
    }

    /// Notes that so many bytes are about to be touched for the first time in a while.
    pub(super) fn touch(&self, bytes: u64) {
        let touched_bytes = self.touched_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if touched_bytes < TOUCHED_BYTES_MAX {
            return;
        }
        // One of those who pass the mark together does the work; the others go on.
        let mark = self.touched_bytes.compare_exchange(touched_bytes, 0, Ordering::Relaxed, Ordering::Relaxed);
        if mark.is_ok() {
            let maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
            maps.iter().filter_map(Weak::upgrade).for_each(|map| let_go(&map));
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
    fn reading_a_large_file_through_its_map_keeps_little_of_it_and_every_slice_valid() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("large");
        let bytes = 4 * TOUCHED_BYTES_MAX;
        std::fs::write(&path, vec![7; usize::try_from(bytes).unwrap()]).unwrap();
        let view = OsDisk::new().open(&path).unwrap().map(bytes).unwrap();

        let held = view.slice(0..1_000_000);
        for position in (0..bytes).step_by(1 << 20) {
            let slice = view.slice(position..position + (1 << 20));
            assert!(slice.iter().all(|byte| *byte == 7));
        }
        assert!(held.iter().all(|byte| *byte == 7), "let go, and back again when touched");
        let resident = resident_bytes(&path);
        assert!(resident <= 2 * TOUCHED_BYTES_MAX, "{resident} of {bytes} bytes are resident");
    }
}
