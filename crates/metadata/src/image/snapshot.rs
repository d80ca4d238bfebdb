//! The image as bytes: one byte of format, then Protocol Buffers. Equal images give equal bytes.

use std::sync::Arc;

use bytes::Bytes;
use highwater_types::{LogIndex, NodeId, ProducerId};
use prost::Message;

use super::MetadataImage;
use crate::node::{Member, NodeState};
use crate::record::{DecodeError, MetadataRecord, wire};

#[derive(Clone, PartialEq, Message)]
struct Snapshot {
    #[prost(bytes = "vec", optional, tag = "1")]
    cluster: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "2")]
    revision: Option<u64>,
    #[prost(int64, tag = "3")]
    producer_id_next: i64,
    #[prost(message, repeated, tag = "4")]
    nodes: Vec<wire::Node>,
    #[prost(message, repeated, tag = "5")]
    topics: Vec<wire::Topic>,
    /// Nodes that are not just active and answering.
    #[prost(message, repeated, tag = "6")]
    standings: Vec<Standing>,
    #[prost(message, repeated, tag = "7")]
    removed: Vec<Removed>,
    #[prost(bool, tag = "8")]
    is_balancing: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Standing {
    #[prost(uint64, tag = "1")]
    node: u64,
    #[prost(uint32, tag = "2")]
    state: u32,
    #[prost(bool, tag = "3")]
    is_fenced: bool,
    #[prost(uint64, optional, tag = "4")]
    successor: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct Removed {
    #[prost(uint64, tag = "1")]
    node: u64,
    #[prost(bytes = "vec", tag = "2")]
    uuid: Vec<u8>,
}

impl MetadataImage {
    /// The image as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        let snapshot = Snapshot {
            cluster: self.cluster.map(|cluster| cluster.to_bytes().into()),
            revision: self.revision.map(LogIndex::get),
            producer_id_next: self.producer_id_next.get(),
            nodes: self.nodes().map(wire::Node::from).collect(),
            topics: self.topics().map(|topic| wire::Topic::from(&**topic)).collect(),
            standings: self.members().filter_map(standing).collect(),
            removed: self
                .removed()
                .map(|(node, uuid)| Removed { node: node.get(), uuid: uuid.to_bytes().into() })
                .collect(),
            is_balancing: self.is_balancing,
        };
        wire::frame(wire::FORMAT, &snapshot)
    }

    /// The image that [`MetadataImage::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`] when this version does not understand all of it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let snapshot: Snapshot = wire::unframe(wire::FORMAT, bytes)?;
        let mut image = Self {
            cluster: snapshot.cluster.as_deref().map(wire::cluster_id).transpose()?,
            revision: snapshot.revision.map(LogIndex::new),
            producer_id_next: ProducerId::new(snapshot.producer_id_next),
            is_balancing: snapshot.is_balancing,
            ..Self::default()
        };
        for node in snapshot.nodes {
            image.replay(&MetadataRecord::NodeRegistered(node.try_into()?));
        }
        for Standing { node, state, is_fenced, successor } in snapshot.standings {
            let (node, state) = (NodeId::new(node), wire::node_state(state)?);
            image.replay(&MetadataRecord::NodeStateSet { node, state, successor: successor.map(NodeId::new) });
            if is_fenced {
                image.replay(&MetadataRecord::NodeFenced { node });
            }
        }
        let removed = snapshot.removed.into_iter();
        let removed = removed.map(|removed| Ok((NodeId::new(removed.node), wire::node_uuid(&removed.uuid)?)));
        image.removed = Arc::new(removed.collect::<Result<_, DecodeError>>()?);
        for topic in snapshot.topics {
            image.replay(&MetadataRecord::TopicCreated(topic.try_into()?));
        }
        Ok(image)
    }
}

fn standing(member: &Member) -> Option<Standing> {
    let Member { state, is_fenced, successor, .. } = *member;
    (state != NodeState::Active || is_fenced || successor.is_some()).then(|| Standing {
        node: member.node().get(),
        state: wire::state_number(state),
        is_fenced,
        successor: successor.map(NodeId::get),
    })
}
