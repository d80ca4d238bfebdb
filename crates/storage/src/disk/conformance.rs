//! What every disk must do, as a function that any implementation can be given to. It checks the promises of the seam
//! that show without a crash; those that need one are the simulated disk's own tests.
#![allow(clippy::missing_panics_doc)] // panicking is how a check fails

use std::fmt::Debug;
use std::io::{self, ErrorKind, IoSlice};
use std::path::Path;
use std::sync::Arc;

use super::{Disk, DiskFile};

/// Checks `disk` inside `dir`, which must exist and be empty; leaves it empty.
///
/// # Panics
/// When a promise is broken, with the promise.
pub fn check(disk: &dyn Disk, dir: &Path) {
    type Check = fn(&dyn Disk, &Path);
    let checks: [(&str, Check); 9] = [
        ("names", names),
        ("folders", folders),
        ("writes", writes),
        ("many slices", many_slices),
        ("allocation", allocation),
        ("views", views),
        ("removed files", removed_files),
        ("locks", locks),
        ("syncs and space", syncs_and_space),
    ];
    for (name, check) in checks {
        check(disk, dir);
        disk.sync_dir(dir).or_fail("sync_dir");
        let left = disk.list(dir).or_fail("list");
        assert!(left.is_empty(), "{name} left {left:?}");
    }
}

trait OrFail<T> {
    fn or_fail(self, what: &str) -> T;
}

impl<T> OrFail<T> for io::Result<T> {
    #[track_caller]
    #[allow(clippy::panic)] // a check that fails
    fn or_fail(self, what: &str) -> T {
        self.unwrap_or_else(|error| panic!("{what}: {error}"))
    }
}

#[track_caller]
fn assert_fails<T: Debug>(result: io::Result<T>, kind: ErrorKind, what: &str) {
    assert_eq!(result.as_ref().map_err(io::Error::kind).err(), Some(kind), "{what}: {result:?}");
}

fn create(disk: &dyn Disk, path: &Path, contents: &[u8]) -> Arc<dyn DiskFile> {
    let file = disk.create(path).or_fail("create");
    file.write_at(0, &mut [IoSlice::new(contents)]).or_fail("write");
    file
}

#[track_caller]
fn assert_contents(file: &dyn DiskFile, position: u64, expected: &[u8]) {
    let mut buffer = vec![0xEE; expected.len()];
    let read = file.read_at(position, &mut buffer).or_fail("read");
    assert_eq!((read, buffer.as_slice()), (expected.len(), expected), "bytes at {position}");
}

fn names(disk: &dyn Disk, dir: &Path) {
    let (a, b) = (dir.join("a"), dir.join("b"));
    assert_fails(disk.open(&a), ErrorKind::NotFound, "open of nothing");
    assert_fails(disk.open_read_only(&a), ErrorKind::NotFound, "read-only open of nothing");
    assert_fails(disk.remove(&a), ErrorKind::NotFound, "remove of nothing");
    assert_fails(disk.rename(&a, &b), ErrorKind::NotFound, "rename of nothing");
    assert_fails(disk.create(&dir.join("no/a")), ErrorKind::NotFound, "create in no folder");
    create(disk, &a, b"first");
    assert_fails(disk.create(&a), ErrorKind::AlreadyExists, "create of a taken name");
    assert_contents(&*disk.open(&a).or_fail("open"), 0, b"first");
    create(disk, &b, b"other");
    let names: Vec<String> = disk.list(dir).or_fail("list").into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["a", "b"], "names are sorted");
    disk.rename(&a, &b).or_fail("rename over a file");
    assert_fails(disk.open(&a), ErrorKind::NotFound, "open of the old name");
    let read_only = disk.open_read_only(&b).or_fail("open");
    assert_contents(&*read_only, 0, b"first");
    assert!(read_only.write_at(0, &mut [IoSlice::new(b"x")]).is_err(), "a read-only file took a write");
    disk.remove(&b).or_fail("remove");
}

fn folders(disk: &dyn Disk, dir: &Path) {
    let deep = dir.join("one/two/three");
    assert_fails(disk.list(&deep), ErrorKind::NotFound, "list of nothing");
    disk.create_dir_all(&deep).or_fail("create_dir_all");
    disk.create_dir_all(&deep).or_fail("create_dir_all of an existing folder");
    create(disk, &deep.join("file"), b"x");
    let listed = disk.list(&dir.join("one")).or_fail("list");
    assert_eq!(listed.iter().map(|entry| (entry.name.as_str(), entry.is_dir)).collect::<Vec<_>>(), [("two", true)]);
    assert!(disk.create_dir_all(&deep.join("file")).is_err(), "a folder was made over a file");
    disk.remove_dir_all(&dir.join("one")).or_fail("remove_dir_all");
    disk.remove_dir_all(&dir.join("one")).or_fail("remove_dir_all of nothing");
    assert_fails(disk.open(&deep.join("file")), ErrorKind::NotFound, "open in a removed folder");
}

