//! Both disks keep the promises of the seam.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // a test plays the vandal

use std::io::IoSlice;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;

use super::os::OsDisk;
use super::sim::SimDisk;
use super::{Disk, conformance};

#[test]
fn the_os_disk_conforms() {
    let dir = tempfile::tempdir().unwrap();
    conformance::check(&OsDisk::new(), dir.path());
}

#[test]
fn the_simulated_disk_conforms() {
    let disk = SimDisk::new(1);
    let dir = Path::new("/data");
    disk.create_dir_all(dir).unwrap();
    conformance::check(&disk, dir);
}

const CUT_UNDER_ITS_MAP: &str = "HIGHWATER_TEST_CUT_UNDER_ITS_MAP";

/// Not a test by itself: what the process of the next one runs.
#[test]
fn a_process_cuts_a_file_under_its_map() {
    let Some(path) = std::env::var_os(CUT_UNDER_ITS_MAP) else { return };
    let (disk, path) = (OsDisk::new(), Path::new(&path));
    let file = disk.create(path).unwrap();
    file.allocate(0..65_536).unwrap();
    let view = file.map(65_536).unwrap();
    // A vandal: the product never does this.
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(0).unwrap();
    let byte = view.slice(40_000..40_001);
    println!("SERVED {byte:?}");
}

#[test]
fn a_page_that_cannot_be_read_ends_the_process_with_the_name_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("00000000000000000001.segment");
    let neighbour = dir.path().join("00000000000000000002.segment");
    std::fs::write(&neighbour, b"whole").unwrap();
    let ended = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "disk::tests::a_process_cuts_a_file_under_its_map"])
        .env(CUT_UNDER_ITS_MAP, &path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.signal(), Some(rustix::process::Signal::ABORT.as_raw()), "{:?}: {said}", ended.status);
    assert!(said.contains("SIGBUS") && said.contains(path.to_str().unwrap()), "{said}");
    assert!(!String::from_utf8_lossy(&ended.stdout).contains("SERVED"));
    assert_eq!(std::fs::read(&neighbour).unwrap(), b"whole");
}

/// A call of the seam, on one of a few names.
#[derive(Clone, Debug)]
enum Call {
    Create(u8),
    Write(u8, u64, Vec<u8>),
    Allocate(u8, u64, u64),
    Read(u8, u64, usize),
    Slice(u8, u64, u64),
    Rename(u8, u8),
    Remove(u8),
    Sync(u8),
    List,
}

fn call() -> impl Strategy<Value = Call> {
    let name = 0..4u8;
    let position = prop_oneof![0..20u64, 4000..4200u64, 0..20_000u64];
    let bytes = vec(any::<u8>(), 0..600);
    prop_oneof![
        2 => name.clone().prop_map(Call::Create),
        4 => (name.clone(), position.clone(), bytes).prop_map(|(name, at, bytes)| Call::Write(name, at, bytes)),
        1 => (name.clone(), position.clone(), 0..9000u64).prop_map(|(name, at, bytes)| Call::Allocate(name, at, bytes)),
        3 => (name.clone(), position.clone(), 0..9000usize).prop_map(|(name, at, bytes)| Call::Read(name, at, bytes)),
        2 => (name.clone(), position, 0..9000u64).prop_map(|(name, at, bytes)| Call::Slice(name, at, bytes)),
        1 => (name.clone(), name.clone()).prop_map(|(from, to)| Call::Rename(from, to)),
        1 => name.clone().prop_map(Call::Remove),
        1 => name.prop_map(Call::Sync),
        1 => Just(Call::List),
    ]
}

/// What a call shows, in words that two disks can be compared by.
fn make(disk: &dyn Disk, dir: &Path, call: &Call) -> String {
    let path = |name: u8| dir.join(name.to_string());
    let result = match call.clone() {
        Call::Create(name) => disk.create(&path(name)).map(|_| String::new()),
        Call::Write(name, at, bytes) => disk.open(&path(name)).and_then(|file| {
            let (first, second) = bytes.split_at(bytes.len() / 3);
            file.write_at(at, &mut [IoSlice::new(first), IoSlice::new(second)])?;
            Ok(file.size()?.to_string())
        }),
        Call::Allocate(name, at, bytes) => disk.open(&path(name)).and_then(|file| {
            file.allocate(at..at + bytes)?;
            Ok(file.size()?.to_string())
        }),
        Call::Read(name, at, bytes) => disk.open_read_only(&path(name)).and_then(|file| {
            let mut buffer = vec![0; bytes];
            let read = file.read_at(at, &mut buffer)?;
            Ok(format!("{read} {:x}", crc32fast::hash(&buffer)))
        }),
        Call::Slice(name, at, bytes) => disk.open(&path(name)).and_then(|file| {
            let end = (at + bytes).min(file.size()?).max(at);
            let slice = if end <= file.size()? { file.map(1 << 20)?.slice(at..end) } else { bytes::Bytes::new() };
            Ok(format!("{} {:x}", slice.len(), crc32fast::hash(&slice)))
        }),
        Call::Rename(from, to) => disk.rename(&path(from), &path(to)).map(|()| String::new()),
        Call::Remove(name) => disk.remove(&path(name)).map(|()| String::new()),
        Call::Sync(name) => disk.open(&path(name)).and_then(|file| file.sync_data()).map(|()| String::new()),
        Call::List => disk.list(dir).map(|entries| format!("{entries:?}")),
    };
    result.unwrap_or_else(|error| error.kind().to_string())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    /// As long as the power stays on, nobody can tell the simulated disk from a real one.
    #[test]
    fn the_two_disks_show_the_same(calls in vec(call(), 1..60)) {
        let temporary = tempfile::tempdir().unwrap();
        let (os, sim) = (OsDisk::new(), SimDisk::new(1));
        sim.create_dir_all(Path::new("/data")).unwrap();
        for call in &calls {
            let (real, simulated) = (make(&os, temporary.path(), call), make(&sim, Path::new("/data"), call));
            prop_assert_eq!(real, simulated, "{:?}", call);
        }
    }
}
