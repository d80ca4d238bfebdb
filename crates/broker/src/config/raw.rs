//! Every setting there is: its key, its documentation, its type and its default, in one table.
//!
//! The documentation here is the help text of `highwater config` and of the sample file; a test compares that file.

use std::path::PathBuf;

use serde::Deserialize;

use super::units::{Auto, ByteSize, List, Period};

/// One setting as documented.
#[derive(Clone, Copy, Debug)]
pub struct ConfigOption {
    /// Its name in the file, `section.name`.
    pub key: &'static str,
    /// The section of the file it stands in.
    pub section: &'static str,
    /// Its name in that section.
    pub name: &'static str,
    /// What it does, line by line.
    pub documentation: &'static [&'static str],
    /// Its default, as the file would have it.
    pub default: &'static str,
}

macro_rules! options {
    ($($section:ident: $Section:ident {
        $($(#[doc = $doc:literal])+ $name:ident: $kind:ty = $default:literal;)+
    })+) => {
        /// The settings as they were written, each of its type, none checked against its range yet.
        #[derive(Debug, Deserialize)]
        pub(super) struct Raw {
            $(pub(super) $section: $Section,)+
        }

        $(#[derive(Debug, Deserialize)]
        pub(super) struct $Section {
            $($(#[doc = $doc])+ pub(super) $name: $kind,)+
        })+

        /// Every setting, in the order of the sample file.
        pub const OPTIONS: &[ConfigOption] = &[$($(ConfigOption {
            key: concat!(stringify!($section), ".", stringify!($name)),
            section: stringify!($section),
            name: stringify!($name),
            documentation: &[$($doc,)+],
            default: $default,
        },)+)+];
    };
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people, on a terminal.
    Human,
    /// One JSON object a line, for programs.
    Json,
}

options! {
    data: Data {
        /// The data directory: the logs, and who this node is. Made when it is missing. One process at a time.
        dir: PathBuf = "\"highwater-data\"";
        /// Records are refused with DISK_FULL while the disk has fewer free bytes than this. Reading and deleting go on.
        /// "auto": 5% of the filesystem, and at least 1GiB. From 16MiB.
        free_bytes_min: Auto<ByteSize> = "\"auto\"";
    }
    node: Node {
        /// Where clients are told to reach this node, as HOST:PORT. "auto": what `grpc.listen` says.
        advertised: Auto<String> = "\"auto\"";
        /// How long a stopping node waits for calls and writes under way, from 1s to 10m.
        shutdown_grace: Period = "\"20s\"";
    }
    grpc: Grpc {
        /// Where the gRPC API listens, as IP:PORT; port 0 takes any free one.
        listen: String = "\"127.0.0.1:7400\"";
        /// Listen beyond this machine although there is no authentication and no encryption yet: whoever reaches the port
        /// may read, write and delete everything.
        allow_insecure_network: bool = "false";
    }
    http: Http {
        /// Where `/metrics`, `/healthz` and `/readyz` are served over HTTP, as IP:PORT; port 0 takes any free one. Empty: nowhere.
        listen: String = "\"127.0.0.1:7480\"";
        /// Listen beyond this machine although there is no authentication and no encryption yet: whoever reaches the port
        /// may read the names of topics and how much they hold.
        allow_insecure_network: bool = "false";
    }
    kafka: Kafka {
        /// Where clients that speak Kafka's protocol are served, as IP:PORT; port 0 takes any free one. Empty: nowhere.
        listen: String = "\"127.0.0.1:9092\"";
        /// Where clients that speak Kafka's protocol are told to reach this node, as HOST:PORT. "auto": what `kafka.listen`
        /// says.
        advertised: Auto<String> = "\"auto\"";
        /// More places where they are served, each as NAME://IP:PORT, for clients that reach the nodes under other addresses,
        /// such as those outside a network of containers. Who comes in through NAME is told every node's address of that
        /// NAME; so all nodes need the same names. A variable or flag separates several by commas.
        listeners: List = "[]";
        /// Where clients of each of `kafka.listeners` are told to reach this node, as NAME://HOST:PORT. One that is not named
        /// here: where it listens.
        advertised_listeners: List = "[]";
        /// Make a topic that a producer or consumer asks for and that is not there, with the defaults of new topics. Clients
        /// may ask for it to be left alone.
        auto_create_topics: bool = "true";
        /// Listen beyond this machine although there is no authentication and no encryption yet: whoever reaches the port
        /// may read, write and delete everything.
        allow_insecure_network: bool = "false";
    }
    cluster: Cluster {
        /// Where other nodes reach this one, as IP:PORT; port 0 takes any free one. Keep clients off this port.
        listen: String = "\"127.0.0.1:7401\"";
        /// Where other nodes are told to reach this node, as HOST:PORT. "auto": what `cluster.listen` says.
        advertised: Auto<String> = "\"auto\"";
        /// The nodes that form a new cluster, each by its `cluster.advertised`: 1, 3 or 5, the same list in the same order
        /// on each of them. Read only while the data directory is new. Empty: a cluster of one, unless `cluster.join` is set.
        first_voters: List = "[]";
        /// Nodes of a cluster that this node joins, each as HOST:PORT of its `cluster.advertised`; one that answers is
        /// enough. Read only while the data directory is new. A variable or flag separates several by commas.
        join: List = "[]";
        /// What this node shares its failures with: a rack, a zone. Replicas go to different ones where there are some.
        rack: String = "\"\"";
        /// Listen for other nodes beyond this machine although there is no authentication and no encryption yet: whoever
        /// reaches the port may take part in the cluster.
        allow_insecure_network: bool = "false";
    }
    limits: Limits {
        /// Threads that serve requests, from 1 to 1024. "auto": one fewer than there are processor cores, and at least one;
        /// syncs of the disk have a thread of their own.
        threads: Auto<u32> = "\"auto\"";
        /// The memory for requests under way, which the shares below are cut from. "auto": a quarter of what the machine
        /// or its control group has, at most 4GiB. From 64MiB.
        memory_bytes: Auto<ByteSize> = "\"auto\"";
        /// Bytes of produce requests between their first byte and their answer. At this mark nothing more is read from
        /// clients until some are answered. "auto": half of `limits.memory_bytes`. From 32MiB to
        /// three quarters of it, under 4GiB.
        produce_in_flight_bytes: Auto<ByteSize> = "\"auto\"";
        /// Client connections at a time over gRPC, and as many over Kafka, from 1 to 65536. More are closed at once.
        connections: u32 = "10000";
        /// Calls at a time on one connection, from 1 to 4096. More wait on the client's side.
        streams_per_connection: u32 = "256";
        /// Replicas of partitions that one node holds, from 1 to 100000; a topic that needs more is refused. Each costs
        /// about a megabyte of memory and a few open files. "auto": what half of the memory beyond `limits.memory_bytes`
        /// and the limit of open files allow.
        replicas: Auto<u32> = "\"auto\"";
        /// Bytes a second with which this node brings replicas of what it leads up to date that are far behind: new ones, and
        /// those of a node that was down. All of them together; replicas that keep up are not slowed. While producers write, a
        /// quarter of it, or a little more than they write. From 1MiB to 1TiB.
        catch_up_bytes_per_second: ByteSize = "\"256MiB\"";
        /// A request whose bytes stop coming is given up after this time, from 1s to 10m, and its memory freed.
        message_timeout: Period = "\"30s\"";
    }
    topic: Topic {
        /// The partitions of a topic that is created without a number, from 1 to 10000.
        default_partitions: u32 = "1";
        /// The replicas of a topic that is created without a number, from 1 to 9; fewer while the cluster has fewer nodes.
        default_replicas: u32 = "3";
    }
    logging: Logging {
        /// How log lines are written to standard error: "human" or "json".
        format: LogFormat = "\"human\"";
        /// Which log lines are written: a level, or levels by module, such as "info,highwater_broker=debug".
        filter: String = "\"info\"";
    }
}
