//! One simulated machine: a disk, a clock, and a node that runs, is held, crashes and starts again.
//!
//! Its node has a runtime of its own, so that a crash is the drop of that runtime: every task is gone where it stood.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use highwater_broker::clock::Clock;
use highwater_broker::node::{Node, NodeFailure, NodeOptions};
use highwater_broker::raft::Leadership;
use highwater_broker::router::Router;
use highwater_storage::disk::Disk;
use highwater_storage::disk::sim::{CrashMode, SimDisk};
use highwater_types::{Timestamp, TopicName};
use tokio::runtime::{Builder, RngSeed, Runtime};
use tokio::sync::{mpsc, oneshot, watch};

use crate::dice::Dice;
use crate::front;
use crate::history::Partition;
use crate::network::{Machine, Network};
use crate::trace::note;

pub const START_MS: i64 = 1_700_000_000_000;
pub const DATA: &str = "/data";

/// How a node's life ended, other than by the simulation's hand.
#[derive(Clone, Debug)]
pub enum End {
    Refused(String),
    Failed(NodeFailure),
    Stopped,
    /// The power went in the middle of a call to the disk.
    PowerLost,
}

pub struct Host {
    pub machine: Machine,
    pub disk: SimDisk,
    /// How many starts there were.
    pub life: u64,
    pub disk_ms_max: u64,
    /// What its wall clock is ahead of the true time, in milliseconds.
    pub clock_ahead_ms: i64,
    /// The files in which its medium was damaged. A node may refuse to start because of one that the other nodes cannot
    /// bring back.
    pub damaged: Vec<PathBuf>,
    /// Set when its data directory was emptied: its old place is not given to it again.
    pub is_wiped: bool,
    /// Set when its disk was told to fail: then its node may give up.
    pub may_fail: bool,
    /// How it ended the last time.
    pub end: Option<End>,
    running: Option<Running>,
    held_since: Option<u64>,
    dice: Dice,
    network: Network,
}

struct Running {
    runtime: Runtime,
    clock: Clock,
    seen: Arc<Seen>,
    stop: Option<oneshot::Sender<()>>,
}

#[derive(Default)]
struct Seen {
    router: Mutex<Option<Router>>,
    controller: Mutex<Option<watch::Receiver<Leadership>>>,
    end: Mutex<Option<End>>,
}

impl Host {
    pub fn new(machine: Machine, mut dice: Dice, network: Network) -> Self {
        Self {
            machine,
            disk: SimDisk::new(dice.next()),
            life: 0,
            disk_ms_max: 2,
            clock_ahead_ms: 0,
            damaged: Vec::new(),
            is_wiped: false,
            may_fail: false,
            end: None,
            running: None,
            held_since: None,
            dice,
            network,
        }
    }

    pub fn is_damaged(&self) -> bool {
        !self.damaged.is_empty()
    }

    /// Whether a damaged file is a reason to stay down for ever: no log is, as the other replicas have what was in it.
    pub fn may_stay_down(&self, words: &str) -> bool {
        let is_named = |path: &&PathBuf| words.contains(&*path.to_string_lossy());
        self.damaged.iter().filter(is_named).any(|path| !path.to_string_lossy().contains("/logs/"))
    }

    pub fn is_up(&self) -> bool {
        self.running.is_some()
    }

    pub fn is_held(&self) -> bool {
        self.held_since.is_some()
    }

    /// The node's router while it serves.
    pub fn router(&self) -> Option<Router> {
        self.running.as_ref()?.seen.router.lock().unwrap().clone()
    }

    /// Who leads the metadata group, as the node sees it.
    pub fn controller(&self) -> Option<Leadership> {
        self.running.as_ref()?.seen.controller.lock().unwrap().as_ref().map(|leadership| *leadership.borrow())
    }

    /// How many partitions the node leads, as it sees it.
    pub fn led_partitions(&self) -> usize {
        let open = self.router().map(|router| router.open_partitions()).unwrap_or_default();
        open.iter().filter(|(_, handle)| handle.leadership().is_leader).count()
    }

    /// The first partition of a topic that the node knows.
    pub fn partition(&self, topic: &TopicName) -> Option<Partition> {
        let topic = self.router()?.topic(topic).ok()?;
        Some(Partition { topic: topic.id.to_bytes(), number: 0 })
    }

    /// Starts the machine and its node.
    pub fn start(&mut self, now: u64, configure: impl FnOnce(&mut NodeOptions)) {
        assert!(self.running.is_none());
        if self.life > 0 {
            self.disk = self.disk.reboot();
        }
        self.life += 1;
        self.end = None;
        self.network.state().machine_is_up(self.machine);
        note!("machine {} starts, life {}", self.machine, self.life);
        let seed: [u8; 32] = std::array::from_fn(|_| self.dice.next() as u8);
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .rng_seed(RngSeed::from_bytes(&seed))
            .build()
            .unwrap();
        let clock = Clock::simulated(self.dice.next(), self.wall(now));
        let mut options = NodeOptions::new(DATA, format!("node-{}:7400", self.machine));
        options.disk = Arc::new(self.disk.clone()) as Arc<dyn Disk>;
        options.clock = clock.clone();
        options.free_bytes_min = Some(0);
        options.shutdown_grace = Duration::from_secs(3);
        options.maintenance_pause = Duration::from_millis(500);
        configure(&mut options);
        let seen = Arc::new(Seen::default());
        let (stop, stopping) = oneshot::channel();
        let _guard = runtime.enter();
        runtime.spawn(live(options, self.machine, self.network.clone(), Arc::clone(&seen), stopping));
        drop(_guard);
        self.running = Some(Running { runtime, clock, seen, stop: Some(stop) });
    }

