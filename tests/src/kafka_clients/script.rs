//! Runs a script to its end, and kills the leaders that it asks to have killed.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::{Duration, Instant};

use highwater_client::Client;

use super::{Tool, installed};
use crate::cluster::Cluster;

/// The longest that a script may take; it ends itself before, with a traceback.
const PATIENCE: Duration = Duration::from_secs(200);

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// What a script says to have the leader of a partition killed; the topic and the partition follow.
const KILL: &str = "KILL LEADER ";

/// Where the scripts are.
pub(super) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kafka_clients")
}

/// A script to run.
#[derive(Clone, Copy, Debug)]
pub struct Script<'a> {
    /// The name of its file.
    pub name: &'a str,
    /// What runs it.
    pub tool: Tool,
    /// Where the clients are installed.
    pub tools: &'a Path,
    /// Where the client begins; `None`: at all nodes.
    pub bootstrap: Option<&'a str>,
    /// Whether it is to do little, once: what transcripts are made of.
    pub is_session: bool,
}

/// Runs a script against a cluster that serves, until it ends well.
///
/// # Errors
/// Why the client cannot be installed.
///
/// # Panics
/// When the script fails, with all that it said.
pub async fn run(script: Script<'_>, cluster: &mut Cluster) -> Result<(), String> {
    let Script { name, tool, tools, bootstrap, is_session } = script;
    let program = installed(tool, tools)?;
    let python = if tool == Tool::Python { program.clone() } else { PathBuf::from("python3") };
    let nodes = cluster.ids().len();
    let mut command = Command::new(python);
    let bootstrap = bootstrap.map_or_else(|| cluster.kafka_addresses(), str::to_owned);
    command.arg("-B").arg(folder().join(name)).arg(bootstrap).arg(nodes.to_string());
    command.args(is_session.then_some("session"));
    command.env("HIGHWATER_BINARY", cluster.binary()).env("HIGHWATER_SERVER", cluster.addresses()).env("KCAT", program);
    let mut script = Running::start(&mut command);
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match script.next() {
            Next::Line(line) => {
                if let Some(partition) = line.strip_prefix(KILL) {
                    let node = kill_leader(cluster, partition).await;
                    script.answer(&format!("KILLED {node}"));
                }
                script.said.push(line);
            }
            Next::Ended(status) => break status,
            Next::Nothing => tokio::time::sleep(LOOK).await,
        }
        assert!(Instant::now() < deadline, "{name} did not end in {PATIENCE:?}:\n{}", script.said());
    };
    let words: Vec<String> =
        cluster.ids().into_iter().map(|id| format!("node {id}: {}", cluster.last_words(id))).collect();
    assert!(status.success(), "{name}, {nodes} nodes: {status}\n{}\n{}", script.said(), words.join("\n"));
    let _ = writeln!(std::io::stdout(), "{name}, {nodes} nodes:\n{}", script.said());
    Ok(())
}

/// Kills the node that leads a partition (`TOPIC PARTITION`); which it was.
async fn kill_leader(cluster: &mut Cluster, partition: &str) -> u64 {
    let (topic, partition) = partition.split_once(' ').expect("a topic and a partition");
    let partition: usize = partition.parse().expect("the number of a partition");
    let client = Client::connect(&cluster.addresses()).await.expect("the nodes serve");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let described = client.admin().describe_topic(topic).await.expect("the topic is there").topic;
        if let Some(leader) = described.partitions.get(partition).and_then(|partition| partition.leader) {
            cluster.kill(leader.get());
            return leader.get();
        }
        assert!(Instant::now() < deadline, "partition {partition} of {topic} has no leader");
        tokio::time::sleep(LOOK).await;
    }
}

/// A script that runs.
struct Running {
    child: Child,
    lines: Receiver<String>,
    errors: Option<std::thread::JoinHandle<String>>,
    said: Vec<String>,
}

enum Next {
    Line(String),
    Nothing,
    Ended(ExitStatus),
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().expect("python starts");
        let (stdout, mut stderr) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        let errors = std::thread::spawn(move || {
            let mut said = Vec::new();
            let _ = stderr.read_to_end(&mut said);
            String::from_utf8_lossy(&said).into_owned()
        });
        Self { child, lines, errors: Some(errors), said: Vec::new() }
    }

    fn next(&mut self) -> Next {
        match self.lines.try_recv() {
            Ok(line) => Next::Line(line),
            Err(TryRecvError::Empty) => Next::Nothing,
            Err(TryRecvError::Disconnected) => Next::Ended(self.child.wait().expect("it is our child")),
        }
    }

    fn answer(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("piped");
        // A script that has ended meanwhile says why by its exit code.
        let _ = writeln!(stdin, "{line}");
    }

    /// What it said; all of it, when it has ended. It is killed when it has not.
    fn said(&mut self) -> String {
        let _ = self.child.kill();
        let errors = self.errors.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        format!("{}\n{errors}", self.said.join("\n"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
