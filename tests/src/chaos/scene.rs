//! A cluster with its topic and its history: what faults and clients work on, and how it all ends.
//!
//! Phases: set, workload, whatever is done to it; then conclude: heal, fresh writes, drain, reads through every node, stop,
//! files, verdict.
//!
//! Invariant: whatever fails on the way is a failure of the run, with the seed, and leaves its files behind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use highwater_client::{NewTopic, Topic};
use highwater_storage::disk::os::OsDisk;
use highwater_storage::inspect;

use super::dice::Dice;
use super::fault::Class;
use super::files;
use super::finish::{self, PATIENCE};
use super::plan::Plan;
use super::run::{Outcome, say};
use super::silence::{self, Blow};
use super::thin;
use super::workload::{Setting, Workload};
use crate::cluster::{Cluster, SmallDisk};
use crate::history::{Answer, Call, Kind, Recorder, judge};

const TOPIC: &str = "chaos";
/// The time after a blow in which the longest silence is looked for.
const SILENCE_WINDOW_US: u64 = 5_000_000;

/// See the module's documentation.
#[derive(Debug)]
pub struct Scene {
    /// The nodes.
    pub cluster: Cluster,
    /// How large the run is.
    pub plan: Plan,
    /// What clients saw.
    pub history: Recorder,
    /// What clients need to know.
    pub setting: Setting,
    started: Instant,
    files: PathBuf,
    topic_id: String,
    blows: Vec<Blow>,
    // After the cluster: its nodes let go of them first.
    _disks: Vec<SmallDisk>,
}

impl Scene {
    /// Starts the cluster of a plan and makes its topic.
    ///
    /// # Panics
    /// When that does not work.
    pub async fn set(binary: &Path, plan: Plan) -> Self {
        let started = Instant::now();
        let settings: Vec<(&str, &str)> =
            plan.settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let mut cluster = Cluster::new(binary, plan.nodes, &settings).await;
        let mut disks = Vec::new();
        for node in cluster.ids().into_iter().filter(|_| plan.small_disk_mib > 0) {
            let disk = SmallDisk::mount(plan.small_disk_mib).expect("a small filesystem can be mounted");
            cluster.put_data_on(node, disk.path());
            disks.push(disk);
        }
        cluster.start().await;
        for _ in 0..plan.spares {
            let joiner = cluster.add_joiner().await;
            cluster.spawn(joiner);
            cluster.wait_ready(joiner).await;
        }
        // A panic must not take what the run has left behind with it.
        let files = cluster.keep_files().to_owned();
        let history = Recorder::to_file(&files.join("history.jsonl"));
        let addresses = cluster.ids().into_iter().map(|id| (id, cluster.address(id).to_owned())).collect();
        let setting = Setting {
            history: history.clone(),
            topic: TOPIC.to_owned(),
            partitions: plan.partitions,
            replicas: plan.replicas(),
            first: 0,
            addresses: Arc::new(Mutex::new(addresses)),
            value_bytes: 200,
            pause: plan.pause,
        };
        let (topic_id, blows, _disks) = (String::new(), Vec::new(), disks);
        let mut scene = Self { cluster, plan, history, setting, started, files, topic_id, blows, _disks };
        scene.make_topic().await;
        scene
    }

    /// Sets the plan's clients to work.
    #[must_use]
    pub fn start_clients(&self) -> Workload {
        Workload::start(&self.setting, self.plan.crowd, &Dice::new(self.plan.seed).fork(1))
    }

    /// Has a new node join, and tells clients of it.
    ///
    /// # Panics
    /// When it does not come up, or the cluster calls it by another number than the harness.
    pub async fn join(&mut self) -> u64 {
        let node = self.cluster.add_joiner().await;
        self.cluster.spawn(node);
        self.cluster.wait_ready(node).await;
        let address = self.cluster.address(node).to_owned();
        let cluster = self.describe_cluster().await;
        let known = cluster.nodes.iter().find(|known| known.address == address);
        assert_eq!(known.map(|known| known.id.get()), Some(node), "the number of the new node: {cluster:?}");
        self.addresses().insert(node, address);
        node
    }

    /// Ends the process of a node that has left, and tells clients that it is gone.
    pub fn forget(&mut self, node: u64) {
        self.addresses().remove(&node);
        self.cluster.forget(node);
    }

