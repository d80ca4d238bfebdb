//! The image as bytes: one byte of format, then Protocol Buffers. Equal images give equal bytes.

use bytes::Bytes;
use highwater_types::{LogIndex, ProducerId};
use prost::Message;

use super::MetadataImage;
use crate::record::{DecodeError, MetadataRecord, wire};

/// The newest format of a snapshot.
const FORMAT: u8 = 1;

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
        };
        wire::frame(FORMAT, &snapshot)
    }

    /// The image that [`MetadataImage::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`] when this version does not understand all of it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let snapshot: Snapshot = wire::unframe(FORMAT, bytes)?;
        let mut image = Self {
            cluster: snapshot.cluster.as_deref().map(wire::cluster_id).transpose()?,
            revision: snapshot.revision.map(LogIndex::new),
            producer_id_next: ProducerId::new(snapshot.producer_id_next),
            ..Self::default()
        };
        for node in snapshot.nodes {
            image.replay(&MetadataRecord::NodeRegistered(node.try_into()?));
        }
        for topic in snapshot.topics {
            image.replay(&MetadataRecord::TopicCreated(topic.try_into()?));
        }
        Ok(image)
    }
}
