//! What follows from the settings and from what other nodes said. Pure.

use std::collections::BTreeMap;

use highwater_storage::Identity;
use highwater_types::{ClusterId, NodeId, NodeUuid};

use super::{ClusterOptions, FOUNDER, FormationError, Role};

/// What a node says when it is asked who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::node) struct Stance {
    /// Its place; `None` while its directory is empty.
    pub(in crate::node) identity: Option<Identity>,
    /// The nodes of its cluster once that was formed.
    pub(in crate::node) formed: Option<BTreeMap<NodeId, NodeUuid>>,
    /// Its list of first voters.
    pub(in crate::node) first_voters: Vec<String>,
}

/// A place in a new cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::node) struct Offer {
    /// The cluster.
    pub(in crate::node) cluster: ClusterId,
    /// The place.
    pub(in crate::node) place: NodeId,
    /// The list of whoever offers it.
    pub(in crate::node) first_voters: Vec<String>,
}

/// What a node with an empty data directory does.
pub(in crate::node) fn role(options: &ClusterOptions) -> Result<Role, FormationError> {
    let ClusterOptions { peer_address, first_voters, join, .. } = options;
    if first_voters.is_empty() {
        return Ok(if join.is_empty() { Role::Alone } else { Role::Joiner });
    }
    let places = (1..).map(NodeId::new).zip(first_voters.iter().cloned());
    let Some((place, _)) = places.clone().find(|(_, address)| address == peer_address) else {
        return Err(FormationError::NotNamed { voters: first_voters.clone(), own: peer_address.clone() });
    };
    if place != FOUNDER {
        return Ok(Role::Member { place });
    }
    let others: Vec<(NodeId, String)> = places.filter(|(other, _)| *other != place).collect();
    Ok(if others.is_empty() { Role::Alone } else { Role::Founder { others } })
}

/// Whether a new cluster may be made, as far as this other first voter goes.
pub(super) fn may_found(options: &ClusterOptions, address: &str, stance: &Stance) -> Result<(), FormationError> {
    may_wait(options, FOUNDER, address, stance)?;
    match stance.identity {
        None => Ok(()),
        Some(Identity { cluster, node, .. }) => {
            Err(FormationError::Abandoned { address: address.to_owned(), node, cluster })
        }
    }
}

/// Whether an offer of `place` can still come, as far as this other first voter goes.
pub(super) fn may_wait(
    options: &ClusterOptions,
    place: NodeId,
    address: &str,
    stance: &Stance,
) -> Result<(), FormationError> {
    if let (Some(identity), Some(nodes)) = (stance.identity, &stance.formed) {
        let cluster = identity.cluster;
        return Err(match nodes.contains_key(&place) {
            true => FormationError::PlaceTaken { cluster, place },
            false => FormationError::FormedWithout { address: address.to_owned(), cluster },
        });
    }
    if stance.first_voters != options.first_voters {
        return Err(FormationError::OtherList {
            address: address.to_owned(),
            theirs: stance.first_voters.clone(),
            ours: options.first_voters.clone(),
        });
    }
    Ok(())
}

/// Takes an offer, or refuses it. `new` is the UUID of a directory that has none.
pub(in crate::node) fn take(
    options: &ClusterOptions,
    present: Option<Identity>,
    offer: &Offer,
    new: NodeUuid,
) -> Result<Identity, FormationError> {
    let Offer { cluster, place, first_voters } = offer;
    match present {
        Some(present) if present.cluster == *cluster && present.node == *place => return Ok(present),
        Some(present) => return Err(FormationError::HasAnother { present, offered: *place, cluster: *cluster }),
        None => {}
    }
    match role(options)? {
        Role::Member { place: own } if *first_voters == options.first_voters && own == *place => {
            Ok(Identity { cluster: *cluster, node: *place, uuid: new })
        }
        Role::Member { .. } => Err(FormationError::OtherList {
            address: first_voters.first().cloned().unwrap_or_default(),
            theirs: first_voters.clone(),
            ours: options.first_voters.clone(),
        }),
        Role::Alone => Err(FormationError::NotExpected { instead: "make a cluster of its own" }),
        Role::Founder { .. } => Err(FormationError::NotExpected { instead: "make the cluster itself" }),
        Role::Joiner => Err(FormationError::NotExpected { instead: "join a cluster" }),
    }
}
