//! The greeting of a connection: who each side is, and whether the other may talk to it.
//!
//! | hello | |
//! |---|---|
//! | 4, 2 | magic `HWPR`; protocol version |
//! | 1 [16] | cluster: 0, or 1 and its id |
//! | 1 [8] | node: 0, or 1 and its id |
//! | 16 | the data directory |

use std::collections::{BTreeMap, BTreeSet};

use highwater_types::{ClusterId, NodeId, NodeUuid};

use super::frame::{Frame, FrameReader, FrameWriter, Malformed};

/// The version of everything that nodes say to each other. Both sides must speak the same.
pub const PROTOCOL_VERSION: u16 = 1;
const MAGIC: [u8; 4] = *b"HWPR";

/// Who one side of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Its cluster; none before it has joined one.
    pub cluster: Option<ClusterId>,
    /// Its id there.
    pub node: Option<NodeId>,
    /// Its data directory.
    pub uuid: NodeUuid,
}

/// Why one node will not talk to another. Shown at both.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The nodes belong to different clusters.
    #[error("it belongs to cluster {theirs}, this node to cluster {ours}")]
    OtherCluster {
        /// This node's.
        ours: ClusterId,
        /// The other's.
        theirs: ClusterId,
    },
    /// Another data directory has this node id.
    #[error(
        "node {node} has another data directory ({known}, not {theirs}); a node that lost its data joins under a new id"
    )]
    OtherDirectory {
        /// The id that both claim.
        node: NodeId,
        /// The directory that has it.
        known: NodeUuid,
        /// The directory that claims it.
        theirs: NodeUuid,
    },
    /// It was removed from the cluster.
    #[error("node {node} was removed from the cluster; it joins again with an empty data directory, under a new id")]
    Removed {
        /// The node.
        node: NodeId,
    },
    /// Another node answers at this address.
    #[error("node {theirs} answers there, not node {expected}")]
    OtherNode {
        /// Who was to be reached.
        expected: NodeId,
        /// Who is there; 0 for a node that has no id yet.
        theirs: NodeId,
    },
    /// The other side refused, with these words.
    #[error("it refused: {words}")]
    Theirs {
        /// Its words.
        words: String,
    },
    /// It speaks another version, or is no node at all.
    #[error("it speaks version {theirs} between nodes, this node {PROTOCOL_VERSION}")]
    OtherVersion {
        /// Its version.
        theirs: u16,
    },
    /// What came is no greeting.
    #[error("it is no node of Highwater")]
    NoHello,
}

impl From<Malformed> for Refusal {
    fn from(_: Malformed) -> Self {
        Self::NoHello
    }
}

/// Encodes a greeting.
pub(crate) fn encode(hello: &Hello) -> Frame {
    let mut out = FrameWriter::default();
    out.put_slice(&MAGIC);
    out.put_slice(&PROTOCOL_VERSION.to_le_bytes());
    out.put_u8(u8::from(hello.cluster.is_some()));
    hello.cluster.iter().for_each(|cluster| out.put_slice(&cluster.to_bytes()));
    out.put_u8(u8::from(hello.node.is_some()));
    hello.node.iter().for_each(|node| out.put_u64(node.get()));
    out.put_slice(&hello.uuid.to_bytes());
    out.finish()
}

/// Reads a greeting.
pub(crate) fn decode(frame: Frame) -> Result<Hello, Refusal> {
    let mut input = FrameReader::new("greeting", frame);
    if input.array()? != MAGIC {
        return Err(Refusal::NoHello);
    }
    let version = u16::from_le_bytes(input.array()?);
    if version != PROTOCOL_VERSION {
        return Err(Refusal::OtherVersion { theirs: version });
    }
    let cluster = match input.u8()? {
        0 => None,
        _ => Some(ClusterId::from_bytes(input.array()?)),
    };
    let node = match input.u8()? {
        0 => None,
        _ => Some(NodeId::new(input.u64()?)),
    };
    let uuid = NodeUuid::from_bytes(input.array()?);
    input.end()?;
    Ok(Hello { cluster, node, uuid })
}

/// What this node knows of the others, to tell who may talk to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    pub(crate) directories: BTreeMap<NodeId, NodeUuid>,
    pub(crate) removed: BTreeSet<NodeId>,
}

impl Known {
    /// Whether a node that says `theirs` may talk to this one.
    pub(crate) fn check(&self, ours: &Hello, theirs: &Hello) -> Result<(), Refusal> {
        if let (Some(ours), Some(theirs)) = (ours.cluster, theirs.cluster)
            && ours != theirs
        {
            return Err(Refusal::OtherCluster { ours, theirs });
        }
        let Some(node) = theirs.node else { return Ok(()) };
        if self.removed.contains(&node) {
            return Err(Refusal::Removed { node });
        }
        match self.directories.get(&node) {
            Some(known) if *known != theirs.uuid => {
                Err(Refusal::OtherDirectory { node, known: *known, theirs: theirs.uuid })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(cluster: Option<u8>, node: Option<u64>, uuid: u8) -> Hello {
        Hello {
            cluster: cluster.map(|byte| ClusterId::from_bytes([byte; 16])),
            node: node.map(NodeId::new),
            uuid: NodeUuid::from_bytes([uuid; 16]),
        }
    }

    #[test]
    fn a_greeting_is_read_as_written() {
        for sent in [hello(None, None, 1), hello(Some(2), Some(3), 4), hello(Some(2), None, 4)] {
            assert_eq!(decode(encode(&sent)), Ok(sent));
        }
        assert_eq!(decode(Frame::default()), Err(Refusal::NoHello));
        assert_eq!(decode(bytes::Bytes::from_static(b"GET / HTTP/1.1\r\n").into()), Err(Refusal::NoHello));
        let newer = bytes::Bytes::from_static(b"HWPR\x02\x00");
        assert_eq!(decode(newer.into()), Err(Refusal::OtherVersion { theirs: 2 }));
    }

    #[test]
    fn strangers_are_refused_by_name() {
        let node = NodeId::new;
        let known = Known { directories: [(node(2), NodeUuid::from_bytes([2; 16]))].into(), removed: [node(3)].into() };
        let ours = hello(Some(1), Some(1), 1);
        let check = |theirs| known.check(&ours, &theirs).map_err(|refusal| refusal.to_string());
        assert_eq!(check(hello(Some(1), Some(2), 2)), Ok(()));
        assert_eq!(check(hello(None, None, 9)), Ok(()), "it may ask to join");
        assert_eq!(check(hello(Some(1), Some(4), 9)), Ok(()), "not heard of yet");
        assert!(check(hello(Some(2), Some(2), 2)).unwrap_err().contains("belongs to cluster 02020202"));
        assert!(check(hello(Some(1), Some(2), 9)).unwrap_err().contains("another data directory"));
        assert!(check(hello(Some(1), Some(3), 3)).unwrap_err().contains("was removed"));
    }
}
