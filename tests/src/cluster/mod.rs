//! A cluster of real processes on loopback, whose network can be cut.
//!
//! ```text
//!   client ──► proxy of node 1 ──► node 1 ──► proxy of node 2 ──► node 2        every connection crosses one proxy,
//!                                         ──► proxy of node 3 ──► node 3        which knows who opened it
//! ```
//! Owns: the processes, their proxies, the faults that can be done to them.
//!
//! Invariants: what goes out of scope is dead and its files are gone; nodes advertise their proxies and nothing else, so
//! no connection between two ends goes around a cut.

pub mod connection_owner;
pub mod damage;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod rules;
pub mod small_disk;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use process::{Process, Stopped};
pub use proxy::Network;
pub use rules::{Block, End};
pub use small_disk::SmallDisk;

/// One node: its files, its ports, and its process while it has one.
#[derive(Debug)]
pub struct Member {
    id: u64,
    data: PathBuf,
    config: PathBuf,
    log: PathBuf,
    client_address: String,
    kafka_address: String,
    process: Option<Process>,
}

/// Nodes of one cluster.
#[derive(Debug)]
pub struct Cluster {
    binary: PathBuf,
    members: BTreeMap<u64, Member>,
    /// The highest number that was ever given: the cluster gives none twice, either.
    last_id: u64,
    network: Network,
    settings: Vec<(String, String)>,
    peers: BTreeMap<u64, String>,
    folder: tempfile::TempDir,
}

impl Cluster {
    /// The files and proxies of a cluster; its nodes are not started yet. The first `voters` form it.
    ///
    /// # Panics
    /// When a port or a file cannot be had.
    pub async fn new(binary: &Path, voters: u64, settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let mut cluster = Self {
            binary: binary.to_owned(),
            members: BTreeMap::new(),
            last_id: voters,
            network: Network::new(),
            settings,
            peers: BTreeMap::new(),
            folder,
        };
        let mut places = Vec::new();
        for id in 1..=voters {
            places.push(cluster.place(id).await);
        }
        let first_voters: Vec<String> = cluster.peers.values().cloned().collect();
        for place in places {
            let formation = if voters > 1 { format!("first_voters = {first_voters:?}\n") } else { String::new() };
            cluster.add(place, &formation);
        }
        cluster
    }

