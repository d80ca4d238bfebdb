//! Both disks keep the promises of the seam.

#![allow(clippy::unwrap_used)]

use std::io::IoSlice;
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
