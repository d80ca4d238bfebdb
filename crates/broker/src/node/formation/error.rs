//! Why a node got no place in a cluster.

use highwater_storage::{FileError, Identity, SetIdentityError};
use highwater_types::{ClusterId, NodeId};

/// Why a node with an empty data directory got no place in a cluster, or another one refused the place it was offered.
/// Nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum FormationError {
    /// The list does not name this node.
    #[error(
        "cluster.first_voters is [{}], and this node is reached at {own}; name each node by its cluster.advertised, \
         this one too, or set cluster.join instead",
        voters.join(", ")
    )]
    NotNamed {
        /// The list.
        voters: Vec<String>,
        /// Where this node is reached.
        own: String,
    },
    /// Two nodes were given different lists.
    #[error(
        "the node at {address} has cluster.first_voters [{}], this node [{}]; give all of them the same list in the \
         same order",
        theirs.join(", "), ours.join(", ")
    )]
    OtherList {
        /// The other node.
        address: String,
        /// Its list.
        theirs: Vec<String>,
        /// The list of this node.
        ours: Vec<String>,
    },
    /// The cluster exists, with another data directory in this node's place.
    #[error(
        "node {place} of cluster {cluster} has another data directory; a node that lost its data joins under a new \
         id: set cluster.join instead of cluster.first_voters, and see operations.md"
    )]
    PlaceTaken {
        /// The cluster.
        cluster: ClusterId,
        /// The place.
        place: NodeId,
    },
    /// The cluster exists, and this node was never part of it.
    #[error(
        "the node at {address} belongs to cluster {cluster}, which was formed without this node; to join it, set \
         cluster.join instead of cluster.first_voters"
    )]
    FormedWithout {
        /// Who says so.
        address: String,
        /// Its cluster.
        cluster: ClusterId,
    },
    /// Another first voter belongs to a cluster that was never finished, and whose founder is not this directory.
    #[error(
        "the node at {address} took place {node} in cluster {cluster}, whose founder was lost before the cluster was \
         formed; it holds no records: empty its data directory, and start the first voters again"
    )]
    Abandoned {
        /// Who says so.
        address: String,
        /// Its place.
        node: NodeId,
        /// Its cluster.
        cluster: ClusterId,
    },
    /// A place was offered to a node that has one.
    #[error("this data directory is {present}; it cannot become node {offered} of cluster {cluster}")]
    HasAnother {
        /// What it is.
        present: Identity,
        /// The place that was offered.
        offered: NodeId,
        /// The cluster that offered it.
        cluster: ClusterId,
    },
    /// A place was offered to a node that does not expect one.
    #[error("this node is not among the first voters of a new cluster; it was set up to {instead}")]
    NotExpected {
        /// What it does.
        instead: &'static str,
    },
    /// Another node refused.
    #[error("the node at {address} refused: {reason}")]
    Refused {
        /// Who.
        address: String,
        /// Its words.
        reason: String,
    },
    /// Another node answered what cannot be.
    #[error("the node at {address} gave an answer without {what}; is it of another version?")]
    BadAnswer {
        /// Who.
        address: String,
        /// What is missing.
        what: &'static str,
    },
    /// The identity cannot be written.
    #[error(transparent)]
    Identity(#[from] SetIdentityError),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}
