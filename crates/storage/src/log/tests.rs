//! Tests of the whole log; those of its parts stand beside them.

use std::path::Path;
use std::sync::Arc;

mod damage;
mod format;
mod full_disk;
mod model;
mod threads;

use super::conformance;
use crate::DataDirOptions;
use crate::disk::Disk;
use crate::disk::os::OsDisk;
use crate::disk::sim::SimDisk;

fn options_without_threads() -> DataDirOptions {
    DataDirOptions { starts_flusher: false, ..DataDirOptions::default() }
}

#[test]
fn the_log_keeps_its_promises_on_the_operating_systems_disk() {
    let dir = tempfile::tempdir().unwrap();
    let disk: Arc<dyn Disk> = Arc::new(OsDisk::new());
    conformance::check(&disk, dir.path());
}

#[test]
fn the_log_keeps_its_promises_on_the_simulated_disk() {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    disk.create_dir_all(Path::new("/data")).unwrap();
    conformance::check(&disk, Path::new("/data"));
}
