//! Where the binary under test is: what cargo builds from this tree, so that a test never meets an old one.

use std::path::PathBuf;
use std::process::Command;

/// The path of `highwater`; built now, unless `HIGHWATER_BINARY` names one.
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
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--locked", "-p", "highwater-cli", "--bin", "highwater"]);
    if profile.file_name().is_some_and(|name| name == "release") {
        build.arg("--release");
    }
    let built = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs");
    assert!(built.success(), "the binary was not built: {built}");
    profile.join("highwater")
}