    fn addresses(&self) -> MutexGuard<'_, BTreeMap<u64, String>> {
        self.setting.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cluster as some node describes it.
    ///
    /// # Panics
    /// When none does for a minute.
    pub async fn describe_cluster(&self) -> highwater_client::Cluster {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let told = match self.setting.client(0).admin().describe_cluster().await {
                Ok(cluster) => return cluster,
                Err(error) => error.to_string(),
            };
            assert!(Instant::now() < deadline, "no node describes the cluster in {PATIENCE:?}: {told}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until so many more records are acknowledged.
    ///
    /// # Panics
    /// When they are not, for a minute.
    pub async fn advance(&self, records: u64) {
        let wanted = self.history.acknowledged() + records;
        let deadline = Instant::now() + PATIENCE;
        while self.history.acknowledged() < wanted {
            assert!(Instant::now() < deadline, "fewer than {records} more records are acknowledged in {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Starts nodes again that have stopped over damage, as whatever runs a service does; tells how many that were.
    ///
    /// # Panics
    /// When one has stopped for another reason.
    pub async fn revive(&mut self) -> usize {
        let mut revived = 0;
        for node in self.cluster.ids() {
            if self.cluster.is_alive(node) {
                continue;
            }
            let said = self.cluster.last_words(node);
            let end = said.lines().last().unwrap_or_default();
            if end.contains("was removed from the cluster") {
                continue;
            }
            assert!(end.contains("is damaged at byte"), "node {node} has ended by itself: {said}");
            self.note(format!("node {node} has stopped over damage, and is started again: {end}"));
            self.cluster.spawn(node);
            self.cluster.wait_ready(node).await;
            revived += 1;
        }
        revived
    }

    /// Waits until all damage is met and every replica has been filled again.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn mend(&mut self) {
        self.scrub().await;
        let deadline = Instant::now() + 3 * PATIENCE;
        loop {
            let topic = self.describe().await;
            let mut replicas = topic.partitions.iter().flat_map(|partition| &partition.replica_status);
            if replicas.all(|replica| replica.is_recovering == Some(false)) {
                return;
            }
            assert!(Instant::now() < deadline, "replicas are not filled again: {topic:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Has every node read everything that it holds, so that damage is met that nobody has met yet; until there is none.
    async fn scrub(&mut self) {
        let quiet = Setting { history: Recorder::default(), ..self.setting.clone() };
        let deadline = Instant::now() + 3 * PATIENCE;
        loop {
            let mut why = None;
            for node in self.cluster.ids() {
                why = why.or(thin::read_to_end(&quiet, node, 0).await.err());
            }
            if self.revive().await == 0 && why.is_none() {
                return;
            }
            assert!(Instant::now() < deadline, "not everything can be read: {why:?}");
        }
    }

    /// How long the run lasts already.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Heals everything, reads everything, and judges.
    ///
    /// # Panics
    /// When something does not work again although all faults are over.
    pub async fn conclude(mut self, mut workload: Workload) -> Outcome {
        self.cluster.network().heal();
        self.history.note(Kind::Healed);
        self.revive().await;
        finish::fresh_writes(&self.history).await;
        if self.plan.faults.contains_key(&Class::FlipBit) {
            self.scrub().await;
        }
        workload.stop_producing().await;
        finish::final_reads(&self.setting).await;
        workload.stop().await;
        let topic = self.wait_converged().await;
        self.stop_all().await;
        self.read_files(&topic);
        let events = self.history.events();
        let report = judge(&events, &self.plan.requirements());
        let silences = silence::measure(&events, &self.blows, SILENCE_WINDOW_US);
        let outcome = Outcome { seed: self.plan.seed, seconds: self.elapsed().as_secs(), report, silences };
        say(&outcome.report.text());
        say(&outcome.json());
        if outcome.report.is_good() {
            let _ = std::fs::remove_dir_all(&self.files);
        } else {
            say(&format!("chaos: seed {} FAILED; history and files are in {}", outcome.seed, self.files.display()));
        }
        outcome
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
    ///
    /// # Panics
    /// When none does for a minute.
    pub async fn describe(&self) -> Topic {
        finish::describe(&self.setting).await
    }

    /// The node that leads a partition which chance chooses.
    pub async fn leader(&self, dice: &mut Dice) -> u64 {
        let topic = self.describe().await;
        dice.choose(&topic.partitions).and_then(|partition| partition.leader).map_or(1, highwater_client::NodeId::get)
    }

    /// A node that is not this one, if there is one.
    #[must_use]
    pub fn other_than(&self, node: u64, dice: &mut Dice) -> u64 {
        let others: Vec<u64> = self.cluster.ids().into_iter().filter(|id| *id != node).collect();
        dice.choose(&others).copied().unwrap_or(node)
    }

    /// Notes that a fault hits a node (0: all), and which partitions it led.
    pub async fn begin(&mut self, class: Class, node: u64) {
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
    pub fn end(&self, class: Class) {
        self.history.note(Kind::FaultOver { class: class.name().to_owned() });
    }

    /// Adds a remark to the history.
    pub fn note(&self, text: String) {
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
