//! The simulated disk forgets, fails and lies as planned, and only then.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::{ErrorKind, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{CrashMode, Fault, FaultRates, SimDisk, is_crash};
use crate::disk::{Disk, DiskFile};

const DIR: &str = "/data";

fn path(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

fn disk(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    disk.create_dir_all(Path::new(DIR)).unwrap();
    disk
}

fn write(file: &dyn DiskFile, position: u64, bytes: &[u8]) -> std::io::Result<()> {
    file.write_at(position, &mut [IoSlice::new(bytes)])
}

/// A file whose name and contents are durable.
fn durable(disk: &SimDisk, name: &str, contents: &[u8]) -> Arc<dyn DiskFile> {
    let file = disk.create(&path(name)).unwrap();
    write(&*file, 0, contents).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    file
}

fn contents(disk: &SimDisk, name: &str) -> Vec<u8> {
    let file = disk.open(&path(name)).unwrap();
    let mut bytes = vec![0; usize::try_from(file.size().unwrap()).unwrap()];
    assert_eq!(file.read_at(0, &mut bytes).unwrap(), bytes.len());
    bytes
}

fn names(disk: &SimDisk) -> Vec<String> {
    disk.list(Path::new(DIR)).unwrap().into_iter().map(|entry| entry.name).collect()
}

#[test]
fn a_crash_loses_bytes_that_were_not_synced() {
    let disk = disk(1);
    let file = durable(&disk, "a", b"old");
    write(&*file, 0, b"new and longer").unwrap();
    disk.crash(CrashMode::LosePending);
    assert_eq!(contents(&disk.reboot(), "a"), b"old");
}

#[test]
fn a_crash_orphans_a_synced_file_whose_name_was_not() {
    let disk = disk(1);
    let file = disk.create(&path("a")).unwrap();
    write(&*file, 0, b"x").unwrap();
    file.sync_data().unwrap();
    assert!(names(&disk.reboot()).is_empty());
}

#[test]
fn renames_and_removals_are_undone_until_the_folder_is_synced() {
    let disk = disk(1);
    durable(&disk, "a", b"a");
    durable(&disk, "b", b"b");
    disk.rename(&path("a"), &path("b")).unwrap();
    let disk = disk.reboot();
    assert_eq!((contents(&disk, "a"), contents(&disk, "b")), (b"a".to_vec(), b"b".to_vec()));
    disk.rename(&path("a"), &path("b")).unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    let disk = disk.reboot();
    assert_eq!((names(&disk), contents(&disk, "b")), (vec!["b".to_owned()], b"a".to_vec()));
    disk.remove(&path("b")).unwrap();
    let disk = disk.reboot();
    assert_eq!(contents(&disk, "b"), b"a");
    disk.remove(&path("b")).unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    assert!(names(&disk.reboot()).is_empty());
}

#[test]
fn a_removed_folder_comes_back_with_its_files_until_its_parent_is_synced() {
    let disk = disk(1);
    disk.create_dir_all(&path("logs")).unwrap();
    durable(&disk, "logs/a", b"a");
    disk.sync_dir(&path("logs")).unwrap();
    disk.remove_dir_all(&path("logs")).unwrap();
    let disk = disk.reboot();
    assert_eq!(contents(&disk, "logs/a"), b"a");
    disk.remove_dir_all(&path("logs")).unwrap();
    disk.sync_dir(Path::new(DIR)).unwrap();
    assert!(names(&disk.reboot()).is_empty());
}

#[test]
fn a_rename_across_folders_is_whole_or_not_there() {
    for seed in 0..50 {
        let disk = disk(seed);
        disk.create_dir_all(&path("from")).unwrap();
        disk.create_dir_all(&path("to")).unwrap();
        durable(&disk, "from/a", b"a");
        disk.sync_dir(&path("from")).unwrap();
        disk.rename(&path("from/a"), &path("to/a")).unwrap();
        disk.crash(CrashMode::KeepSome);
        let disk = disk.reboot();
        let there = ["from", "to"].map(|dir| disk.list(&path(dir)).unwrap().len());
        assert!(there == [1, 0] || there == [0, 1], "seed {seed}: {there:?}");
    }
}

#[test]
fn some_sectors_survive_and_others_do_not() {
    let (mut survived, mut lost, mut mixed) = (0, 0, 0);
    for seed in 0..100 {
        let disk = disk(seed);
        let file = durable(&disk, "a", &[1; 8192]);
        write(&*file, 0, &[2; 8192]).unwrap();
        disk.crash(CrashMode::KeepSome);
        let bytes = contents(&disk.reboot(), "a");
        for sector in bytes.chunks(512) {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is atomic");
        }
        match bytes.iter().filter(|byte| **byte == 2).count() {
            0 => lost += 1,
            8192 => survived += 1,
            _ => mixed += 1,
        }
    }
    assert!(mixed > 50, "mixed {mixed}, lost {lost}, survived {survived}");
}

#[test]
fn a_torn_write_keeps_a_first_part_to_the_byte() {
    let mut kept = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let disk = disk(seed);
        let file = durable(&disk, "a", &[1; 4096 + 8]);
        write(&*file, 4000, &[3; 10]).unwrap();
        write(&*file, 4090, &[2; 20]).unwrap();
        disk.crash(CrashMode::TearLastWrite);
        let bytes = contents(&disk.reboot(), "a");
        assert_eq!(bytes[4000..4010], [3; 10], "an earlier write is whole");
        let new = bytes[4090..].iter().take_while(|byte| **byte == 2).count();
        assert!(bytes[4090 + new..].iter().all(|byte| *byte == 1), "seed {seed}");
        kept.insert(new);
    }
    assert!(kept.len() > 15 && kept.contains(&0) && kept.contains(&20), "{kept:?}");
}

