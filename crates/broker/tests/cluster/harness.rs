//! A cluster in this process. A node that is killed loses its runtime: every task is gone where it stood, nothing is
//! closed, and what it held is free again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use highwater_broker::clock::Clock;
use highwater_broker::config::{Config, Sources};
use highwater_broker::node::{NodeNetwork, NodeOptions};
use highwater_broker::peer::MemoryNetwork;
use highwater_broker::server::{Server, StartError};
use highwater_metadata::{CreateTopic, Topic};
use highwater_tests::cluster::ports;
use highwater_types::{NodeId, TopicName};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How nodes reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    /// A network in memory, which can be cut.
    Memory,
    /// gRPC over loopback.
    Grpc,
}

/// A cluster of nodes numbered from 1, as their ids are while all of them are first voters.
pub(crate) struct Cluster {
    pub(crate) memory: MemoryNetwork,
    wire: Wire,
    dir: TempDir,
    first_voters: usize,
    /// By number; `None` for one that does not run.
    nodes: BTreeMap<usize, Member>,
    settings: Vec<(String, String)>,
}

struct Member {
    /// Where other nodes reach it.
    peer_address: String,
    /// Where clients reach it.
    address: String,
    running: Option<(Runtime, Arc<Server>)>,
}

/// Runs a test on a runtime of its own, apart from those of the nodes.
pub(crate) fn run(test: impl Future<Output = ()>) {
    // RUST_LOG=info,highwater_broker=debug shows what the nodes say.
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "off".into());
    let _second = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(test);
    runtime.shutdown_background();
}

/// Asks again and again until it holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"));
}

impl Cluster {
    /// So many first voters, none of them started.
    pub(crate) fn of(first_voters: usize, wire: Wire) -> Self {
        let mut cluster = Self {
            memory: MemoryNetwork::new(Clock::system()),
            wire,
            dir: tempfile::tempdir().unwrap(),
            first_voters,
            nodes: BTreeMap::new(),
            settings: Vec::new(),
        };
        for number in 1..=first_voters {
            cluster.add(number);
        }
        cluster
    }

    /// So many first voters, all of them ready.
    pub(crate) async fn start(first_voters: usize, wire: Wire) -> Self {
        let mut cluster = Self::of(first_voters, wire);
        cluster.start_all().await;
        cluster
    }

    /// Another node, not started. It joins when it is no first voter.
    pub(crate) fn add(&mut self, number: usize) {
        let peer_address = match self.wire {
            Wire::Memory => format!("node-{number}:7401"),
            Wire::Grpc => free_address(),
        };
        self.nodes.insert(number, Member { peer_address, address: free_address(), running: None });
    }

