//! What a node can be measured by: the words that its parts and the page of metrics share.
//!
//! Owns: families of values, and the trait of those who have some.
//!
//! Never: counts anything. A source reads, when it is asked, what the node knows anyway; the way of a record pays nothing.
//!
//! Invariants: a name belongs to one source. Labels are what the cluster was told to have (topics, partitions, groups);
//! what a client may make up at will is never one.

mod groups;
mod node;
mod process;
mod queues;

use std::sync::Arc;

use futures_util::future::BoxFuture;

pub(crate) use groups::GroupSource;
pub(crate) use node::NodeSource;
#[cfg(test)]
pub(crate) use node::{PartitionReading, Reading};
pub(crate) use process::ProcessSource;
pub(crate) use queues::QueueSource;

/// Who has values to show. Asked at every scrape, all sources at once, each for two seconds at the most: the families of
/// one that takes longer are missing from that page, and `highwater_metrics_source_up` says whose.
pub(crate) trait Source: Send + Sync + 'static {
    /// What the source is called on the page, in `highwater_metrics_source_up`.
    fn name(&self) -> &'static str;

    /// What there is now. May be dropped before it is done. Work that takes long without waiting belongs into
    /// `runtime::blocking`.
    fn gather(&self) -> BoxFuture<'_, Vec<Family>>;
}

/// Values of one name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Family {
    /// Without `highwater_`, which all have; with its unit (`_bytes`, `_seconds`); a counter's without `_total`, which is
    /// added.
    pub(crate) name: &'static str,
    /// One line without a full stop.
    pub(crate) help: &'static str,
    /// How it changes.
    pub(crate) kind: Kind,
    /// Its values; a family without any is left out.
    pub(crate) samples: Vec<Sample>,
}

/// How the values of a family change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Up and down.
    Gauge,
    /// Up, and to nothing when the process ends.
    Counter,
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    /// What it is of.
    pub(crate) labels: Labels,
    /// How much.
    pub(crate) value: Value,
}

/// Names and values of labels; the samples that share them share their memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Labels(Arc<[(&'static str, String)]>);

/// A number of either kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value {
    /// Bytes, offsets, and how many.
    Whole(u64),
    /// Seconds.
    Real(f64),
}

impl Family {
    /// A family whose values go up and down, without any yet.
    pub(crate) const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: Kind::Gauge, samples: Vec::new() }
    }

    /// A family whose values go up only, without any yet.
    pub(crate) const fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: Kind::Counter, samples: Vec::new() }
    }

    /// The same with one value that has no labels.
    pub(crate) fn of(self, value: impl Into<Value>) -> Self {
        self.with(Labels::default(), value)
    }

    /// The same with one value more.
    pub(crate) fn with(mut self, labels: Labels, value: impl Into<Value>) -> Self {
        self.push(labels, value);
        self
    }

    /// Adds a value.
    pub(crate) fn push(&mut self, labels: Labels, value: impl Into<Value>) {
        self.samples.push(Sample { labels, value: value.into() });
    }
}

impl Labels {
    /// Labels in the order in which they are shown.
    pub(crate) fn new<const N: usize>(labels: [(&'static str, String); N]) -> Self {
        Self(Arc::new(labels))
    }

    /// The names and values.
    pub(crate) fn pairs(&self) -> &[(&'static str, String)] {
        &self.0
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        // Exact: addresses have 64 bits at the most.
        Self::Whole(u64::try_from(value).unwrap_or(u64::MAX))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Whole(value.into())
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}