#[test]
fn what_is_kept_in_full_is_all_there() {
    let disk = disk(1);
    write(&*disk.create(&path("a")).unwrap(), 0, b"new").unwrap();
    disk.crash(CrashMode::KeepAll);
    assert_eq!(contents(&disk.reboot(), "a"), b"new");
}

#[test]
fn without_power_everything_fails_and_old_handles_fail_for_ever() {
    let disk = disk(1);
    let file = durable(&disk, "a", b"x");
    let _held = disk.lock(&path("LOCK")).unwrap();
    disk.crash(CrashMode::KeepAll);
    let fails = |disk: &SimDisk, file: &dyn DiskFile| {
        assert!(disk.is_crashed());
        assert!(is_crash(&disk.list(Path::new(DIR)).unwrap_err()));
        assert!(is_crash(&disk.create(&path("b")).unwrap_err()));
        assert!(is_crash(&write(file, 0, b"y").unwrap_err()));
        assert!(is_crash(&file.sync_data().unwrap_err()));
        assert!(is_crash(&file.read_at(0, &mut [0]).unwrap_err()));
    };
    fails(&disk, &*file);
    let next = disk.reboot();
    fails(&disk, &*file);
    assert_eq!(contents(&next, "a"), b"x");
    drop(next.lock(&path("LOCK")).unwrap());
}

#[test]
fn a_crash_comes_at_the_call_that_was_named() {
    let run = |disk: &SimDisk| -> std::io::Result<()> {
        let file = disk.create(&path("a"))?;
        write(&*file, 0, b"x")?;
        file.sync_data()?;
        disk.sync_dir(Path::new(DIR))
    };
    let before = disk(1);
    let start = before.operations();
    run(&before).unwrap();
    let calls = before.operations() - start;
    assert_eq!(calls, 4);
    for nth in 1..=calls {
        let disk = disk(1);
        disk.crash_at(nth, CrashMode::KeepAll);
        assert!(is_crash(&run(&disk).unwrap_err()), "call {nth}");
        assert_eq!(disk.operations() - start, nth);
        let disk = disk.reboot();
        assert_eq!(names(&disk), ["a"]);
        assert_eq!(contents(&disk, "a"), if nth == 1 { "" } else { "x" }.as_bytes());
    }
}

#[test]
fn planned_errors_hit_the_call_that_was_named_and_no_other() {
    let disk = disk(1);
    let file = durable(&disk, "a", b"0123456789");
    disk.schedule(Fault::WriteError, 2);
    disk.schedule(Fault::ReadError, 1);
    write(&*file, 0, b"A").unwrap();
    let error = write(&*file, 1, b"BCDEFG").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(5), "EIO");
    write(&*file, 9, b"Z").unwrap();
    assert_eq!(file.read_at(0, &mut [0; 4]).unwrap_err().raw_os_error(), Some(5));
    let after = contents(&disk, "a");
    let written = after[1..7].iter().zip(b"BCDEFG").take_while(|(found, new)| found == new).count();
    assert_eq!(after[1 + written..9], b"0123456789"[1 + written..9], "a first part of a failed write may be there");
}

