//! Whether the other nodes still take this one for one of theirs.
//!
//! Why: a node that was removed, or whose directory was replaced, while it was away is refused by all the others, and
//! hears nothing of it from the metadata that no longer reaches it. It would wait for ever, and look alive.

use std::sync::Arc;
use std::time::Duration;

use highwater_metadata::MetadataImage;
use highwater_proto::internal::v1::control_request::Kind as Ask;
use highwater_proto::internal::v1::control_response::Kind as Answer;
use highwater_proto::internal::v1::error::Reason;
use highwater_proto::internal::v1::{ControlRequest, ControlResponse, WhoAreYou};
use highwater_types::NodeId;
use tokio::sync::watch;

use super::supervise::{Failures, NodeFailure};
use crate::peer::{PeerError, Peers, Refusal};

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// So many looks in a row must find the same: a node that is restarted may be told of this one a moment late.
const LOOKS: u32 = 3;

/// Looks until `stop`. Ends the node when others refuse it and none that can be reached does not.
pub(super) async fn watch(
    own: NodeId,
    images: watch::Receiver<Arc<MetadataImage>>,
    peers: Peers,
    failures: Failures,
    stop: impl Future<Output = ()>,
) {
    tokio::pin!(stop);
    let mut refused_looks = 0;
    loop {
        let look = async {
            tokio::time::sleep(PAUSE).await;
            let others: Vec<NodeId> =
                images.borrow().nodes().map(|node| node.node).filter(|node| *node != own).collect();
            refusal(&peers, others).await
        };
        let refusal = tokio::select! {
            () = &mut stop => return,
            refusal = look => refusal,
        };
        refused_looks = if refusal.is_some() { refused_looks + 1 } else { 0 };
        if let Some(reason) = refusal.filter(|_| refused_looks >= LOOKS) {
            failures.report(NodeFailure::Refused { reason });
            return stop.await;
        }
    }
}

/// The words of a node that refuses this one, if no other takes it.
async fn refusal(peers: &Peers, others: Vec<NodeId>) -> Option<String> {
    let mut words = None;
    for node in others {
        let refused = match peers.ask(node, ControlRequest { kind: Some(Ask::WhoAreYou(WhoAreYou {})) }).await {
            Ok(ControlResponse { kind: Some(Answer::Error(error)) }) if error.reason() == Reason::Refused => {
                error.message
            }
            Ok(_) => return None,
            Err(PeerError::Refused { refusal: Refusal::Theirs { words }, .. }) => words,
            Err(error) => {
                tracing::trace!(%node, %error, "not to be asked");
                continue;
            }
        };
        words = Some(format!("node {node} refused this node: {refused}"));
    }
    words
}
