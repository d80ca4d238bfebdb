//! Who votes on the metadata. All other nodes are learners of that group.

use std::collections::BTreeSet;

use highwater_types::NodeId;

use crate::image::MetadataImage;
use crate::node::{Member, NodeState};

/// The nodes that should vote, given those that do.
///
/// Three, or five where five did and there are as many nodes. With two nodes, those that did: a second voter would make
/// the cluster depend on both. A voter that does not answer stays one, because it will most often be back soon.
#[must_use]
pub fn metadata_voters(image: &MetadataImage, voters: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    let may: Vec<&Member> = image.members().filter(|member| member.state != NodeState::Decommissioning).collect();
    let mut kept: Vec<&Member> = may.iter().copied().filter(|member| voters.contains(&member.node())).collect();
    let wanted = match may.len() {
        5.. if voters.len() >= 5 => 5,
        3.. => 3,
        _ => kept.len().max(1),
    };
    kept.sort_by_key(|member| (member.is_fenced, member.node()));
    kept.truncate(wanted);
    while kept.len() < wanted {
        let racks: BTreeSet<&str> = kept.iter().map(|member| member.registration.rack.as_str()).collect();
        let shares = |member: &Member| {
            let rack = member.registration.rack.as_str();
            !rack.is_empty() && racks.contains(rack)
        };
        let is_new = |member: &&Member| member.is_ready() && !kept.iter().any(|kept| kept.node() == member.node());
        let next = may.iter().copied().filter(is_new).min_by_key(|member| (shares(member), member.node()));
        match next {
            Some(next) => kept.push(next),
            None => break,
        }
    }
    match kept.is_empty() {
        true => voters.clone(),
        false => kept.into_iter().map(Member::node).collect(),
    }
}