fn writes(disk: &dyn Disk, dir: &Path) {
    let path = dir.join("file");
    let file = disk.create(&path).or_fail("create");
    assert_eq!(file.size().or_fail("size"), 0);
    file.write_at(0, &mut [IoSlice::new(b""), IoSlice::new(b"abc"), IoSlice::new(b""), IoSlice::new(b"def")])
        .or_fail("vectored write");
    file.write_at(6, &mut []).or_fail("empty write");
    assert_contents(&*file, 0, b"abcdef");
    file.write_at(2, &mut [IoSlice::new(b"XY")]).or_fail("write inside");
    assert_contents(&*file, 1, b"bXYe");
    file.write_at(10_000, &mut [IoSlice::new(b"far")]).or_fail("write beyond the end");
    assert_eq!(file.size().or_fail("size"), 10_003);
    assert_contents(&*file, 9_998, b"\0\0far");
    let mut buffer = [0; 8];
    assert_eq!(file.read_at(10_001, &mut buffer).or_fail("read at the end"), 2);
    assert_eq!(file.read_at(20_000, &mut buffer).or_fail("read beyond the end"), 0);
    let second = disk.open(&path).or_fail("open");
    assert_contents(&*second, 0, b"abXYef");
    disk.remove(&path).or_fail("remove");
}

fn many_slices(disk: &dyn Disk, dir: &Path) {
    let path = dir.join("file");
    let file = disk.create(&path).or_fail("create");
    let pieces: Vec<[u8; 3]> = (0..=u8::MAX).cycle().take(5_000).map(|byte| [byte, 1, 2]).collect();
    let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    file.write_at(7, &mut slices).or_fail("write of more slices than one call takes");
    assert_contents(&*file, 7, pieces.as_flattened());
    disk.remove(&path).or_fail("remove");
}

fn allocation(disk: &dyn Disk, dir: &Path) {
    let path = dir.join("file");
    let file = create(disk, &path, b"data");
    file.allocate(0..100_000).or_fail("allocate");
    assert_eq!(file.size().or_fail("size"), 100_000);
    assert_contents(&*file, 0, b"data\0\0\0\0");
    assert_contents(&*file, 99_990, &[0; 10]);
    file.allocate(0..10).or_fail("allocate of what is there");
    file.allocate(5..5).or_fail("allocate of nothing");
    assert_eq!(file.size().or_fail("size"), 100_000, "allocation made a file shorter");
    disk.remove(&path).or_fail("remove");
}

fn views(disk: &dyn Disk, dir: &Path) {
    let path = dir.join("file");
    let file = create(disk, &path, b"before");
    let view = file.map(1 << 20).or_fail("map beyond the end");
    let early = view.slice(0..6);
    file.write_at(6, &mut [IoSlice::new(b" and after")]).or_fail("write");
    view.populate(0..16);
    view.populate(0..0);
    assert_eq!(early.as_ref(), b"before");
    assert_eq!(view.slice(2..16).as_ref(), b"fore and after", "a view shows what is written later");
    file.allocate(0..50_000).or_fail("allocate");
    assert_eq!(view.slice(16..50_000).as_ref(), [0; 50_000 - 16], "allocated bytes read as zero");
    let late = view.slice(6..10);
    drop((view, file));
    disk.remove(&path).or_fail("remove");
    assert_eq!(late.as_ref(), b" and", "a slice outlives its view, its file and its name");
}

fn removed_files(disk: &dyn Disk, dir: &Path) {
    let path = dir.join("file");
    let file = create(disk, &path, b"still");
    let view = file.map(64).or_fail("map");
    disk.remove(&path).or_fail("remove");
    file.write_at(5, &mut [IoSlice::new(b" here")]).or_fail("write to a removed file");
    file.sync_data().or_fail("sync of a removed file");
    assert_contents(&*file, 0, b"still here");
    assert_eq!(view.slice(0..10).as_ref(), b"still here");
    create(disk, &path, b"new");
    assert_contents(&*file, 0, b"still here");
    disk.remove(&path).or_fail("remove");
}

fn locks(disk: &dyn Disk, dir: &Path) {
    let path = dir.join("LOCK");
    let held = disk.lock(&path).or_fail("lock");
    assert_fails(disk.lock(&path), ErrorKind::WouldBlock, "second lock");
    drop(held);
    drop(disk.lock(&path).or_fail("lock after release"));
    disk.remove(&path).or_fail("remove");
}

fn syncs_and_space(disk: &dyn Disk, dir: &Path) {
    let path = dir.join("file");
    let file = create(disk, &path, b"x");
    file.sync_data().or_fail("sync_data");
    disk.sync_dir(dir).or_fail("sync_dir");
    assert_fails(disk.sync_dir(&dir.join("no")), ErrorKind::NotFound, "sync of no folder");
    match disk.sync_filesystem(dir) {
        Err(error) if error.kind() == ErrorKind::Unsupported => {}
        synced => synced.or_fail("sync_filesystem"),
    }
    let space = disk.space(dir).or_fail("space");
    assert!(space.free_bytes <= space.total_bytes && space.total_bytes > 0, "{space:?}");
    disk.remove(&path).or_fail("remove");
}
