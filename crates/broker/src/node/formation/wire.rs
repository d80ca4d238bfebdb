//! Formation's messages: to and from their form on the wire.

use bytes::Bytes;
use highwater_metadata::NodeRegistration;
use highwater_proto::internal::v1::{Found, Founded, Identified, Joined, NodeAddress};
use highwater_storage::Identity;
use highwater_types::{ClusterId, NodeId, NodeUuid};

use super::decide::{Offer, Stance};
use super::{ClusterOptions, FormationError};

pub(in crate::node) fn bytes(id: [u8; 16]) -> Bytes {
    Bytes::copy_from_slice(&id)
}

pub(super) fn bad_answer(address: &str, what: &'static str) -> FormationError {
    FormationError::BadAnswer { address: address.to_owned(), what }
}

fn id(bytes: &[u8]) -> Option<[u8; 16]> {
    bytes.try_into().ok()
}

pub(super) fn found(offer: &Offer) -> Found {
    let Offer { cluster, place, first_voters } = offer;
    let voter = |(node, address): (u64, &String)| NodeAddress { node, address: address.clone(), uuid: Bytes::new() };
    let voters = (1..).zip(first_voters).map(voter).collect();
    Found { cluster: bytes(cluster.to_bytes()), node: place.get(), voters }
}

/// The offer in a message; nothing when it is not whole.
pub(in crate::node) fn offer(found: Found) -> Option<Offer> {
    let Found { cluster, node, voters } = found;
    let first_voters = voters.into_iter().map(|voter| voter.address).collect();
    Some(Offer { cluster: ClusterId::from_bytes(id(&cluster)?), place: NodeId::new(node), first_voters })
}

/// That a place is taken, by this node.
pub(in crate::node) fn founded(
    identity: Identity,
    stance: &Stance,
    options: &ClusterOptions,
    address: &str,
) -> Founded {
    let uuid = bytes(identity.uuid.to_bytes());
    let (grpc_address, rack) = (address.to_owned(), options.rack.clone());
    Founded { uuid, grpc_address, rack, is_formed: stance.formed.is_some() }
}

pub(super) fn registration(node: NodeId, address: &str, founded: Founded) -> Result<NodeRegistration, FormationError> {
    let Founded { uuid, grpc_address, rack, .. } = founded;
    let uuid = id(&uuid).ok_or_else(|| bad_answer(address, "its UUID"))?;
    let uuid = NodeUuid::from_bytes(uuid);
    // Each node tells where it speaks Kafka's protocol itself, when it starts.
    let (kafka_address, kafka_listeners) = Default::default();
    let (address, peer_address) = (grpc_address, address.to_owned());
    Ok(NodeRegistration { node, uuid, address, peer_address, rack, kafka_address, kafka_listeners })
}

/// A stance as a message.
pub(in crate::node) fn identified(stance: &Stance) -> Identified {
    let Stance { identity, formed, first_voters } = stance;
    let address = |(node, uuid): (&NodeId, &NodeUuid)| NodeAddress {
        node: node.get(),
        address: String::new(),
        uuid: bytes(uuid.to_bytes()),
    };
    Identified {
        cluster: identity.map(|identity| bytes(identity.cluster.to_bytes())).unwrap_or_default(),
        node: identity.map_or(0, |identity| identity.node.get()),
        uuid: identity.map(|identity| bytes(identity.uuid.to_bytes())).unwrap_or_default(),
        is_formed: formed.is_some(),
        nodes: formed.iter().flatten().map(address).collect(),
        first_voters: first_voters.clone(),
    }
}

pub(super) fn stance(address: &str, identified: Identified) -> Result<Stance, FormationError> {
    let Identified { cluster, node, uuid, is_formed, nodes, first_voters } = identified;
    let identity = match (id(&cluster), id(&uuid)) {
        (Some(cluster), Some(uuid)) => Some(Identity {
            cluster: ClusterId::from_bytes(cluster),
            node: NodeId::new(node),
            uuid: NodeUuid::from_bytes(uuid),
        }),
        _ if cluster.is_empty() => None,
        _ => return Err(bad_answer(address, "a whole identity")),
    };
    let known = |known: NodeAddress| {
        let uuid = id(&known.uuid).ok_or_else(|| bad_answer(address, "the UUID of a node"))?;
        Ok::<_, FormationError>((NodeId::new(known.node), NodeUuid::from_bytes(uuid)))
    };
    let formed = is_formed.then(|| nodes.into_iter().map(known).collect()).transpose()?;
    Ok(Stance { identity, formed, first_voters })
}

pub(super) fn joined(address: &str, joined: &Joined, uuid: NodeUuid) -> Result<Identity, FormationError> {
    let cluster = id(&joined.cluster).ok_or_else(|| bad_answer(address, "its cluster"))?;
    if joined.node == 0 {
        return Err(bad_answer(address, "a place"));
    }
    Ok(Identity { cluster: ClusterId::from_bytes(cluster), node: NodeId::new(joined.node), uuid })
}