    /// One millisecond of the machine, unless it is held.
    pub fn step(&mut self, now: u64) {
        let wall = self.wall(now);
        let Some(running) = &mut self.running else { return };
        if self.held_since.is_some() {
            return;
        }
        running.clock.set(wall);
        running.runtime.block_on(async { tokio::time::sleep(Duration::from_millis(1)).await });
        let end = running.seen.end.lock().unwrap().take();
        if self.disk.is_crashed() {
            note!("machine {} lost its power in a call", self.machine);
            self.end = Some(End::PowerLost);
            self.drop_node(CrashMode::LosePending);
        } else if let Some(end) = end {
            note!("machine {} ended: {end:?}", self.machine);
            self.end = Some(end);
            self.drop_node(CrashMode::KeepAll);
        }
    }

    /// The machine loses its power, or with [`CrashMode::KeepAll`] its process is killed.
    pub fn crash(&mut self, mode: CrashMode) {
        if self.running.is_some() {
            note!("machine {} crashes: {mode:?}", self.machine);
            self.drop_node(mode);
        }
    }

    /// Asks the node to stop in order.
    pub fn stop(&mut self) {
        if let Some(stop) = self.running.as_mut().and_then(|running| running.stop.take()) {
            note!("machine {} is asked to stop", self.machine);
            let _ended = stop.send(());
        }
    }

    /// Its processor stands still.
    pub fn hold(&mut self, now: u64) {
        if self.running.is_some() && self.held_since.is_none() {
            note!("machine {} is held", self.machine);
            self.held_since = Some(now);
        }
    }

    /// Its processor goes on, and all that time has passed at once.
    pub fn release(&mut self, now: u64) {
        let Some(since) = self.held_since.take() else { return };
        note!("machine {} goes on after {} ms", self.machine, now - since);
        if let Some(running) = &mut self.running {
            running.clock.set(Timestamp::from_ms(START_MS + i64::try_from(now).unwrap() + self.clock_ahead_ms));
            running.runtime.block_on(async { tokio::time::advance(Duration::from_millis(now - since)).await });
        }
    }

    /// Runs something in the node's runtime.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(running) = &self.running {
            running.runtime.spawn(task);
        }
    }

    /// Every file below the data directory.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let mut folders = vec![PathBuf::from(DATA)];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in self.disk.list(&folder).unwrap_or_default() {
                let path = folder.join(&entry.name);
                if entry.is_dir {
                    folders.push(path);
                } else if let Ok(bytes) = self.disk.open(&path).and_then(|file| file.size()) {
                    files.push((path, bytes));
                }
            }
        }
        files.sort();
        files
    }

    /// Empties the data directory of a machine that is down.
    pub fn wipe(&mut self) {
        self.disk = self.disk.reboot();
        self.disk.remove_dir_all(Path::new(DATA)).unwrap();
        // Else the next start, which is a reboot, finds everything again.
        self.disk.sync_filesystem(Path::new("/")).unwrap();
        self.is_wiped = true;
        note!("machine {} is wiped", self.machine);
    }

    fn wall(&self, now: u64) -> Timestamp {
        Timestamp::from_ms(START_MS + i64::try_from(now).unwrap() + self.clock_ahead_ms)
    }

    fn drop_node(&mut self, mode: CrashMode) {
        self.disk.crash(mode);
        self.network.set_door(self.machine, None);
        self.network.state().machine_is_down(self.machine);
        self.held_since = None;
        self.running = None;
    }
}

async fn live(
    options: NodeOptions,
    machine: Machine,
    network: Network,
    seen: Arc<Seen>,
    mut stopping: oneshot::Receiver<()>,
) {
    let end = match Node::start(options).await {
        Err(error) => End::Refused(words(&error)),
        Ok(node) => {
            if let Err(failure) = until_ready(&node, &mut stopping).await {
                let _its_first_failure_counts = node.shutdown().await;
                *seen.end.lock().unwrap() = Some(failure);
                return;
            }
            note!("machine {machine} serves");
            let (door, calls) = mpsc::channel(1_024);
            let (router, controller) = front::doors(&node);
            *seen.router.lock().unwrap() = Some(router.clone());
            *seen.controller.lock().unwrap() = Some(node.controller_leadership());
            network.set_door(machine, Some(door));
            tokio::spawn(front::serve(router, controller, calls));
            tokio::select! {
                biased;
                failure = node.failed() => End::Failed(failure),
                _ = &mut stopping => {
                    network.set_door(machine, None);
                    *seen.router.lock().unwrap() = None;
                    match node.shutdown().await {
                        Ok(()) => End::Stopped,
                        Err(failure) => End::Failed(failure),
                    }
                }
            }
        }
    };
    *seen.end.lock().unwrap() = Some(end);
}

/// Waits until the cluster has taken the node in, or its life ends before that.
async fn until_ready(node: &Node, stopping: &mut oneshot::Receiver<()>) -> Result<(), End> {
    tokio::select! {
        biased;
        ready = node.until_ready() => ready.map_err(End::Failed),
        _ = stopping => Err(End::Stopped),
    }
}

fn words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words += &format!(": {error}");
        cause = error.source();
    }
    words
}
