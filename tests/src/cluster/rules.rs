//! What the network does with bytes from one end to another.
//!
//! Invariant: rules are for a direction. A cut in one direction leaves the other as it is, on the connections that either
//! end has opened.

use std::collections::BTreeMap;
use std::time::Duration;

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// Whatever is no node.
    Client,
    /// A node.
    Node(u64),
}

/// How a direction is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// Bytes wait, and arrive after the cut: what a network does whose packets are sent again.
    Hold,
    /// Bytes vanish; connections that lost some are reset when the cut is over.
    Drop,
    /// Connections are reset at once, and new ones as soon as they are made.
    Reset,
}

/// The rules in force.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    blocks: BTreeMap<(End, End), Block>,
    delays: BTreeMap<(End, End), Duration>,
}

impl Rules {
    /// What happens to bytes from one end to another.
    #[must_use]
    pub fn block(&self, from: End, to: End) -> Option<Block> {
        self.blocks.get(&(from, to)).copied()
    }

    /// How long bytes take from one end to another.
    #[must_use]
    pub fn delay(&self, from: End, to: End) -> Duration {
        self.delays.get(&(from, to)).copied().unwrap_or_default()
    }

    pub(super) fn set_block(&mut self, from: End, to: End, block: Block) {
        self.blocks.insert((from, to), block);
    }

    pub(super) fn set_delay(&mut self, from: End, to: End, delay: Duration) {
        self.delays.insert((from, to), delay);
    }

    pub(super) fn clear(&mut self) {
        self.blocks.clear();
        self.delays.clear();
    }
}