    /// Makes the files of one more node, which joins when it is started; returns the number by which the harness calls it.
    /// The cluster gives it the id, which is the same as long as every join succeeds.
    ///
    /// # Panics
    /// When a port or a file cannot be had.
    pub async fn add_joiner(&mut self) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        let join: Vec<String> = self.peers.values().cloned().collect();
        let place = self.place(id).await;
        self.add(place, &format!("join = {join:?}\n"));
        id
    }

    async fn place(&mut self, id: u64) -> Place {
        let (client_port, peer_port, kafka_port) = (ports::free(), ports::free(), ports::free());
        let client_address = self.network.add(End::Node(id), client_port).await;
        let peer_address = self.network.add(End::Node(id), peer_port).await;
        let kafka_address = self.network.add(End::Node(id), kafka_port).await;
        self.peers.insert(id, peer_address.clone());
        Place { id, client_port, peer_port, kafka_port, client_address, peer_address, kafka_address }
    }

    fn add(&mut self, place: Place, formation: &str) {
        let Place { id, client_port, peer_port, kafka_port, client_address, peer_address, kafka_address } = place;
        let data = self.folder.path().join(format!("node-{id}"));
        let config = self.folder.path().join(format!("node-{id}.toml"));
        let log = self.folder.path().join(format!("node-{id}.log"));
        let text = format!(
            "[data]\ndir = {data:?}\n[node]\nadvertised = {client_address:?}\n[grpc]\nlisten = \"127.0.0.1:{client_port}\"\n\
             [http]\nlisten = \"127.0.0.1:0\"\n[kafka]\nlisten = \"127.0.0.1:{kafka_port}\"\nadvertised = {kafka_address:?}\n\
             [cluster]\nlisten = \"127.0.0.1:{peer_port}\"\nadvertised = {peer_address:?}\n{formation}"
        );
        std::fs::write(&config, text).expect("a configuration file can be written");
        self.members.insert(id, Member { id, data, config, log, client_address, kafka_address, process: None });
    }

    /// Has a node that was never started keep its data in another folder.
    ///
    /// # Panics
    /// When its configuration cannot be written.
    pub fn put_data_on(&mut self, id: u64, folder: &Path) {
        let member = self.members.get_mut(&id).expect("a node of this cluster");
        let data = folder.join(format!("node-{id}"));
        let text = std::fs::read_to_string(&member.config).expect("its configuration is there");
        let text = text.replace(&format!("{:?}", member.data), &format!("{data:?}"));
        std::fs::write(&member.config, text).expect("a configuration file can be written");
        member.data = data;
    }

    /// Starts a node; it need not serve when this returns.
    ///
    /// # Panics
    /// When there is no such node, or the binary cannot be started.
    pub fn spawn(&mut self, id: u64) {
        let member = self.members.get_mut(&id).expect("a node of this cluster");
        let process = Process::spawn(&self.binary, &member.config, &member.log, &self.settings);
        self.network.set_process(id, Some(process.pid()));
        member.process = Some(process);
    }

    /// Starts all nodes and waits until all serve.
    ///
    /// # Panics
    /// When one does not.
    pub async fn start(&mut self) {
        let ids: Vec<u64> = self.ids();
        for id in &ids {
            self.spawn(*id);
        }
        for id in ids {
            self.wait_ready(id).await;
        }
    }

    /// Waits until a node says that it serves.
    ///
    /// # Panics
    /// When it ends instead, or takes longer than a minute; with what it said.
    pub async fn wait_ready(&mut self, id: u64) {
        if let Err(why) = self.try_ready(id).await {
            panic!("node {id} {why}; it said: {}", self.last_words(id));
        }
    }

    /// Waits until a node says that it serves, or ends.
    ///
    /// # Errors
    /// How it ended, or that it took longer than a minute.
    ///
    /// # Panics
    /// When it was not started.
    pub async fn try_ready(&mut self, id: u64) -> Result<(), String> {
        let member = self.members.get_mut(&id).expect("a node of this cluster");
        let process = member.process.as_mut().expect("the node was started");
        process.wait_ready(Duration::from_secs(60)).await
    }

    /// Ends a node at once: `SIGKILL`.
    pub fn kill(&mut self, id: u64) {
        self.network.set_process(id, None);
        if let Some(process) = self.members.get_mut(&id).and_then(|member| member.process.take()) {
            process.kill();
        }
    }

    /// Asks a node to stop and waits until it has; `None` when it is not running.
    pub async fn stop(&mut self, id: u64) -> Option<Stopped> {
        let process = self.members.get_mut(&id).and_then(|member| member.process.take())?;
        let stopped = process.stop(Duration::from_secs(60)).await;
        self.network.set_process(id, None);
        Some(stopped)
    }

    /// Freezes a node (`SIGSTOP`).
    pub fn pause(&self, id: u64) {
        if let Some(process) = self.process(id) {
            process.pause();
        }
    }

    /// Lets a frozen node go on (`SIGCONT`).
    pub fn resume(&self, id: u64) {
        if let Some(process) = self.process(id) {
            process.resume();
        }
    }

    /// Whether a node has a process that has not ended.
    pub fn is_alive(&mut self, id: u64) -> bool {
        self.members.get_mut(&id).and_then(|member| member.process.as_mut()).is_some_and(Process::is_alive)
    }

    fn process(&self, id: u64) -> Option<&Process> {
        self.members.get(&id)?.process.as_ref()
    }

    /// The nodes, in the order of their numbers.
    #[must_use]
    pub fn ids(&self) -> Vec<u64> {
        self.members.keys().copied().collect()
    }

    /// Forgets a node that is stopped and does not belong to the cluster any more.
    pub fn forget(&mut self, id: u64) {
        self.kill(id);
        self.members.remove(&id);
        self.peers.remove(&id);
    }

    /// Where clients reach a node: its proxy.
    ///
    /// # Panics
    /// When there is no such node.
    #[must_use]
    pub fn address(&self, id: u64) -> &str {
        &self.members.get(&id).expect("a node of this cluster").client_address
    }

    /// All addresses for clients, separated by commas.
    #[must_use]
    pub fn addresses(&self) -> String {
        self.members.values().map(|member| member.client_address.as_str()).collect::<Vec<_>>().join(",")
    }

    /// Where clients of Kafka reach the nodes: their proxies, separated by commas.
    #[must_use]
    pub fn kafka_addresses(&self) -> String {
        self.members.values().map(|member| member.kafka_address.as_str()).collect::<Vec<_>>().join(",")
    }

    /// Where a node keeps its data.
    ///
    /// # Panics
    /// When there is no such node.
    #[must_use]
    pub fn data(&self, id: u64) -> &Path {
        &self.members.get(&id).expect("a node of this cluster").data
    }

    /// What a node has written to standard error.
    #[must_use]
    pub fn said(&self, id: u64) -> String {
        self.members.get(&id).and_then(|member| std::fs::read_to_string(&member.log).ok()).unwrap_or_default()
    }

    /// The end of that.
    #[must_use]
    pub fn last_words(&self, id: u64) -> String {
        let said = self.said(id);
        let from = said.ceil_char_boundary(said.len().saturating_sub(4000));
        said.get(from..).unwrap_or_default().to_owned()
    }

    /// The network between the nodes and their clients.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Where the files are. They are kept, instead of deleted, once this was asked for.
    pub fn keep_files(&mut self) -> &Path {
        self.folder.disable_cleanup(true);
        self.folder.path()
    }

    /// The binary.
    #[must_use]
    pub fn binary(&self) -> &Path {
        &self.binary
    }
}

impl Member {
    /// The number by which the harness calls it.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }
}

/// The ports of a node that is about to be made.
struct Place {
    id: u64,
    client_port: u16,
    peer_port: u16,
    kafka_port: u16,
    client_address: String,
    peer_address: String,
    kafka_address: String,
}
