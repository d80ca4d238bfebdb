//! Configuration: raw texts from four places, resolved and checked once into what the node runs with.
//!
//! Owns: the table of settings (`raw`), their units, where each value came from, and the sample file.
//!
//! Never: is asked again later. What [`Config::load`] returns is whole and in range; nobody checks it a second time.
//!
//! Flags go before environment variables, these before the file, the file before the defaults.

mod error;
mod layer;
mod listeners;
mod raw;
mod resolve;
mod sample;
mod units;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use error::ConfigError;
pub use layer::{Flag, Sources};
pub use raw::{ConfigOption, LogFormat, OPTIONS};
pub use sample::sample;
pub use units::{ByteSize, Period, UnitError};

/// The settings that a node runs with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the data lies.
    pub data: DataConfig,
    /// The node as others see it.
    pub node: NodeConfig,
    /// The gRPC front.
    pub grpc: GrpcConfig,
    /// The HTTP front.
    pub http: HttpConfig,
    /// The Kafka front.
    pub kafka: KafkaConfig,
    /// The node among the others.
    pub cluster: ClusterConfig,
    /// What clients may take.
    pub limits: LimitsConfig,
    /// What topics get unless they say otherwise.
    pub topic: TopicConfig,
    /// Log lines.
    pub logging: LoggingConfig,
    settings: Vec<Setting>,
}

/// Where the data lies.
#[derive(Clone, Debug)]
pub struct DataConfig {
    /// The data directory.
    pub dir: PathBuf,
    /// Below so many free bytes records are refused; `None`: a share of the filesystem.
    pub free_bytes_min: Option<u64>,
}

/// The node as others see it.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// HOST:PORT for clients; `None`: the address that the listener is bound to.
    pub advertised: Option<String>,
    /// How long a stopping node waits for what is under way.
    pub shutdown_grace: Duration,
}

/// The gRPC front.
#[derive(Clone, Debug)]
pub struct GrpcConfig {
    /// Where it listens.
    pub listen: SocketAddr,
}

/// The HTTP front.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Where it listens; `None`: it is switched off.
    pub listen: Option<SocketAddr>,
}

/// The Kafka front.
#[derive(Clone, Debug)]
pub struct KafkaConfig {
    /// Where it listens; `None`: it is switched off.
    pub listen: Option<SocketAddr>,
    /// HOST:PORT for clients; `None`: the address that the listener is bound to.
    pub advertised: Option<String>,
    /// More places for clients that reach the nodes elsewhere.
    pub listeners: Vec<KafkaListener>,
    /// Whether topics are made that are asked for and not there.
    pub auto_create_topics: bool,
}

/// A place where Kafka's protocol is served for those who know it by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaListener {
    /// Its name: who comes in here is told every node's address of this name.
    pub name: String,
    /// Where it listens.
    pub listen: SocketAddr,
    /// HOST:PORT for clients; `None`: the address that the listener is bound to.
    pub advertised: Option<String>,
}

/// The node among the others.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// Where it listens for other nodes.
    pub listen: SocketAddr,
    /// HOST:PORT for other nodes; `None`: the address that the listener is bound to.
    pub advertised: Option<String>,
    /// Who forms a new cluster; empty: this node alone, or none when it joins one.
    pub first_voters: Vec<String>,
    /// Whom a new node asks to let it in.
    pub join: Vec<String>,
    /// What it shares its failures with; empty: not said.
    pub rack: String,
}

/// What clients may take, all of them together.
#[derive(Clone, Debug)]
pub struct LimitsConfig {
    /// Threads that serve requests: what the node's runtime is to be built with.
    pub threads: usize,
    /// The memory for requests under way, in bytes. The next three are shares of it.
    pub memory_bytes: usize,
    /// Produce requests between their first byte and their answer.
    pub produce_in_flight_bytes: usize,
    /// Records that are taken out of batches for readers.
    pub read_decoded_bytes: usize,
    /// What the network may have buffered for us, over all connections.
    pub receive_window_bytes: usize,
    /// Connections at a time.
    pub connections: usize,
    /// Calls at a time on one connection.
    pub streams_per_connection: u32,
    /// Replicas of partitions that the node holds.
    pub replicas: usize,
    /// How fast the node brings replicas up to date that are far behind, in bytes a second.
    pub catch_up_bytes_per_second: u64,
    /// How long the bytes of a request may stop coming.
    pub message_timeout: Duration,
}

/// What topics get unless they say otherwise.
#[derive(Clone, Debug)]
pub struct TopicConfig {
    /// Partitions.
    pub default_partitions: u32,
    /// Replicas, where the cluster has as many nodes.
    pub default_replicas: u32,
}

/// Log lines.
#[derive(Clone, Debug)]
pub struct LoggingConfig {
    /// How they are written.
    pub format: LogFormat,
    /// Which are written, in the syntax of `tracing`.
    pub filter: String,
}

/// One setting with its value and where that came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name, `section.name`.
    pub key: &'static str,
    /// Its value as it was written; with what the node chose for "auto".
    pub value: String,
    /// "default", "file PATH", "environment variable NAME" or "flag NAME".
    pub source: String,
}

impl Config {
    /// Reads all sources, merges and checks them.
    ///
    /// # Errors
    /// The first thing that is wrong, named with its source.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        resolve::resolve(sources.layers()?)
    }

    /// Every setting with its value and source, in the order of the sample file.
    pub fn settings(&self) -> impl Iterator<Item = &Setting> {
        self.settings.iter()
    }
}
