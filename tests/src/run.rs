//! One verb of the binary, run to its end as a user types it.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

/// How a command ended, and what it printed.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// This outcome, when the command succeeded.
    ///
    /// # Panics
    /// When it failed.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "the command failed: {}", self.stderr);
        self
    }

    /// Standard output as text.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("the output is text")
    }
}

/// Runs `binary` with `arguments` against the node at `server`, with `stdin` as its input.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn highwater(binary: &str, server: &str, arguments: &[&str], stdin: &[u8]) -> Outcome {
    let mut child = Command::new(binary)
        .args(arguments)
        .env("HIGHWATER_SERVER", server)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut input = child.stdin.take().expect("it is piped");
    let mut errors = child.stderr.take().expect("it is piped");
    let mut output = child.stdout.take().expect("it is piped");
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    std::thread::scope(|threads| {
        // A command that ends before it has read everything closes the pipe; its exit code says why.
        threads.spawn(move || input.write_all(stdin).ok());
        threads.spawn(|| errors.read_to_end(&mut stderr).ok());
        let _ = output.read_to_end(&mut stdout);
    });
    let status = child.wait().expect("it is our child");
    Outcome { code: status.code(), stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() }
}
