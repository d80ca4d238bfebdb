//! Installs the clients, once for all tests: see `tests/kafka_clients/install`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a script needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// Python with the clients that are written for it.
    Python,
    /// kcat, which a script of Python without any of those drives.
    Kcat,
}

/// The program of a tool, installed below `folder` unless it is there already.
///
/// # Errors
/// Why it cannot be installed, in a line.
///
/// # Panics
/// When the folder cannot be written.
pub fn installed(tool: Tool, folder: &Path) -> Result<PathBuf, String> {
    std::fs::create_dir_all(folder).expect("the folder for what is built can be written");
    // Tests ask at the same time, and test processes do.
    let turn = File::create(folder.join("kafka-clients.lock")).expect("a file can be written");
    turn.lock().expect("a file can be locked");
    let name = match tool {
        Tool::Python => "python",
        Tool::Kcat => "kcat",
    };
    let script = super::script::folder().join("install");
    let ran = Command::new(script).arg(name).arg(folder.join("kafka-clients")).output();
    let ran = ran.map_err(|error| format!("bash: {error}"))?;
    let last = |said: &[u8]| String::from_utf8_lossy(said).lines().last().unwrap_or_default().to_owned();
    if ran.status.success() { Ok(PathBuf::from(last(&ran.stdout))) } else { Err(last(&ran.stderr)) }
}
