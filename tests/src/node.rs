//! One node as a process: started on a data directory, killed or asked to stop, started again.
//!
//! Invariant: a node that goes out of scope is dead. Its address is a port of loopback that stays free while it is down.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::cluster::ports;

/// The longest that a node may take to serve, or to stop. Long, for machines that do much else.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running node.
#[derive(Debug)]
pub struct Node {
    child: Child,
    address: String,
    banner: Vec<String>,
    remarks: Option<std::thread::JoinHandle<String>>,
}

/// A node that ended before it served.
#[derive(Debug)]
pub struct Failed {
    /// How it ended.
    pub status: ExitStatus,
    /// What it said on standard error.
    pub stderr: String,
}

impl Failed {
    fn panic(&self) -> ! {
        panic!("the node ended with {} before it served: {}", self.status, self.stderr);
    }
}

impl Node {
    /// Starts `highwater dev` on `data` and waits until it serves.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn start(binary: &str, data: &Path) -> Self {
        Self::start_with(binary, data, &[])
    }

    /// As [`Node::start`], with more arguments.
    ///
    /// # Panics
    /// When it does not serve.
    #[must_use]
    pub fn start_with(binary: &str, data: &Path, arguments: &[&str]) -> Self {
        Self::try_start(binary, data, arguments).unwrap_or_else(|failed| failed.panic())
    }

    /// Starts `highwater server` on `data` and waits until it serves.
    ///
    /// # Panics
    /// When it does not serve.
    #[must_use]
    pub fn start_server(binary: &str, data: &Path, arguments: &[&str]) -> Self {
        Self::spawn(binary, "server", data, arguments).unwrap_or_else(|failed| failed.panic())
    }

    /// Starts `highwater dev` and waits until it serves or ends.
    ///
    /// # Errors
    /// How it ended, when it did not serve.
    ///
    /// # Panics
    /// When it does neither in a minute.
    pub fn try_start(binary: &str, data: &Path, arguments: &[&str]) -> Result<Self, Failed> {
        Self::spawn(binary, "dev", data, arguments)
    }

    fn spawn(binary: &str, verb: &str, data: &Path, arguments: &[&str]) -> Result<Self, Failed> {
        // As `dev` has it: several nodes on one machine cannot all have the usual port between nodes.
        let peers = if verb == "server" { ["--set", "cluster.listen=127.0.0.1:0"].as_slice() } else { &[] };
        // Several nodes are ten ports apart, which others may have: the system gives them theirs.
        let port = if arguments.contains(&"--nodes") { 0 } else { ports::free() };
        let mut child = Command::new(binary)
            .arg(verb)
            .arg("--data")
            .arg(data)
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .args(["--http-listen", "127.0.0.1:0", "--kafka-listen", "127.0.0.1:0"])
            .args(peers)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut stderr = child.stderr.take().expect("it is piped");
        let remarks = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stderr.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let lines = lines_of(child.stdout.take().expect("it is piped"));
        let mut node = Self { child, address: String::new(), banner: Vec::new(), remarks: Some(remarks) };
        let deadline = Instant::now() + PATIENCE;
        while let Ok(line) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            if let Some(address) = line.trim().strip_prefix("gRPC ") {
                address.trim().clone_into(&mut node.address);
            }
            if line == "ready" {
                return Ok(node);
            }
            node.banner.push(line);
        }
        assert!(Instant::now() < deadline, "the node did not say 'ready' in {PATIENCE:?}: {:?}", node.banner);
        let status = node.child.wait().expect("it is our child");
        Err(Failed { status, stderr: node.remarks() })
    }

    /// Where it serves, as HOST:PORT.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What it printed before `ready`.
    #[must_use]
    pub fn banner(&self) -> &[String] {
        &self.banner
    }

    /// Ends it as a power cut would end the process: `SIGKILL`, no warning.
    pub fn kill(self) {
        drop(self);
    }

    /// Asks it to stop (`SIGTERM`) and waits until it has; returns how it ended and what it said on standard error.
    ///
    /// # Panics
    /// When it does not stop in a minute.
    pub fn stop(mut self) -> (ExitStatus, String) {
        kill_process(self.pid(), Signal::TERM).expect("a signal reaches our child");
        let status = self.wait();
        (status, self.remarks())
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When it does not in a minute.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            assert!(Instant::now() < deadline, "the node did not end in {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn remarks(&mut self) -> String {
        self.remarks.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a pipe, read to its end so that the writer never waits.
fn lines_of(pipe: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = sync_channel(1024);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            // Nobody listens after `ready`, and the pipe is still to be drained.
            let _ = send.try_send(line);
        }
    });
    receive
}