    /// A setting of every node that is started from now on.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.settings.push((key.to_owned(), value.to_owned()));
    }

    /// Starts all that do not run, at once, and waits until they are ready.
    pub(crate) async fn start_all(&mut self) {
        let idle: Vec<usize> =
            self.nodes.iter().filter(|(_, member)| member.running.is_none()).map(|(number, _)| *number).collect();
        self.start_some(&idle).await;
    }

    /// Starts these at once, and waits until they are ready.
    pub(crate) async fn start_some(&mut self, numbers: &[usize]) {
        let starting: Vec<_> = numbers.iter().map(|number| (*number, self.begin(*number))).collect();
        for (number, starting) in starting {
            self.finish(number, starting).await.unwrap();
        }
    }

    /// Starts one, and waits until it is ready.
    pub(crate) async fn start_one(&mut self, number: usize) -> Result<(), StartError> {
        let starting = self.begin(number);
        self.finish(number, starting).await
    }

    /// Starts one without waiting for it: it needs others to be ready.
    pub(crate) fn begin(&self, number: usize) -> Starting {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (config, wire, memory) = (self.config(number), self.wire, self.memory.clone());
        let address = self.peer_address(number).to_owned();
        let started = runtime.spawn(async move {
            let adjust = |mut options: NodeOptions| {
                if wire == Wire::Memory {
                    options.cluster.peer_address.clone_from(&address);
                    options.network = NodeNetwork::memory(&memory, &address);
                }
                options.maintenance_pause = Duration::from_millis(200);
                options
            };
            Server::start_with(config, adjust).await
        });
        Starting { runtime, started }
    }

    /// Waits until one that was begun is ready.
    pub(crate) async fn finish(&mut self, number: usize, starting: Starting) -> Result<(), StartError> {
        let Starting { runtime, started } = starting;
        let started = tokio::time::timeout(PATIENCE, started).await;
        match started.unwrap_or_else(|_| panic!("node {number} is not ready within {PATIENCE:?}")).unwrap() {
            Ok(server) => {
                self.nodes.get_mut(&number).unwrap().running = Some((runtime, Arc::new(server)));
                Ok(())
            }
            Err(error) => {
                end(runtime).await;
                Err(error)
            }
        }
    }

    fn config(&self, number: usize) -> Config {
        let set = |sources: Sources, key: &str, value: &str| sources.with_flag("test", key, value);
        let mut sources = Sources::default().with_flag("test", "data.dir", self.data_dir(number).to_str().unwrap());
        for (key, value) in [
            ("data.free_bytes_min", "16MiB"),
            ("grpc.listen", &self.nodes[&number].address),
            ("http.listen", "127.0.0.1:0"),
            ("kafka.listen", "127.0.0.1:0"),
            ("node.shutdown_grace", "10s"),
        ] {
            sources = set(sources, key, value);
        }
        sources = match self.wire {
            Wire::Memory => set(sources, "cluster.listen", "127.0.0.1:0"),
            Wire::Grpc => set(sources, "cluster.listen", self.peer_address(number)),
        };
        let voters: Vec<&str> = (1..=self.first_voters).map(|number| self.peer_address(number)).collect();
        let (key, addresses) =
            if number <= self.first_voters { ("cluster.first_voters", voters) } else { ("cluster.join", voters) };
        sources = set(sources, key, &addresses.join(","));
        let own = self.settings.iter();
        Config::load(&own.fold(sources, |sources, (key, value)| set(sources, key, value))).unwrap()
    }

    /// Where other nodes reach it.
    pub(crate) fn peer_address(&self, number: usize) -> &str {
        &self.nodes[&number].peer_address
    }

    /// Where its data lies.
    pub(crate) fn data_dir(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("node-{number}"))
    }

    /// A node that runs.
    pub(crate) fn server(&self, number: usize) -> Arc<Server> {
        let running = self.nodes[&number].running.as_ref();
        Arc::clone(&running.unwrap_or_else(|| panic!("node {number} does not run")).1)
    }

    /// The numbers of those that run.
    pub(crate) fn running(&self) -> Vec<usize> {
        self.nodes.iter().filter(|(_, member)| member.running.is_some()).map(|(number, _)| *number).collect()
    }

    /// The number of the node with this id, if it runs.
    pub(crate) fn number_of(&self, id: NodeId) -> Option<usize> {
        self.running().into_iter().find(|number| self.server(*number).node().identity().node == id)
    }

    /// Ends one as a kill does.
    pub(crate) async fn kill(&mut self, number: usize) {
        if let Some((runtime, server)) = self.nodes.get_mut(&number).unwrap().running.take() {
            if self.wire == Wire::Memory {
                self.memory.vanish(self.peer_address(number));
            }
            drop(server);
            end(runtime).await;
        }
    }

    /// Stops one in order.
    pub(crate) async fn stop(&mut self, number: usize) {
        if let Some((runtime, server)) = self.nodes.get_mut(&number).unwrap().running.take() {
            let server = Arc::into_inner(server).expect("nobody else uses the server that is stopped");
            let stopped = runtime.spawn(server.shutdown());
            tokio::time::timeout(PATIENCE, stopped).await.expect("a node stops in time").unwrap().unwrap();
            if self.wire == Wire::Memory {
                self.memory.vanish(self.peer_address(number));
            }
            end(runtime).await;
        }
    }

    /// Stops all that run, in order.
    pub(crate) async fn stop_all(&mut self) {
        for number in self.running() {
            self.stop(number).await;
        }
    }

    /// Creates a topic through any node, and waits until a leader serves each of its partitions.
    pub(crate) async fn create_topic(&self, name: &str, partitions: u32, replicas: u32) -> Arc<Topic> {
        let name = TopicName::new(name).unwrap();
        let create = CreateTopic { name, partitions, replicas, settings: Vec::new(), is_validate_only: false };
        let any = self.server(self.running()[0]);
        let topic = any.node().controller().create_topic(create).await.unwrap();
        for partition in 0..partitions {
            self.leader(&topic, partition).await;
        }
        topic
    }
}

/// A node on its way.
pub(crate) struct Starting {
    runtime: Runtime,
    started: tokio::task::JoinHandle<Result<Server, StartError>>,
}

/// An address that is free, and stays so while its node is down.
fn free_address() -> String {
    format!("127.0.0.1:{}", ports::free())
}

/// A runtime must not be dropped where futures run, and its data is free only when its tasks are gone.
async fn end(runtime: Runtime) {
    tokio::task::spawn_blocking(move || runtime.shutdown_timeout(PATIENCE)).await.unwrap();
}
