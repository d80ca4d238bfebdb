//! The settings of a consumer.

use std::fmt;
use std::time::Duration;

use highwater_proto::v1;
use highwater_types::limits;

use super::Consumer;
use super::error::ConsumeError;
use super::rebalance::{RebalanceListener, Silent};
use crate::client::Client;

/// How a group shares its partitions among its members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Assignor {
    /// Evenly, and each member keeps as much as it can of what it has; only what moves is interrupted. The default.
    CooperativeSticky,
    /// Evenly, and each member keeps as much as it can; all stop while partitions are shared out.
    Sticky,
    /// Topic by topic, neighbouring partitions together.
    Range,
    /// One partition to each member in turn.
    RoundRobin,
}

impl Assignor {
    fn name(self) -> &'static str {
        match self {
            Self::CooperativeSticky => "cooperative-sticky",
            Self::Sticky => "sticky",
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
        }
    }
}

/// Where a partition is read from when its group has no offset there, or one whose record is not kept any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OffsetReset {
    /// At the first record that is kept. The default: a group misses nothing that can still be had.
    #[default]
    Earliest,
    /// With what comes from now on. Topics and partitions that are created later are read from their first record.
    Latest,
    /// Nowhere: the consumer yields [`ConsumeError::Partition`] and the program seeks.
    Error,
}

impl OffsetReset {
    fn to_wire(self) -> v1::OffsetReset {
        match self {
            Self::Earliest => v1::OffsetReset::Earliest,
            Self::Latest => v1::OffsetReset::Latest,
            Self::Error => v1::OffsetReset::Error,
        }
    }
}

/// Who commits what was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Commit {
    /// The consumer, so often; and when partitions are revoked, and when it is closed.
    Every(Duration),
    /// Nobody but the program, with [`Consumer::commit`] and its sisters.
    Manual,
}

/// Settings of a [`Consumer`]; made by [`Client::consumer`]. Topics or patterns are the only ones that are needed.
///
/// ```no_run
/// # async fn example(client: highwater_client::Client) -> Result<(), highwater_client::ConsumeError> {
/// use std::time::Duration;
/// use highwater_client::{Commit, OffsetReset};
/// let consumer = client
///     .consumer("invoices")
///     .topics(["orders"])
///     .patterns(["payments.*"])
///     .on_no_offset(OffsetReset::Latest)
///     .commit(Commit::Every(Duration::from_secs(1)))
///     .open()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a builder does nothing until `open` is called"]
pub struct ConsumerBuilder {
    pub(super) client: Client,
    pub(super) group: String,
    pub(super) topics: Vec<String>,
    pub(super) patterns: Vec<String>,
    pub(super) instance_id: String,
    pub(super) client_id: String,
    pub(super) session_timeout: Duration,
    pub(super) rebalance_timeout: Duration,
    pub(super) processing_timeout: Duration,
    pub(super) assignors: Vec<Assignor>,
    pub(super) reset: OffsetReset,
    pub(super) commit: Commit,
    pub(super) prefetch_bytes: usize,
    pub(super) response_bytes_max: usize,
    pub(super) may_follow: bool,
    pub(super) verify_checksums: bool,
    pub(super) retry_timeout: Option<Duration>,
    pub(super) listener: Box<dyn RebalanceListener>,
}

impl fmt::Debug for ConsumerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerBuilder")
            .field("group", &self.group)
            .field("topics", &self.topics)
            .field("patterns", &self.patterns)
            .finish_non_exhaustive()
    }
}

impl ConsumerBuilder {
    pub(crate) fn new(client: Client, group: String) -> Self {
        Self {
            client,
            group,
            topics: Vec::new(),
            patterns: Vec::new(),
            instance_id: String::new(),
            client_id: String::new(),
            session_timeout: Duration::from_secs(45),
            rebalance_timeout: Duration::from_secs(60),
            processing_timeout: Duration::from_secs(300),
            assignors: vec![Assignor::CooperativeSticky],
            reset: OffsetReset::default(),
            commit: Commit::Every(Duration::from_secs(5)),
            prefetch_bytes: 16 * 1024 * 1024,
            response_bytes_max: 1024 * 1024,
            may_follow: false,
            verify_checksums: true,
            retry_timeout: Some(Duration::from_secs(120)),
            listener: Box::new(Silent),
        }
    }

    /// Topics by name. One that does not exist yet is read from its first record when it does.
    pub fn topics(mut self, topics: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.topics.extend(topics.into_iter().map(Into::into));
        self
    }

    /// Topics by pattern: `*` stands for any characters, also none, and `?` for one. Topics that match and are created
    /// later are read from their first record.
    pub fn patterns(mut self, patterns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.patterns.extend(patterns.into_iter().map(Into::into));
        self
    }

