//! Who this node is: written into the data directory on its first start, and the same ever after.
//!
//! The cluster's first node makes the cluster, and is node 1 of it. A directory that was wiped is another node: its
//! UUID is new, and the cluster's metadata does not let it take the number of the old one.

use highwater_storage::{DataDir, Identity, SetIdentityError};
use highwater_types::{ClusterId, NodeId, NodeUuid};

use crate::clock::Clock;

/// The first node of a cluster.
const FIRST_NODE: NodeId = NodeId::new(1);

/// The identity in the data directory, made now when there is none.
pub(super) fn establish(data: &DataDir, clock: &Clock) -> Result<Identity, SetIdentityError> {
    if let Some(identity) = data.identity() {
        return Ok(identity);
    }
    let identity = Identity {
        cluster: ClusterId::new(clock.unique_id()),
        node: FIRST_NODE,
        uuid: NodeUuid::new(clock.unique_id()),
    };
    data.set_identity(identity)?;
    tracing::info!(cluster = %identity.cluster, node = %identity.node, "first start: a new cluster");
    Ok(identity)
}
