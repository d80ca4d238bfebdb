//! The settings of a producer.

use std::time::Duration;

use highwater_proto::v1;
use highwater_types::batch::Compression;
use highwater_types::limits;

use super::Producer;
use crate::client::Client;

/// When a record counts as stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Acks {
    /// As soon as the server has it. It may still be lost, its offset is not told, and it is never sent again once it may
    /// have arrived.
    None,
    /// Written by the partition's leader, not yet fsynced. Lost if that node loses power or its leadership, and then the
    /// offset that was told may become another record's. Readers see it only once it is as safe as with [`Acks::Quorum`].
    Leader,
    /// Written and fsynced by a majority of the partition's replicas: nothing acknowledged is lost. The default.
    #[default]
    Quorum,
}

impl Acks {
    pub(super) fn to_wire(self) -> v1::Acks {
        match self {
            Self::None => v1::Acks::None,
            Self::Leader => v1::Acks::Leader,
            Self::Quorum => v1::Acks::Quorum,
        }
    }
}

/// Settings of a [`Producer`]; made by [`Client::producer`].
///
/// ```no_run
/// # fn example(client: highwater_client::Client) {
/// use std::time::Duration;
/// use highwater_client::Compression;
/// let producer = client
///     .producer()
///     .compression(Compression::Zstd)
///     .linger(Duration::from_millis(5))
///     .memory_bytes(64 * 1024 * 1024)
///     .build();
/// # let _ = producer;
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct ProducerBuilder {
    pub(super) client: Client,
    pub(super) acks: Acks,
    pub(super) compression: Compression,
    pub(super) batch_bytes: usize,
    pub(super) linger: Duration,
    pub(super) memory_bytes: usize,
    pub(super) delivery_timeout: Duration,
    pub(super) is_idempotent: bool,
    pub(super) batches_in_flight_max: usize,
}

impl ProducerBuilder {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            acks: Acks::default(),
            compression: Compression::None,
            batch_bytes: 256 * 1024,
            linger: Duration::ZERO,
            memory_bytes: 32 * 1024 * 1024,
            delivery_timeout: Duration::from_secs(120),
            is_idempotent: true,
            batches_in_flight_max: limits::PRODUCER_BATCHES_IN_FLIGHT_MAX,
        }
    }

    /// When a record counts as stored. Default [`Acks::Quorum`].
    ///
    /// [`Acks::None`] switches idempotence off.
    pub fn acks(mut self, acks: Acks) -> Self {
        self.acks = acks;
        self
    }

    /// How batches are compressed. Default [`Compression::None`].
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// A batch takes no further record beyond so many bytes, counted before compression; a larger record travels alone.
    /// Default 256 KiB. At most [`limits::BATCH_BYTES_MAX`], to which a larger value is lowered; a topic may allow less.
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.batch_bytes = bytes.min(limits::BATCH_BYTES_MAX);
        self
    }

    /// How long a batch that is not full waits for more records. Default zero: a record goes at once while the producer
    /// is idle, and records gather while as many earlier ones are under way, so batches grow under load by themselves.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// The most bytes of records that were taken and are not settled; [`Producer::send`] waits while it is full.
    /// Default 32 MiB. Batches under way are held a second time, encoded, by the connection.
    pub fn memory_bytes(mut self, bytes: usize) -> Self {
        self.memory_bytes = bytes;
        self
    }

    /// How long a record is tried, from when it was taken. Default 120 seconds.
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.delivery_timeout = timeout;
        self
    }

    /// Whether the server stores each batch once however often it is sent. Default true.
    ///
    /// Without it, a retry may store records twice, and may store them after later ones of the same partition.
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.is_idempotent = idempotent;
        self
    }

    /// The most batches under way to one partition. Default 5, which is also the most an idempotent producer may have;
    /// other values are brought between 1 and 5. With 1 and without idempotence, retries keep the order.
    pub fn batches_in_flight_max(mut self, batches: usize) -> Self {
        self.batches_in_flight_max = batches.clamp(1, limits::PRODUCER_BATCHES_IN_FLIGHT_MAX);
        self
    }

    /// The producer. Connects and asks for topics when records come.
    #[must_use]
    pub fn build(self) -> Producer {
        Producer::new(self)
    }
}
