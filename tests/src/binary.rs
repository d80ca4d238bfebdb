//! Where the binary under test is: what cargo builds from this tree, so that a test never meets an old one.
//!
//! `cargo test --workspace` has built it before any test runs. A build of the one package has other features of its
//! dependencies, so it would compile most of them anew: it is done only when a source is newer than the binary.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The path of `highwater`; built now when it is missing or old, unless `HIGHWATER_BINARY` names one.
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn highwater_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("HIGHWATER_BINARY") {
        return PathBuf::from(path);
    }
    // This test lies in `PROFILE/deps`.
    let test = std::env::current_exe().expect("a process knows its file");
    let profile = test.parent().and_then(|deps| deps.parent()).expect("a test lies in the folder of its profile");
    let binary = profile.join("highwater");
    if is_current(&binary) {
        return binary;
    }
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--locked", "-p", "highwater-cli", "--bin", "highwater"]);
    if profile.file_name().is_some_and(|name| name == "release") {
        build.arg("--release");
    }
    let built = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs");
    assert!(built.success(), "the binary was not built: {built}");
    binary
}

/// Whether no source that cargo noted beside the binary (`highwater.d`, in the form of make) has changed since.
fn is_current(binary: &Path) -> bool {
    let changed = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    let Some(built) = changed(binary) else { return false };
    let Ok(noted) = fs::read_to_string(binary.with_extension("d")) else { return false };
    let Some((_, sources)) = noted.split_once(": ") else { return false };
    // A path with a space is cut in two; the halves do not exist, so the binary counts as old and is built.
    sources.split_whitespace().all(|source| changed(Path::new(source)).is_some_and(|changed| changed <= built))
}
