//! Damage to the files of a node that is not running: flipped bits, and a disk that came back empty.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// All files below a folder, with their sizes, in the order of their names.
#[must_use]
pub fn files(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(facts) if facts.is_dir() => folders.push(entry.path()),
                Ok(facts) => found.push((entry.path(), facts.len())),
                Err(_) => {}
            }
        }
    }
    found.sort();
    found
}

/// Flips one bit of a file.
///
/// # Panics
/// When the file has no such byte.
pub fn flip_bit(file: &Path, byte: u64, bit: u8) {
    let opened = OpenOptions::new().read(true).write(true).open(file).expect("the file can be opened");
    let mut value = [0];
    opened.read_exact_at(&mut value, byte).expect("the file has this byte");
    let flipped = value.map(|value| value ^ (1 << (bit % 8)));
    opened.write_all_at(&flipped, byte).expect("the file can be written");
}

/// Empties a folder.
///
/// # Panics
/// When it cannot be deleted.
pub fn wipe(folder: &Path) {
    std::fs::remove_dir_all(folder).expect("the folder can be deleted");
}
