//! Measures from how many dirty files on one sync of the filesystem is cheaper than a sync of each file: where
//! `DIRTY_FILES_MAX` comes from.
//!
//! `cargo run --release -p highwater-storage --example flush_crossover -- DIR [BYTES_PER_FILE]` prints the median and
//! the 99th percentile of a round, in milliseconds, for files whose space is allocated and for files that were zeroed.
#![allow(clippy::print_stdout, clippy::disallowed_methods)] // it prints, and it measures time

use std::error::Error;
use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use highwater_storage::disk::os::OsDisk;
use highwater_storage::disk::{Disk, DiskFile};

const FILE_BYTES: u64 = 16 << 20;
const ROUNDS: u32 = 60;
const COUNTS: [usize; 10] = [1, 2, 4, 6, 8, 12, 16, 24, 32, 64];

#[derive(Clone, Copy)]
enum Way {
    Each,
    Filesystem,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().ok_or("usage: flush_crossover DIR [BYTES_PER_FILE]")?;
    let bytes = arguments.next().map_or(Ok(16 << 10), |bytes| bytes.parse::<usize>())?;
    let dir = Path::new(&dir).join("flush_crossover");
    let disk = OsDisk::new();
    println!("{bytes} bytes in each of n files; milliseconds, median / p99 of {ROUNDS} rounds");
    println!("{:>8} {:>4} {:>17} {:>17}", "space", "n", "fdatasync each", "syncfs once");
    for is_zeroed in [false, true] {
        for count in COUNTS {
            disk.remove_dir_all(&dir)?;
            disk.create_dir_all(&dir)?;
            let files = make_files(&disk, &dir, count, is_zeroed)?;
            let mut position = 0;
            let each = measure(&disk, &dir, &files, Way::Each, &mut position, bytes)?;
            let once = measure(&disk, &dir, &files, Way::Filesystem, &mut position, bytes)?;
            let space = if is_zeroed { "zeroed" } else { "alloc" };
            println!("{space:>8} {count:>4} {:>17} {:>17}", show(each), show(once));
        }
    }
    disk.remove_dir_all(&dir)?;
    Ok(())
}

type Files = Vec<Arc<dyn DiskFile>>;

fn make_files(disk: &OsDisk, dir: &Path, count: usize, is_zeroed: bool) -> Result<Files, Box<dyn Error>> {
    let mut files = Vec::new();
    for number in 0..count {
        let file = disk.create(&dir.join(number.to_string()))?;
        file.allocate(0..FILE_BYTES)?;
        if is_zeroed {
            let zeros = vec![0; 1 << 20];
            for position in (0..FILE_BYTES).step_by(zeros.len()) {
                file.write_at(position, &mut [IoSlice::new(&zeros)])?;
            }
        }
        file.sync_data()?;
        files.push(file);
    }
    disk.sync_dir(dir)?;
    disk.sync_filesystem(dir)?;
    Ok(files)
}

fn measure(
    disk: &OsDisk,
    dir: &Path,
    files: &Files,
    way: Way,
    position: &mut u64,
    bytes: usize,
) -> Result<Vec<Duration>, Box<dyn Error>> {
    let data = vec![0xA5; bytes];
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        for file in files {
            file.write_at(*position, &mut [IoSlice::new(&data)])?;
        }
        *position += bytes as u64;
        let start = Instant::now();
        match way {
            Way::Each => files.iter().try_for_each(|file| file.sync_data())?,
            Way::Filesystem => disk.sync_filesystem(dir)?,
        }
        times.push(start.elapsed());
    }
    times.sort();
    Ok(times)
}

fn show(times: Vec<Duration>) -> String {
    let at = |part: f64| {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let index = ((times.len() - 1) as f64 * part) as usize;
        times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    format!("{:.2} / {:.2}", at(0.5), at(0.99))
}
