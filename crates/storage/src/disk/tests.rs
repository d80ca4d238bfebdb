//! Both disks keep the promises of the seam.

use std::path::Path;

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
