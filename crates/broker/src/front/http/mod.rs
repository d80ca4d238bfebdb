//! The HTTP front: what a machine asks a node that is no client of it.
//!
//! ```text
//!   GET /metrics   what Prometheus reads, in the text format of OpenMetrics
//!   GET /healthz   200 while the process lives, from the moment its ports are taken
//!   GET /readyz    200 while the node serves clients, else 503; one line of text says which
//! ```
//!
//! Owns: the listener with its bounds, the pages, and the word of the server whether it serves.
//!
//! Never: takes anything. It answers `GET` and `HEAD` without a body; nothing that is asked here changes the node.
//!
//! Bounded: so many connections, each for one request and a few seconds, and two pages of metrics at a time (P7).

mod board;
mod encode;
mod listener;
mod pages;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

pub(crate) use board::Stage;
pub use listener::BindError;

use crate::metrics::Source;
use crate::shutdown::Shutdown;
use board::Board;
use listener::{Listener, Serving};

/// How long pages under way may take when the server stops.
const GRACE: Duration = Duration::from_secs(3);

/// The HTTP front of a server; switched off, it takes what it is told and shows it to nobody. Dropping it stops it
/// without waiting.
#[derive(Debug)]
pub(crate) struct Front {
    board: Arc<Board>,
    stop: Shutdown,
    listening: Option<(SocketAddr, Serving)>,
}

impl Front {
    /// Takes the address and serves at once: the node is about to start.
    pub(crate) async fn start(listen: Option<SocketAddr>) -> Result<Self, BindError> {
        let (board, stop) = (Arc::new(Board::new()), Shutdown::new());
        let listening = match listen {
            None => None,
            Some(address) => {
                let listener = Listener::bind(address).await?;
                let address = listener.address();
                Some((address, listener.serve(pages::router(Arc::clone(&board)), &stop)))
            }
        };
        Ok(Self { board, stop, listening })
    }

    /// Where it is reached, with the port that it really has; `None` when it is switched off.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.listening.as_ref().map(|(address, _)| *address)
    }

    /// Shows on the page of metrics what this source has, from now on.
    pub(crate) fn show(&self, source: Arc<dyn Source>) {
        self.board.add(source);
    }

    /// Says from now on that the server is at this stage.
    pub(crate) fn set_stage(&self, stage: Stage) {
        self.board.set_stage(stage);
    }

    /// Stops: pages under way are finished, if they do not take long; nothing is held of the node then.
    pub(crate) async fn end(self) {
        self.stop.request();
        if let Some((_, mut serving)) = self.listening
            && timeout(GRACE, serving.ended()).await.is_err()
        {
            tracing::warn!("breaking off HTTP requests that did not end in time");
        }
        self.board.clear();
    }
}
