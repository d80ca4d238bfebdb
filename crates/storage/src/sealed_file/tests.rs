//! The header, the refusals, and the power cut at every call of a replacement.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::disk::sim::{CrashMode, Fault, SimDisk};

const DIR: &str = "/data";

fn file() -> PathBuf {
    Path::new(DIR).join("manifest")
}

fn disk(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    disk.create_dir_all(Path::new(DIR)).unwrap();
    disk
}

fn seal(version: u16, payload: &[u8]) -> Bytes {
    [encode_header(FileKind::Manifest, version, payload).as_slice(), payload].concat().into()
}

fn payload(disk: &dyn Disk) -> Option<Bytes> {
    read(disk, &file(), FileKind::Manifest).unwrap().map(|sealed| sealed.payload)
}

#[test]
fn the_bytes_are_these_for_ever() {
    let bytes = seal(0x0102, b"payload");
    let mut expected = b"HWSEALED".to_vec();
    expected.extend([0x02, 0x01, 3, 0, 7, 0, 0, 0, 0xbd, 0x4e, 0xdb, 0xba]);
    expected.extend(b"payload");
    assert_eq!(bytes, expected);
}

#[test]
fn what_was_written_is_read_and_a_missing_file_is_none() {
    let disk = disk(1);
    assert_eq!(payload(&disk), None);
    for contents in [b"".as_slice(), b"first", b"second and longer", b"3"] {
        write(&disk, &file(), FileKind::Manifest, contents).unwrap();
        let disk = disk.clone();
        assert_eq!(payload(&disk).unwrap(), contents);
    }
    assert_eq!(payload(&disk.reboot()).unwrap(), b"3".as_slice(), "durable when write returns");
}

#[test]
fn every_bit_and_every_cut_is_noticed() {
    let good = seal(1, b"some payload");
    for bit in 0..good.len() * 8 {
        let mut bad = good.to_vec();
        bad[bit / 8] ^= 1 << (bit % 8);
        let error = decode(&file(), FileKind::Manifest, bad.into()).unwrap_err();
        assert!(matches!(error, FileError::Damaged { .. }), "bit {bit}: {error}");
        assert!(error.to_string().contains("/data/manifest"), "{error}");
    }
    for length in 0..good.len() {
        decode(&file(), FileKind::Manifest, good.slice(..length)).unwrap_err();
    }
    decode(&file(), FileKind::Manifest, [good.as_ref(), b"x"].concat().into()).unwrap_err();
}

#[test]
fn another_kind_is_not_taken_for_this_one() {
    let error = decode(&file(), FileKind::Checkpoint, seal(1, b"x")).unwrap_err();
    assert!(matches!(error, FileError::Damaged { damage: Damage::WrongKind { expected: 4, found: 3 }, .. }), "{error}");
}

#[test]
fn a_newer_version_is_refused_with_both_numbers_and_the_name() {
    let error = decode(&file(), FileKind::Manifest, seal(9, b"x")).unwrap_err();
    assert!(matches!(error, FileError::NewerFormat { found: 9, supported: 1, .. }), "{error}");
    let text = error.to_string();
    assert!(["/data/manifest", "version 9", "up to 1"].iter().all(|part| text.contains(part)), "{text}");
}

/// The power goes in every call of a replacement, in every way: the old contents are found or the new.
#[test]
fn a_crash_leaves_the_old_or_the_new() {
    for mode in CrashMode::ALL {
        for seed in 0..50 {
            for nth in 1.. {
                let disk = disk(seed);
                write(&disk, &file(), FileKind::Manifest, &[1; 700]).unwrap();
                disk.crash_at(nth, mode);
                let written = write(&disk, &file(), FileKind::Manifest, &[2; 900]);
                let was_cut = disk.is_crashed();
                let disk = disk.reboot();
                let found = payload(&disk).unwrap();
                assert!(found == [1; 700].as_slice() || found == [2; 900].as_slice());
                assert!(written.is_err() || found == [2; 900].as_slice(), "an acknowledged write is there");
                remove_temporary(&disk, &file()).unwrap();
                assert_eq!(disk.list(Path::new(DIR)).unwrap().len(), 1, "nothing is left over");
                write(&disk, &file(), FileKind::Manifest, b"next").unwrap();
                if !was_cut {
                    break;
                }
            }
        }
    }
}

#[test]
fn a_full_disk_leaves_the_old_contents_and_no_rest() {
    let disk = disk(1);
    write(&disk, &file(), FileKind::Manifest, b"old").unwrap();
    disk.set_capacity(Some(8192));
    let error = write(&disk, &file(), FileKind::Manifest, &[7; 10_000]).unwrap_err();
    assert!(error.is_disk_full(), "{error}");
    assert_eq!(payload(&disk).unwrap(), b"old".as_slice());
    assert_eq!(disk.list(Path::new(DIR)).unwrap().len(), 1);
    write(&disk, &file(), FileKind::Manifest, b"small").unwrap();
}

#[test]
fn a_failed_sync_leaves_the_old_contents() {
    let disk = disk(1);
    write(&disk, &file(), FileKind::Manifest, b"old").unwrap();
    disk.schedule(Fault::SyncError, 1);
    let error = write(&disk, &file(), FileKind::Manifest, b"new").unwrap_err();
    assert_eq!(error.to_string(), "cannot sync /data/manifest.tmp: Input/output error (os error 5)");
    assert_eq!(payload(&disk.reboot()).unwrap(), b"old".as_slice());
}

#[test]
fn it_works_on_a_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(crate::disk::os::OsDisk::new());
    let path = dir.path().join("identity");
    assert_eq!(read(&*disk, &path, FileKind::Identity).unwrap(), None);
    for contents in [b"one", b"two"] {
        write(&*disk, &path, FileKind::Identity, contents).unwrap();
        assert_eq!(read(&*disk, &path, FileKind::Identity).unwrap().unwrap().payload, contents.as_slice());
    }
}
