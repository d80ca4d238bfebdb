//! Why a node did not start.

use std::path::PathBuf;

use highwater_storage::{FileError, OpenError, OpenLogError, SetIdentityError};
use highwater_types::{ClusterId, TopicName, TopicPartition};

use super::formation::FormationError;
use super::supervise::NodeFailure;
use crate::controller::ControllerError;
use crate::raft::ReplicaError;

/// Why a node did not start. What is on its disk is as it was.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be opened: in use, newer, damaged, or not accessible.
    #[error(transparent)]
    DataDir(#[from] OpenError),
    /// A file of the data directory cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The identity of the node cannot be written down.
    #[error(transparent)]
    Identity(#[from] SetIdentityError),
    /// The node got no place in a cluster.
    #[error(transparent)]
    Formation(#[from] FormationError),
    /// The node failed before it was up.
    #[error("the node failed while it started: {0}")]
    Failed(NodeFailure),
    /// The process is ending.
    #[error("the start was interrupted: the process is ending")]
    Interrupted,
    /// The log of the metadata or of a partition cannot be opened, most often because it is damaged.
    #[error("the log of {of} cannot be opened: {cause}")]
    Log {
        /// What it is the log of.
        of: GroupName,
        /// Why.
        cause: Box<OpenLogError>,
    },
    /// A log that this node has voted with is not there.
    #[error(
        "the log of {of} is missing: {} is gone, although this node has voted with it; \
         restore it, or rebuild this node",
        folder.display()
    )]
    LogMissing {
        /// What it is the log of.
        of: GroupName,
        /// Its folder.
        folder: PathBuf,
    },
    /// A Raft group cannot be started.
    #[error("the Raft group of {of} cannot be started: {cause}")]
    Group {
        /// What it is the group of.
        of: GroupName,
        /// Why.
        cause: Box<ReplicaError>,
    },
    /// There are logs of partitions, but no metadata that says what they are.
    #[error(
        "the cluster's metadata is empty, although there are {logs} logs of partitions beside it; restore {}",
        folder.display()
    )]
    MetadataLost {
        /// How many logs there are.
        logs: usize,
        /// The folder of the metadata's log.
        folder: PathBuf,
    },
    /// The metadata is that of another cluster than the data directory.
    #[error("the data directory belongs to cluster {expected}, its metadata to cluster {found}")]
    WrongCluster {
        /// What the data directory says.
        expected: ClusterId,
        /// What the metadata says.
        found: ClusterId,
    },
    /// The metadata group found no leader.
    #[error("the metadata group has no leader after {seconds} s")]
    NoController {
        /// How long was waited.
        seconds: u64,
    },
    /// The node could not enter itself into the metadata.
    #[error("this node cannot be registered in the cluster's metadata: {0}")]
    Register(ControllerError),
}

/// What a log or a Raft group is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupName {
    /// The cluster's metadata.
    Metadata,
    /// A partition.
    Partition {
        /// The topic's name.
        topic: TopicName,
        /// Its id and the partition.
        id: TopicPartition,
    },
}

impl std::fmt::Display for GroupName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Metadata => f.write_str("the cluster's metadata"),
            Self::Partition { topic, id } => write!(f, "partition {} of topic '{topic}'", id.partition),
        }
    }
}
