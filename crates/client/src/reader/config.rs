//! The settings of a reader.

use std::time::Duration;

use highwater_types::{PartitionId, limits};

use super::partition::OutOfRange;
use super::{ReadError, Reader};
use crate::client::Client;
use crate::position::Position;

/// Settings of a [`Reader`]; made by [`Client::reader`]. The topic is the only one that is needed.
///
/// ```no_run
/// # async fn example(client: highwater_client::Client) -> Result<(), highwater_client::ReadError> {
/// use highwater_client::{PartitionId, Position, Timestamp};
/// let reader = client
///     .reader()
///     .topic("orders")
///     .partitions([PartitionId::new(0), PartitionId::new(1)])
///     .from(Timestamp::from_ms(1_700_000_000_000))
///     .stop_at_end()
///     .open()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `open` is called"]
pub struct ReaderBuilder {
    pub(super) client: Client,
    pub(super) topic: String,
    /// Empty: all.
    pub(super) partitions: Vec<PartitionId>,
    pub(super) from: Position,
    pub(super) until: Option<Position>,
    pub(super) prefetch_bytes: usize,
    pub(super) response_bytes_max: usize,
    pub(super) bytes_min: usize,
    pub(super) wait: Duration,
    pub(super) verify_checksums: bool,
    pub(super) may_follow: bool,
    pub(super) out_of_range: OutOfRange,
    pub(super) retry_timeout: Option<Duration>,
}

impl ReaderBuilder {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            topic: String::new(),
            partitions: Vec::new(),
            from: Position::Start,
            until: None,
            prefetch_bytes: 16 * 1024 * 1024,
            response_bytes_max: 1024 * 1024,
            bytes_min: 1,
            wait: Duration::ZERO,
            verify_checksums: true,
            may_follow: false,
            out_of_range: OutOfRange::default(),
            retry_timeout: Some(Duration::from_secs(120)),
        }
    }

    /// The topic to read.
    pub fn topic(mut self, name: impl Into<String>) -> Self {
        self.topic = name.into();
        self
    }

    /// The partitions to read. Without this, or with none: all that the topic has; and, unless there is a place to stop,
    /// those that it gets later, from their first record on.
    pub fn partitions(mut self, partitions: impl IntoIterator<Item = PartitionId>) -> Self {
        self.partitions = partitions.into_iter().collect();
        self
    }

    /// Where to start, in each partition. Default [`Position::Start`].
    pub fn from(mut self, position: impl Into<Position>) -> Self {
        self.from = position.into();
        self
    }

    /// Where to stop, in each partition: before the record at this position, as it is when the reader is opened.
    pub fn until(mut self, position: impl Into<Position>) -> Self {
        self.until = Some(position.into());
        self
    }

    /// Stop after the last record that is committed when the reader is opened.
    pub fn stop_at_end(self) -> Self {
        self.until(Position::End)
    }

    /// The most bytes that the server sends ahead of what was asked for, over all partitions together; each may exceed
    /// its share by one batch. Default 16 MiB; at least 64 KiB a partition.
    pub fn prefetch_bytes(mut self, bytes: usize) -> Self {
        self.prefetch_bytes = bytes;
        self
    }

    /// The most bytes of batches in one response; one batch that is larger is sent whole. Default 1 MiB, at most
    /// [`limits::READ_BYTES_MAX`].
    pub fn response_bytes_max(mut self, bytes: usize) -> Self {
        self.response_bytes_max = bytes.clamp(1, limits::READ_BYTES_MAX);
        self
    }

    /// Let the server gather so many bytes before it sends, for at most `wait` (to the millisecond, at most 60 seconds).
    /// Default: send whatever there is.
    pub fn gather(mut self, bytes_min: usize, wait: Duration) -> Self {
        self.bytes_min = bytes_min;
        self.wait = wait.min(Duration::from_millis(limits::READ_WAIT_MS_MAX));
        self
    }

    /// Whether the CRC-32C of each batch is checked. Default true.
    pub fn verify_checksums(mut self, verify: bool) -> Self {
        self.verify_checksums = verify;
        self
    }

    /// Whether replicas that do not lead may be read. They know of committed records a little later than the leader, so
    /// what was just acknowledged may take longer to come; nothing is left out or comes twice. Default false.
    pub fn from_follower(mut self, may_follow: bool) -> Self {
        self.may_follow = may_follow;
        self
    }

    /// What to do when the position is not there (any more). Default [`OutOfRange::Error`].
    pub fn on_out_of_range(mut self, policy: OutOfRange) -> Self {
        self.out_of_range = policy;
        self
    }

    /// How long a partition that cannot be read is tried before the reader tells; `None` tries for ever. Default 120
    /// seconds. After it told, asking for more tries again.
    pub fn retry_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.retry_timeout = timeout;
        self
    }

    /// Finds the partitions and positions, and starts to read.
    ///
    /// # Errors
    /// When the topic, a partition or a position cannot be found.
    pub async fn open(self) -> Result<Reader, ReadError> {
        Reader::open(self).await
    }
}