    /// A name that this member of the group keeps over restarts: when it is back within the session time-out it gets the
    /// partitions that it had, and nothing moves. So it does not leave when it is closed. No two members may have the same.
    /// Default: none.
    pub fn instance_id(mut self, id: impl Into<String>) -> Self {
        self.instance_id = id.into();
        self
    }

    /// What this member is called, for people who look at the group. Default: nothing.
    pub fn client_id(mut self, id: impl Into<String>) -> Self {
        self.client_id = id.into();
        self
    }

    /// After so long a silence the group takes this member for dead and shares out its partitions. Heartbeats are sent
    /// three times as often. Default 45 seconds.
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.session_timeout = timeout;
        self
    }

    /// How long this member may take to give up partitions that are to go to another one. Half of it waits for the record
    /// that the program is busy with. Default 60 seconds.
    pub fn rebalance_timeout(mut self, timeout: Duration) -> Self {
        self.rebalance_timeout = timeout;
        self
    }

    /// How long the program may be busy with one record, or batch, while others wait, before it is taken to hang: then
    /// heartbeats stop, so that the session times out and other members get the partitions. Default 5 minutes.
    pub fn processing_timeout(mut self, timeout: Duration) -> Self {
        self.processing_timeout = timeout;
        self
    }

    /// How partitions may be shared out, the preferred way first. All members of a group need one in common. Default
    /// [`Assignor::CooperativeSticky`].
    pub fn assignors(mut self, assignors: impl IntoIterator<Item = Assignor>) -> Self {
        self.assignors = assignors.into_iter().collect();
        self
    }

    /// Where to read from when the group has no offset, or its record is not kept any more. Default
    /// [`OffsetReset::Earliest`].
    pub fn on_no_offset(mut self, reset: OffsetReset) -> Self {
        self.reset = reset;
        self
    }

    /// Who commits. Default: the consumer, every 5 seconds.
    pub fn commit(mut self, commit: Commit) -> Self {
        self.commit = commit;
        self
    }

    /// The most bytes that the server sends ahead, over all partitions together; one batch may exceed it. Default 16 MiB,
    /// at least 64 KiB.
    pub fn prefetch_bytes(mut self, bytes: usize) -> Self {
        self.prefetch_bytes = bytes;
        self
    }

    /// The most bytes of batches in one message; one batch that is larger is sent whole. Default 1 MiB, at most
    /// [`limits::READ_BYTES_MAX`].
    pub fn response_bytes_max(mut self, bytes: usize) -> Self {
        self.response_bytes_max = bytes.clamp(1, limits::READ_BYTES_MAX);
        self
    }

    /// Whether replicas that do not lead may be read. What was just acknowledged may take a little longer to come. Default
    /// false.
    pub fn from_follower(mut self, may_follow: bool) -> Self {
        self.may_follow = may_follow;
        self
    }

    /// Whether the CRC-32C of each batch is checked. Default true.
    pub fn verify_checksums(mut self, verify: bool) -> Self {
        self.verify_checksums = verify;
        self
    }

    /// How long the group cannot be reached before the consumer tells; `None`: it never does. It tries again all the
    /// while, also after it told. Default 120 seconds.
    pub fn retry_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.retry_timeout = timeout;
        self
    }

    /// Who is told when partitions come and go. Default: nobody.
    pub fn on_rebalance(mut self, listener: impl RebalanceListener) -> Self {
        self.listener = Box::new(listener);
        self
    }

    /// Joins the group. Returns when the group has taken this member in; its partitions may come a little later.
    ///
    /// # Errors
    /// When neither a topic nor a pattern is given, a name is none, the group refuses, or it cannot be reached for as long
    /// as the retry timeout.
    pub async fn open(self) -> Result<Consumer, ConsumeError> {
        Consumer::open(self).await
    }

    /// The first message of a stream, but for what changes between streams.
    pub(super) fn session_open(&self) -> v1::SessionOpen {
        let millis = |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX).max(1);
        v1::SessionOpen {
            group: self.group.clone(),
            instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            session_timeout_ms: millis(self.session_timeout),
            rebalance_timeout_ms: millis(self.rebalance_timeout),
            assignors: self.assignors.iter().map(|assignor| assignor.name().to_owned()).collect(),
            reset: self.reset.to_wire().into(),
            form: v1::Form::Batches.into(),
            bytes_max: u32::try_from(self.response_bytes_max).unwrap_or(u32::MAX),
            may_follow: self.may_follow,
            ..v1::SessionOpen::default()
        }
    }
}
