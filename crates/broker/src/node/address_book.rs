//! Where the other nodes are, and who they are: what the image says, told to the links.
//!
//! Owns: the way from the image to [`Peers`]; and noticing that this node is no part of the cluster any more.

use std::collections::BTreeMap;
use std::sync::Arc;

use highwater_metadata::MetadataImage;
use highwater_types::NodeId;
use tokio::sync::watch;

use super::formation::ClusterOptions;
use super::supervise::{Failures, NodeFailure};
use crate::peer::Peers;

/// Where the first voters are, before the image says so.
pub(super) fn of_first_voters(options: &ClusterOptions) -> BTreeMap<NodeId, String> {
    (1..).map(NodeId::new).zip(options.first_voters.iter().cloned()).collect()
}

/// Follows the image until `stop`.
pub(super) async fn keep(
    own: NodeId,
    options: ClusterOptions,
    mut images: watch::Receiver<Arc<MetadataImage>>,
    peers: Peers,
    failures: Failures,
    stop: impl Future<Output = ()>,
) {
    tokio::pin!(stop);
    loop {
        let image = Arc::clone(&images.borrow_and_update());
        let addresses = if image.cluster().is_some() { addresses(&image) } else { of_first_voters(&options) };
        peers.set_addresses(addresses);
        let directories = image.nodes().map(|node| (node.node, node.uuid)).collect();
        peers.set_known(directories, image.removed().map(|(node, _)| node).collect());
        // An old image would not know of a removal, and never invents one.
        if image.is_removed(own) {
            failures.report(NodeFailure::Removed { node: own });
        }
        tokio::select! {
            () = &mut stop => return,
            changed = images.changed() => if changed.is_err() { return },
        }
    }
}

/// The nodes of an image with where the others reach them.
fn addresses(image: &MetadataImage) -> BTreeMap<NodeId, String> {
    let known = image.nodes().filter(|node| !node.peer_address.is_empty());
    known.map(|node| (node.node, node.peer_address.clone())).collect()
}
