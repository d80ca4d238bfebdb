//! One process of `highwater server`: started, frozen, asked to stop, killed.
//!
//! Invariant: a process that goes out of scope is dead.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// See the module's documentation.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: Receiver<String>,
}

/// How a process ended that was asked to.
#[derive(Clone, Copy, Debug)]
pub struct Stopped {
    /// How; `None` when it did not end in time and was killed.
    pub status: Option<ExitStatus>,
    /// How long it took.
    pub after: Duration,
}

impl Process {
    /// Starts a node with this configuration; standard error goes to the end of `log`.
    pub(super) fn spawn(binary: &Path, config: &Path, log: &Path, settings: &[(String, String)]) -> Self {
        let log = OpenOptions::new().create(true).append(true).open(log).expect("the log file can be opened");
        let mut command = Command::new(binary);
        command.arg("server").arg("--config").arg(config);
        for (key, value) in settings {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = piped.spawn().expect("the binary starts");
        let stdout = child.stdout.take().expect("it is piped");
        let (send, lines) = sync_channel(1024);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Nobody listens after `ready`, and the pipe is still to be drained.
                let _ = send.try_send(line);
            }
        });
        Self { child, lines }
    }

    pub(super) async fn wait_ready(&mut self, patience: Duration) -> Result<(), String> {
        let deadline = Instant::now() + patience;
        loop {
            match self.lines.try_recv() {
                Ok(line) if line == "ready" => return Ok(()),
                Ok(_) => continue,
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => {
                    let status = self.child.wait().expect("it is our child");
                    return Err(format!("ended with {status} before it served"));
                }
            }
            if Instant::now() >= deadline {
                return Err(format!("did not say 'ready' in {patience:?}"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_none()
    }

    pub(super) fn kill(self) {
        drop(self);
    }

    pub(super) async fn stop(mut self, patience: Duration) -> Stopped {
        let asked = Instant::now();
        self.signal(Signal::TERM);
        while asked.elapsed() < patience {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return Stopped { status: Some(status), after: asked.elapsed() };
            }
            tokio::time::sleep(LOOK).await;
        }
        Stopped { status: None, after: asked.elapsed() }
    }

    pub(super) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub(super) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        // It may have ended by itself meanwhile.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
