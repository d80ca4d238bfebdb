//! Putting records into topics: fast, in order, once.
//!
//! ```text
//!   send ─► room in memory? ─► topic ─► partition ─► accumulator ─┐      one a partition
//!                                                                 ▼
//!   Delivery ◄── settled, in order ◄── window (5 batches) ◄── sender ◄──► stream to the leader
//! ```
//! A record costs one lock and no task, channel or allocation; everything else is paid by the batch.
//!
//! Invariants: records of one partition are stored in the order in which they were sent; everything taken is settled,
//! within the delivery timeout; what is held is bounded by `memory_bytes`.

mod accumulator;
mod config;
mod delivery;
mod error;
mod identity;
mod sender;
mod topics;
mod window;

use std::sync::{Arc, Weak};
use std::time::Duration;

use highwater_types::{PartitionId, TopicName};

use self::accumulator::{Accumulator, AppendError, Batching};
use self::delivery::{Memory, settled};
use self::identity::Identities;
use self::sender::{Sender, SenderOptions};
use self::topics::{Topic, Topics};
use self::window::{Window, WindowOptions};
use crate::client::Client;
use crate::clock;
use crate::connection::Purpose;
use crate::finder::Finder;
use crate::growth;
use crate::record::Record;
use crate::request::RequestError;

pub use config::{Acks, ProducerBuilder};
pub use delivery::{Delivery, RecordMetadata};
pub use error::{ProduceError, SendError};

/// What a record costs beside its bytes, in the producer's memory: its framing, and the waker of its delivery.
const RECORD_OVERHEAD_BYTES: usize = 32;

/// Puts records into topics. Made by [`Client::producer`]; cheap to clone, and meant to be shared.
///
/// Dropping the last clone sends what was taken, but nothing waits for it: call [`Producer::flush`] or
/// [`Producer::close`] first.
///
/// ```no_run
/// # async fn example(client: highwater_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use highwater_client::Record;
///
/// let producer = client.producer().build();
/// for number in 0..1_000_000 {
///     // Waits only while the producer's memory is full. The deliveries are dropped; flush tells of failures.
///     drop(producer.send("numbers", Record::new(number.to_string())).await?);
/// }
/// producer.flush().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Producer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    topics: Topics,
    memory: Arc<Memory>,
    identities: Arc<Identities>,
    batching: Batching,
    window: WindowOptions,
    sender: SenderOptions,
}

