//! The settings of a broadcast reader.

use super::Broadcast;
use crate::client::Client;
use crate::position::Position;
use crate::reader::{ReadError, ReaderBuilder};

/// Settings of a [`Broadcast`]; made by [`Client::broadcast`]. Topics or patterns are the only ones that are needed.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `open` is called"]
pub struct BroadcastBuilder {
    pub(super) client: Client,
    pub(super) topics: Vec<String>,
    pub(super) patterns: Vec<String>,
    pub(super) from: Position,
    prefetch_bytes: Option<usize>,
    may_follow: bool,
}

impl BroadcastBuilder {
    pub(crate) fn new(client: Client) -> Self {
        let (topics, patterns) = (Vec::new(), Vec::new());
        Self { client, topics, patterns, from: Position::End, prefetch_bytes: None, may_follow: false }
    }

    /// Topics by name. One that does not exist yet is read from its first record when it does.
    pub fn topics(mut self, topics: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.topics.extend(topics.into_iter().map(Into::into));
        self
    }

    /// Topics by pattern: `*` stands for any characters, also none, and `?` for one. Topics that match and are created
    /// later are read from their first record; they are noticed within
    /// [`ClientBuilder::topics_refresh`](crate::ClientBuilder::topics_refresh).
    pub fn patterns(mut self, patterns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.patterns.extend(patterns.into_iter().map(Into::into));
        self
    }

    /// Where to start, in each partition that is there now. Default [`Position::End`]: only what comes from now on.
    pub fn from(mut self, position: impl Into<Position>) -> Self {
        self.from = position.into();
        self
    }

    /// The most bytes that are sent ahead, for each topic. Default: as [`ReaderBuilder::prefetch_bytes`].
    pub fn prefetch_bytes(mut self, bytes: usize) -> Self {
        self.prefetch_bytes = Some(bytes);
        self
    }

    /// Whether replicas that do not lead may be read. Default false.
    pub fn from_follower(mut self, may_follow: bool) -> Self {
        self.may_follow = may_follow;
        self
    }

    /// Finds the topics, and starts to read.
    ///
    /// # Errors
    /// When there is neither a topic nor a pattern, or the topics or their positions cannot be asked for.
    pub async fn open(self) -> Result<Broadcast, ReadError> {
        if self.topics.is_empty() && self.patterns.is_empty() {
            return Err(ReadError::Nothing);
        }
        Broadcast::open(self).await
    }

    pub(super) fn reader(&self, topic: &str, from: Position) -> ReaderBuilder {
        let reader = self.client.reader().topic(topic).from(from).from_follower(self.may_follow);
        match self.prefetch_bytes {
            Some(bytes) => reader.prefetch_bytes(bytes),
            None => reader,
        }
    }
}
