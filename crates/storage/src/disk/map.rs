//! Read-only memory maps of files: the one file of the product with `unsafe` in it.
//!
//! Owns: making a map, and owned slices of it that keep it alive. Never: writes through a map, makes a file shorter,
//! or asks the kernel for pages before somebody wants them.
//!
//! Invariants, kept by the log and not checkable here:
//! - a file that has a view never shrinks (a truncation is a logical end in the manifest and a new segment), so that
//!   no touch below its end can raise SIGBUS by our own hand;
//! - bytes inside a slice that was handed out are never written again: appends only go above them.
#![allow(unsafe_code)] // the workspace denies it everywhere else

use std::fs::File;
use std::hint::black_box;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Once};

use bytes::Bytes;
use memmap2::{Advice, Mmap, MmapOptions, UncheckedAdvice};

use super::FileView;
use super::bus_error;
use super::residency::{Residency, Touched};

/// The smallest page of any machine we run on; touching one byte in each of these touches every page.
const PAGE_BYTES: usize = 4096;

/// Makes the process end with the file's name when a page of a map cannot be read, instead of with a bare signal.
fn explain_bus_errors() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let signal = rustix::process::Signal::BUS.as_raw();
        // SAFETY: what runs in a signal handler may only do what is safe there. `report` makes system calls on memory
        // of its own stack, takes no lock, allocates nothing, does not panic, and never returns; `si_addr` reads the
        // field that is valid for this signal.
        let registered = unsafe {
            signal_hook_registry::register_sigaction(signal, |info| bus_error::report(info.si_addr().addr()))
        };
        if let Err(error) = registered {
            tracing::warn!(%error, "an unreadable page of a mapped file would end this process without a word");
        }
    });
}

/// Maps the first `bytes` bytes of `file`, whatever its length is now. What is touched counts in `residency`.
pub(super) fn map(file: &File, bytes: u64, residency: Arc<Residency>) -> io::Result<Arc<dyn FileView>> {
    let length = usize::try_from(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the view is larger than the address space"))?;
    explain_bus_errors();
    // The length is explicit: left alone, memmap2 would take the file's present length, and a segment grows later.
    // SAFETY: a map is unsound when the file shrinks under it or when bytes behind a live `&[u8]` change. Segments
    // never shrink while a view lives and handed-out ranges are never rewritten (module invariants; the lock file
    // keeps a second broker away). Creating the map touches no byte of it.
    let map = unsafe { MmapOptions::new().len(length).map(file) }?;
    let map = Arc::new(map);
    let touched = Arc::new(Touched::new(Arc::clone(&map)));
    residency.enroll(&touched);
    let bytes = Bytes::from_owner(SharedMap(Arc::clone(&map)));
    Ok(Arc::new(MapView { map, bytes, residency, touched }))
}

/// Takes the pages of a map out of this process; touching them again brings them back from the page cache.
pub(super) fn let_go(map: &Mmap) {
    // SAFETY: the advice is unsafe because on private or anonymous memory it throws bytes away. This map is shared and
    // read-only, so its bytes are the file's, and a later touch, also through a slice that is held, reads the same.
    let advised = unsafe { map.unchecked_advise(UncheckedAdvice::DontNeed) };
    if let Err(error) = advised {
        tracing::debug!(%error, "cannot let go of a map's pages");
    }
}

/// What `Bytes` owns, so that the map lives as long as any slice of it.
struct SharedMap(Arc<Mmap>);

impl AsRef<[u8]> for SharedMap {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[derive(Debug)]
struct MapView {
    map: Arc<Mmap>,
    bytes: Bytes,
    residency: Arc<Residency>,
    touched: Arc<Touched>,
}

impl MapView {
    /// `range` cut to the view and as the machine counts.
    fn clamp(&self, range: &Range<u64>) -> Range<usize> {
        let bound = |position: u64| usize::try_from(position).map_or(self.bytes.len(), |at| at.min(self.bytes.len()));
        let start = bound(range.start);
        start..bound(range.end).max(start)
    }
}

impl FileView for MapView {
    fn slice(&self, range: Range<u64>) -> Bytes {
        let clamped = self.clamp(&range);
        assert_eq!(
            (clamped.start as u64, clamped.end as u64),
            (range.start, range.end),
            "a slice must lie inside its view"
        );
        self.bytes.slice(clamped)
    }

    fn will_touch(&self, range: Range<u64>) {
        let fresh = self.touched.touch(&self.clamp(&range));
        if fresh > 0 {
            self.residency.touch(fresh);
        }
    }

    fn populate(&self, range: Range<u64>) {
        let range = self.clamp(&range);
        if range.is_empty() {
            return;
        }
        let populated = self.map.advise_range(Advice::PopulateRead, range.start, range.len());
        // Kernels before 5.14 do not know the advice. Any other error means that there is nothing to read there (or
        // that reading it fails): leave that to whoever asks for the bytes.
        if matches!(populated, Err(error) if error.kind() == io::ErrorKind::InvalidInput) {
            let slice = self.bytes.slice(range);
            for page in slice.chunks(PAGE_BYTES) {
                black_box(page.first());
            }
        }
    }
}