#[test]
fn a_failed_sync_forgets_what_was_pending_and_the_next_one_says_ok() {
    let disk = disk(1);
    let file = durable(&disk, "a", b"old");
    write(&*file, 0, b"new").unwrap();
    disk.schedule(Fault::SyncError, 1);
    assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(5));
    file.sync_data().unwrap();
    assert_eq!(contents(&disk, "a"), b"new", "the page cache still shows it");
    disk.crash(CrashMode::KeepAll);
    assert_eq!(contents(&disk.reboot(), "a"), b"old", "the medium never had it");
}

#[test]
fn a_lost_sync_says_ok_and_does_nothing() {
    let disk = disk(1);
    let file = durable(&disk, "a", b"old");
    write(&*file, 0, b"new").unwrap();
    disk.schedule(Fault::SyncLost, 1);
    file.sync_data().unwrap();
    assert_eq!(contents(&disk.reboot(), "a"), b"old");
}

#[test]
fn a_full_disk_refuses_growth_and_only_that() {
    let disk = disk(1);
    let file = durable(&disk, "a", &[1; 4096]);
    disk.set_capacity(Some(3 * 4096));
    file.allocate(0..8192).unwrap();
    assert_eq!(file.allocate(0..20_000).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(file.size().unwrap(), 8192, "a refused allocation changes nothing");
    write(&*file, 8000, &[2; 192]).unwrap();
    assert_eq!(write(&*file, 12_000, &[2; 1000]).unwrap_err().kind(), ErrorKind::StorageFull);
    let space = disk.space(Path::new(DIR)).unwrap();
    assert_eq!((space.free_bytes, space.total_bytes), (4096, 3 * 4096));
    let other = disk.create(&path("b")).unwrap();
    other.allocate(0..4096).unwrap();
    assert_eq!(other.allocate(0..8192).unwrap_err().kind(), ErrorKind::StorageFull);
    disk.remove(&path("a")).unwrap();
    other.allocate(0..8192).unwrap();
}

#[test]
fn damage_is_on_the_medium() {
    let disk = disk(1);
    let file = durable(&disk, "a", &[1; 5000]);
    write(&*file, 4096, &[2; 904]).unwrap();
    file.sync_data().unwrap();
    disk.flip_bit(&path("a"), 10, 3).unwrap();
    disk.make_stale(&path("a"), 4500).unwrap();
    assert!(disk.make_stale(&path("a"), 9000).is_err(), "nothing was there");
    assert!(disk.flip_bit(&path("a"), 5000, 0).is_err(), "beyond the end");
    let disk = disk.reboot();
    let bytes = contents(&disk, "a");
    assert_eq!((bytes[9], bytes[10], bytes[11]), (1, 1 ^ 8, 1));
    assert_eq!(bytes[4096..], [1; 904]);
    disk.cut(&path("a"), 7).unwrap();
    assert_eq!(contents(&disk, "a"), [1; 7]);
}

#[test]
fn syncing_the_filesystem_makes_names_and_bytes_durable() {
    let disk = disk(1);
    write(&*disk.create(&path("a")).unwrap(), 0, b"x").unwrap();
    disk.sync_filesystem(Path::new(DIR)).unwrap();
    assert_eq!(contents(&disk.reboot(), "a"), b"x");
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let run = |seed| {
        let disk = disk(seed);
        disk.set_rates(FaultRates { write_errors: 100_000, read_errors: 0, sync_errors: 50_000, syncs_lost: 50_000 });
        let mut outcomes = Vec::new();
        for number in 0..200u8 {
            let file = disk.create(&path(&format!("f{number}"))).unwrap();
            outcomes.push(write(&*file, u64::from(number), &[number; 3000]).is_ok());
            outcomes.push(file.sync_data().is_ok());
            outcomes.push(number % 7 != 0 || disk.sync_dir(Path::new(DIR)).is_ok());
        }
        disk.crash(CrashMode::KeepSome);
        let disk = disk.reboot();
        let files: Vec<_> = names(&disk).iter().map(|name| (name.clone(), contents(&disk, name))).collect();
        (outcomes, files)
    };
    let (outcomes, files) = run(7);
    assert_eq!((&outcomes, &files), (&run(7).0, &run(7).1));
    assert_ne!(files, run(8).1);
    let failed = outcomes.iter().filter(|ok| !**ok).count();
    assert!((10..80).contains(&failed), "{failed} of {} calls failed", outcomes.len());
}

#[test]
#[should_panic(expected = "SIGBUS")]
fn touching_a_view_beyond_the_end_is_caught() {
    let disk = disk(1);
    let view = durable(&disk, "a", b"x").map(4096).unwrap();
    drop(view.slice(0..2));
}
