//! The seam of the network: how a link to another node comes to be. Implemented over gRPC and in memory.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use tokio::sync::mpsc;

use super::error::PeerError;
use super::frame::Frame;
use super::hello::{Hello, Refusal};

/// Which of the two ways of a link something takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// What elections and people wait for: small, and never behind bulk.
    Urgent,
    /// Appends and snapshots.
    Bulk,
}

/// One lane of a link as one side holds it. Frames arrive whole, in order, once; or the lane ends.
pub struct Pipe {
    /// To the other side. Full when the other side does not keep up; closed when the link is gone.
    pub to_peer: mpsc::Sender<Frame>,
    /// From the other side; ends with the reason, or without one when the link is gone.
    pub from_peer: mpsc::Receiver<Result<Frame, String>>,
}

/// A connection between two nodes that have greeted each other. It is gone when either side drops either of its pipes.
pub struct Link {
    /// Who is on the other side.
    pub theirs: Hello,
    /// For what may not wait.
    pub urgent: Pipe,
    /// For what is large.
    pub bulk: Pipe,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("theirs", &self.theirs).finish_non_exhaustive()
    }
}

/// A link that is being made.
pub type Dialing = Pin<Box<dyn Future<Output = Result<Link, PeerError>> + Send>>;

/// A way to other nodes.
pub trait Transport: Send + Sync + 'static {
    /// Connects to `address` (HOST:PORT) and greets with `ours`. Gives up by itself after a second or two.
    fn dial(&self, address: &str, ours: Hello) -> Dialing;
}

/// Who takes links that others dial.
pub trait Accept: Send + Sync + 'static {
    /// What to answer to a greeting.
    ///
    /// # Errors
    /// When that node may not talk to this one.
    fn greet(&self, theirs: &Hello) -> Result<Hello, Refusal>;

    /// Serves a link until it is gone. Returns at once.
    fn accept(&self, link: Link);
}