impl Producer {
    fn new(settings: ProducerBuilder) -> Self {
        let answer_timeout = settings.client.shared.request_timeout;
        let shared = Shared {
            topics: Topics::default(),
            memory: Arc::new(Memory::new(settings.memory_bytes)),
            identities: Arc::default(),
            batching: Batching {
                compression: settings.compression,
                batch_bytes: settings.batch_bytes,
                linger: settings.linger,
            },
            window: WindowOptions {
                batches_max: settings.batches_in_flight_max,
                // Nobody hears whether a batch was stored, so its successors' sequences could not be judged.
                is_idempotent: settings.is_idempotent && settings.acks != Acks::None,
                repeats_unknown: settings.acks != Acks::None,
                delivery_timeout: settings.delivery_timeout,
                answer_timeout,
            },
            sender: SenderOptions {
                acks: settings.acks.to_wire(),
                delivery_timeout: settings.delivery_timeout,
                answer_timeout,
            },
            client: settings.client,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Takes a record, and returns the future that tells where it was stored.
    ///
    /// Waits only for room in the producer's memory; and, the first time, for the topic's partitions.
    ///
    /// # Errors
    /// When the record was not taken: no such topic or partition, too large, or the producer is closed.
    pub async fn send(&self, topic: &str, record: Record) -> Result<Delivery, SendError> {
        let shared = &self.shared;
        let topic = match shared.topics.get(topic) {
            Some(topic) => topic,
            None => shared.find(topic).await?,
        };
        let bytes = record.encoded_bytes_max() + RECORD_OVERHEAD_BYTES;
        let memory = &shared.memory;
        if bytes > memory.bytes_max() {
            return Err(SendError::LargerThanMemory { bytes, memory_bytes: memory.bytes_max() });
        }
        let accumulator = match topic.choose(&record) {
            Ok(accumulator) => accumulator,
            // The topic may have got it since it was last looked at.
            Err(_unknown) => {
                let failed = |source| SendError::Topic { topic: topic.name().as_str().into(), source };
                shared.grow(&topic).await.map_err(failed)?;
                topic.choose(&record)?
            }
        };
        if !memory.try_acquire(bytes) {
            // What lingers now would only make this wait longer.
            shared.accumulators().for_each(|accumulator| drop(accumulator.hurry()));
            memory.acquire(bytes).await;
        }
        let timestamp = record.timestamp.unwrap_or_else(clock::timestamp);
        match accumulator.append(&record, timestamp, bytes, clock::now) {
            Ok(appended) => {
                if appended.sealed {
                    topic.on_sealed(&accumulator);
                }
                Ok(appended.delivery)
            }
            Err(error) => {
                memory.release(bytes);
                Err(match error {
                    AppendError::Closed => SendError::Closed,
                    AppendError::Record(error) => SendError::Record(error),
                })
            }
        }
    }

    /// Takes a record and waits until it is stored. One at a time this is slow: every record waits for its own fsync.
    ///
    /// # Errors
    /// When the record was not taken, or not acknowledged.
    pub async fn send_and_wait(&self, topic: &str, record: Record) -> Result<RecordMetadata, SendAndWaitError> {
        Ok(self.send(topic, record).await?.await?)
    }

    /// Sends everything that was taken before this call, without lingering, and waits until it is settled.
    ///
    /// # Errors
    /// With the first failure among the records settled since the last flush. Each record's own [`Delivery`] tells more.
    pub async fn flush(&self) -> Result<(), ProduceError> {
        let accumulators: Vec<_> = self.shared.accumulators().collect();
        let newest: Vec<_> = accumulators.iter().filter_map(|accumulator| accumulator.hurry()).collect();
        for batch in newest {
            settled(batch).await;
        }
        // All are asked, so that none reports an old failure the next time.
        let failures: Vec<_> = accumulators.iter().filter_map(|accumulator| accumulator.take_failure()).collect();
        failures.into_iter().next().map_or(Ok(()), Err)
    }

    /// Takes no further record, from any clone, and waits until everything that was taken is settled.
    ///
    /// # Errors
    /// As [`Producer::flush`].
    pub async fn close(&self) -> Result<(), ProduceError> {
        self.shared.topics.close();
        self.shared.accumulators().for_each(|accumulator| accumulator.close());
        self.flush().await
    }
}

impl Shared {
    fn accumulators(&self) -> impl Iterator<Item = Arc<Accumulator>> {
        self.topics.all().into_iter().flat_map(|topic| topic.partitions().to_vec())
    }

    /// Asks for a topic that the producer has not sent to before.
    async fn find(self: &Arc<Self>, name: &str) -> Result<Arc<Topic>, SendError> {
        if self.topics.is_closed() {
            return Err(SendError::Closed);
        }
        let failed = |source| SendError::Topic { topic: name.into(), source };
        let checked = TopicName::new(name)
            .map_err(|reason| failed(RequestError::InvalidTopicName { name: name.to_owned(), reason }))?;
        let count = growth::partition_count(&self.client, name).await.map_err(failed)?;
        // Two first records may both have asked; one of them makes the topic.
        let topic = self.topics.get_or_insert(&checked, || {
            let topic = Topic::new(checked.clone(), self.start(&checked, &[], count), clock::chance());
            tokio::spawn(watch(Arc::downgrade(self), checked.clone(), self.client.shared.topics_refresh));
            topic
        });
        topic.ok_or(SendError::Closed)
    }

    /// Looks whether a topic has more partitions, and begins to send to them.
    async fn grow(&self, topic: &Topic) -> Result<(), RequestError> {
        let count = growth::partition_count(&self.client, topic.name().as_str()).await?;
        topic.grow(count, |known| self.start(topic.name(), known, count));
        if self.topics.is_closed() {
            self.accumulators().for_each(|accumulator| accumulator.close());
        }
        Ok(())
    }

    /// The `known` partitions and senders for those up to `count`.
    fn start(&self, topic: &TopicName, known: &[Arc<Accumulator>], count: usize) -> Arc<[Arc<Accumulator>]> {
        let new = (known.len()..count).map(|number| {
            let partition = PartitionId::new(u32::try_from(number).unwrap_or(u32::MAX));
            let accumulator = Arc::new(Accumulator::new(topic, partition, self.batching, &self.memory));
            tokio::spawn(self.sender(&accumulator).run());
            accumulator
        });
        known.iter().cloned().chain(new).collect()
    }

    fn sender(&self, accumulator: &Arc<Accumulator>) -> Sender {
        Sender {
            client: Arc::clone(&self.client.shared),
            accumulator: Arc::clone(accumulator),
            identities: Arc::clone(&self.identities),
            window: Window::new(self.window),
            options: self.sender.clone(),
            slot: self.client.shared.connections.slot(Purpose::Produce),
            finder: Finder::default(),
            last_failure: None,
            had_identity: false,
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The senders deliver what they have and end.
        self.accumulators().for_each(|accumulator| accumulator.close());
    }
}

/// Looks from time to time whether a topic has grown, for as long as its producer lives.
async fn watch(producer: Weak<Shared>, name: TopicName, every: Duration) {
    loop {
        growth::pause(every).await;
        let Some(producer) = producer.upgrade() else { return };
        let Some(topic) = producer.topics.get(name.as_str()) else { return };
        if let Err(error) = producer.grow(&topic).await {
            tracing::debug!(topic = %name, %error, "a topic's partitions could not be asked for");
        }
    }
}

/// Why a record that was to be sent and waited for is not stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendAndWaitError {
    /// It was not taken.
    #[error(transparent)]
    Send(#[from] SendError),
    /// It was taken, and not acknowledged.
    #[error(transparent)]
    Produce(#[from] ProduceError),
}

impl SendAndWaitError {
    /// Whether sending the record again may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Send(error) => error.is_retryable(),
            Self::Produce(error) => error.is_retryable(),
        }
    }

    /// What is known about the record: certainly not stored, or perhaps.
    #[must_use]
    pub fn outcome(&self) -> crate::error::Outcome {
        match self {
            Self::Send(_) => crate::error::Outcome::NotDone,
            Self::Produce(error) => error.outcome(),
        }
    }
}
