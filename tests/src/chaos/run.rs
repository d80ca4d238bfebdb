//! One run from the first process to the verdict.
//!
//! Phases: start, workload, faults, heal, fresh writes, drain, reads through every node, stop, files, verdict.
//!
//! Invariant: whatever fails on the way is a failure of the run, with the seed, and leaves its files behind.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use highwater_client::{NewTopic, Topic};
use highwater_storage::disk::os::OsDisk;
use highwater_storage::inspect;
use serde::Serialize;

use super::dice::Dice;
use super::fault::{self, Class};
use super::files;
use super::finish::{self, PATIENCE};
use super::plan::Plan;
use super::silence::{self, Blow, Silences};
use super::workload::{Setting, Workload};
use crate::cluster::Cluster;
use crate::history::{Answer, Call, Kind, Recorder, Report, judge};

const TOPIC: &str = "chaos";
/// The time after a blow in which the longest silence is looked for.
const SILENCE_WINDOW_US: u64 = 5_000_000;

/// What came of a run.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// How long it took.
    pub seconds: u64,
    /// The verdict.
    pub report: Report,
    /// The longest time without an acknowledgement after blows to leaders, by class.
    pub silences: BTreeMap<String, Silences>,
}

impl Outcome {
    /// The measured part, as one line of JSON.
    #[must_use]
    pub fn json(&self) -> String {
        let counts = &self.report.counts;
        serde_json::json!({
            "seed": self.seed,
            "seconds": self.seconds,
            "anomalies": self.report.anomalies.len(),
            "acknowledged": counts.acknowledged,
            "unknown": counts.unknown,
            "refused": counts.failed,
            "faults": counts.faults,
            "silence": self.silences,
        })
        .to_string()
    }
}

/// What faults work on.
pub(super) struct Scene {
    pub(super) cluster: Cluster,
    pub(super) plan: Plan,
    pub(super) history: Recorder,
    pub(super) setting: Setting,
    topic_id: String,
    blows: Vec<Blow>,
}

/// Does a run. Prints what it does next, with the seed, on standard output.
///
/// # Panics
/// When the cluster does not come up, or does not come back after a fault.
pub async fn run(binary: &Path, plan: Plan) -> Outcome {
    let started = Instant::now();
    say(&format!("chaos: seed {}, {} nodes, faults {:?}", plan.seed, plan.nodes, plan.faults));
    let mut dice = Dice::new(plan.seed);
    let mut scene = Scene::set(binary, plan).await;
    // A panic must not take what the run has left behind with it.
    let files = scene.cluster.keep_files().to_owned();
    let plan = scene.plan.clone();
    let mut workload = Workload::start(&scene.setting, plan.producers, plan.readers, &dice.fork(1));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let faults_began = Instant::now();
    let mut schedule = plan.schedule(&mut dice).into_iter();
    let classes: Vec<Class> = plan.faults.keys().copied().collect();
    loop {
        let class = match schedule.next() {
            Some(class) => class,
            None if faults_began.elapsed() < plan.at_least => match dice.choose(&classes) {
                Some(class) => *class,
                None => break,
            },
            None => break,
        };
        let seconds = started.elapsed().as_secs();
        say(&format!("chaos: {seconds} s, {} acknowledged: {}", scene.history.acknowledged(), class.name()));
        fault::strike(class, &mut scene, &mut dice).await;
        tokio::time::sleep(fault::calm(&mut dice, plan.calm_max)).await;
    }
    scene.cluster.network().heal();
    scene.history.note(Kind::Healed);
    finish::fresh_writes(&scene.history).await;
    workload.stop_producing().await;
    finish::final_reads(&scene.setting).await;
    workload.stop().await;
    let topic = scene.wait_converged().await;
    scene.stop_all().await;
    scene.read_files(&topic);
    let events = scene.history.events();
    let report = judge(&events, &plan.requirements());
    let silences = silence::measure(&events, &scene.blows, SILENCE_WINDOW_US);
    let outcome = Outcome { seed: plan.seed, seconds: started.elapsed().as_secs(), report, silences };
    say(&outcome.report.text());
    say(&outcome.json());
    if outcome.report.is_good() {
        let _ = std::fs::remove_dir_all(&files);
    } else {
        say(&format!("chaos: seed {} FAILED; history and files are in {}", plan.seed, files.display()));
    }
    outcome
}

/// Standard output, past the capture of the test runner: a run that hangs must show how far it came.
fn say(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stdout(), "{text}");
}

impl Scene {
    async fn set(binary: &Path, plan: Plan) -> Self {
        let settings: Vec<(&str, &str)> =
            plan.settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let mut cluster = Cluster::new(binary, plan.nodes, &settings).await;
        cluster.start().await;
        for _ in 0..plan.spares {
            let joiner = cluster.add_joiner().await;
            cluster.spawn(joiner);
            cluster.wait_ready(joiner).await;
        }
        let history = Recorder::to_file(&cluster.keep_files().join("history.jsonl"));
        let addresses = cluster.ids().into_iter().map(|id| (id, cluster.address(id).to_owned())).collect();
        let setting = Setting {
            history: history.clone(),
            topic: TOPIC.to_owned(),
            partitions: plan.partitions,
            addresses: Arc::new(Mutex::new(addresses)),
            value_bytes: 200,
            pause: plan.pause,
        };
        let mut scene = Self { cluster, plan, history, setting, topic_id: String::new(), blows: Vec::new() };
        scene.make_topic().await;
        scene
    }

    /// Makes the topic, and waits until every node knows it and all its leaders: what is listed later is measured by that.
    async fn make_topic(&mut self) {
        let new = NewTopic::new(TOPIC).partitions(self.plan.partitions).replicas(self.plan.replicas());
        // Small segments, so that a run rolls them.
        let new = new.config("segment.bytes", "1048576");
        let admin = self.setting.client_of(1).admin();
        admin.create_topic(new).await.expect("the topic can be made");
        for node in self.cluster.ids() {
            let admin = self.setting.client_of(node).admin();
            let deadline = Instant::now() + PATIENCE;
            loop {
                match admin.describe_topic(TOPIC).await {
                    Ok(described) if described.topic.partitions.iter().all(|part| part.leader.is_some()) => {
                        self.topic_id = described.topic.id;
                        break;
                    }
                    other => assert!(Instant::now() < deadline, "node {node} does not know the topic: {other:?}"),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        let op = self.history.invoke(Call::CreateTopic { name: TOPIC.to_owned() });
        self.history.note(Kind::Done { op, answer: Answer::Plain });
    }

    /// The topic as some node describes it.
    pub(super) async fn describe(&self) -> Topic {
        finish::describe(&self.setting).await
    }

    /// The node that leads a partition which chance chooses.
    pub(super) async fn leader(&self, dice: &mut Dice) -> u64 {
        let topic = self.describe().await;
        dice.choose(&topic.partitions).and_then(|partition| partition.leader).map_or(1, highwater_client::NodeId::get)
    }

    /// A node that is not this one, if there is one.
    pub(super) fn other_than(&self, node: u64, dice: &mut Dice) -> u64 {
        let others: Vec<u64> = self.cluster.ids().into_iter().filter(|id| *id != node).collect();
        dice.choose(&others).copied().unwrap_or(node)
    }

    /// Notes that a fault hits a node (0: all), and which partitions it led.
    pub(super) async fn begin(&mut self, class: Class, node: u64) {
        let led: Vec<u32> = self
            .describe()
            .await
            .partitions
            .iter()
            .filter(|partition| node == 0 || partition.leader.is_some_and(|leader| leader.get() == node))
            .map(|partition| partition.partition.get())
            .collect();
        let target = if node == 0 { "all nodes".to_owned() } else { format!("node {node}") };
        self.history.note(Kind::Fault { class: class.name().to_owned(), target });
        if !led.is_empty() {
            let at_us = self.history.now_us();
            self.blows.push(Blow { class: class.name().to_owned(), at_us, partitions: led });
        }
    }

    /// Notes that a fault is over.
    pub(super) fn end(&self, class: Class) {
        self.history.note(Kind::FaultOver { class: class.name().to_owned() });
    }

    /// Adds a remark to the history.
    pub(super) fn note(&self, text: String) {
        self.history.note(Kind::Note { text });
    }

    /// Whether a file belongs to a partition of the topic.
    pub(super) fn is_of_topic(&self, path: &Path) -> bool {
        path.to_string_lossy().contains(&self.topic_id.replace('-', ""))
    }

    /// A byte inside of an entry of a segment.
    pub(super) fn some_byte_of_a_frame(&self, segment: &Path, dice: &mut Dice) -> Option<u64> {
        let frames: Vec<(u64, u64)> = inspect::segment(&OsDisk::default(), segment)
            .ok()?
            .flatten()
            .filter_map(|frame| Some((frame.position, u64::from(frame.header.ok()?.payload_bytes))))
            .collect();
        let (position, payload_bytes) = dice.choose(&frames)?;
        Some(position + dice.below(payload_bytes + 16))
    }

    /// Waits until the files of every replica hold everything that is committed.
    async fn wait_converged(&self) -> Topic {
        let deadline = Instant::now() + PATIENCE;
        let events = self.history.events();
        let committed = crate::history::facts::Facts::of(&events).committed();
        loop {
            let topic = self.describe().await;
            let mut behind = Vec::new();
            for (node, partition) in assignments(&topic) {
                let found = files::replica(self.cluster.data(node), node, &self.topic_id, partition);
                let end = found
                    .ok()
                    .flatten()
                    .and_then(|replica| replica.entries.last().map(|last| last.base_offset + u64::from(last.records)));
                if end < committed.get(&partition).copied() {
                    behind.push((node, partition, end));
                }
            }
            if behind.is_empty() {
                return topic;
            }
            if Instant::now() > deadline {
                self.note(format!("after {PATIENCE:?} these replicas are still behind: {behind:?}"));
                return topic;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn stop_all(&mut self) {
        for node in self.cluster.ids() {
            let stopped = self.cluster.stop(node).await;
            self.note(format!("node {node} was stopped: {stopped:?}"));
        }
    }

    fn read_files(&self, topic: &Topic) {
        for (node, partition) in assignments(topic) {
            match files::replica(self.cluster.data(node), node, &self.topic_id, partition) {
                Ok(Some(replica)) => self.history.note(Kind::ReplicaSeen(replica)),
                Ok(None) => self.note(format!("node {node} has no files of partition {partition}")),
                Err(why) => self.note(format!("the files of partition {partition} on node {node}: {why}")),
            }
        }
    }
}

/// Which node holds which partition.
fn assignments(topic: &Topic) -> Vec<(u64, u32)> {
    let of = |partition: &highwater_client::Partition| {
        let number = partition.partition.get();
        partition.replicas.iter().map(|node| (node.get(), number)).collect::<Vec<_>>()
    };
    topic.partitions.iter().flat_map(of).collect()
}
