//! Reading partitions from any position: live, or as a replay of a range.
//!
//! ```text
//!   stream of partition 0 ─┐  the server sends ahead while it has credit
//!   stream of partition 1 ─┼─► Reader ─► batches ─► records        asking gives new credit
//!   stream of partition 2 ─┘
//! ```
//! Owns no task: streams make progress while the reader is asked, and the connections keep what is sent ahead meanwhile.
//! A reader of a whole topic, without a limit, reads the partitions too that the topic gets later.
//!
//! Invariants: within a partition offsets only grow, and nothing is given out twice or left out, whatever breaks; what is
//! held is bounded by `prefetch_bytes` and a batch for each partition.

mod batch;
mod config;
mod error;
mod growth;
mod partition;

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::future::{AbortHandle, Abortable, BoxFuture};
use futures_util::stream::{FuturesUnordered, Stream, StreamExt};
use highwater_types::{Offset, OffsetRange, PartitionId, TopicName};

use self::growth::Growth;
use self::partition::{Fetched, PartitionOptions, PartitionReader};
use crate::admin::{Cluster, Partition, Topic};
use crate::client::Client;
use crate::connection::Purpose;
use crate::finder::Finder;
use crate::position::Position;
use crate::read_service;
use crate::request::RequestError;

pub use batch::{ReadBatch, ReadRecord, ReadRecords};
pub use config::ReaderBuilder;
pub use error::ReadError;
pub use partition::OutOfRange;

/// Less credit than this would have the server wait for every response to be taken.
const CREDIT_BYTES_MIN: usize = 64 * 1024;

type Step = (PartitionReader, Result<Fetched, ReadError>);

/// Reads partitions of one topic from any position on. Made by [`Client::reader`].
///
/// Records of one partition come in order; those of several partitions come as they arrive. It ends when every partition
/// has come to its limit, if it was given one; else it waits for what comes.
///
/// ```no_run
/// # async fn example(client: highwater_client::Client) -> Result<(), highwater_client::ReadError> {
/// let mut reader = client.reader().topic("orders").stop_at_end().open().await?;
/// while let Some(record) = reader.next_record().await {
///     let record = record?;
///     println!("{} {}: {:?}", record.partition, record.offset, record.value);
/// }
/// # Ok(())
/// # }
/// ```
///
/// It is a [`Stream`] of records, too, and [`Reader::next_batch`] gives whole batches to those who want the last bit of
/// speed.
pub struct Reader {
    client: Client,
    topic: TopicName,
    options: PartitionOptions,
    /// Where replicas are that do not lead, when they may be read.
    followers: BTreeMap<PartitionId, Arc<str>>,
    assigned: BTreeMap<PartitionId, Assigned>,
    /// What comes to be read too; nothing for a reader of certain partitions, or up to a limit.
    growth: Option<Growth>,
    fetching: FuturesUnordered<Abortable<BoxFuture<'static, Step>>>,
    ready: VecDeque<ReadBatch>,
    current: Option<ReadRecords>,
}

/// A partition that the reader reads.
#[derive(Debug)]
struct Assigned {
    /// The offset after the last record or batch that was given out.
    position: Offset,
    until: Option<Offset>,
    high_watermark: Option<Offset>,
    fetching: AbortHandle,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("topic", &self.topic).field("assigned", &self.assigned).finish_non_exhaustive()
    }
}

impl Reader {
    async fn open(settings: ReaderBuilder) -> Result<Self, ReadError> {
        let failed = |source| ReadError::Topic { topic: settings.topic.clone(), source };
        let topic = TopicName::new(&settings.topic)
            .map_err(|reason| failed(RequestError::InvalidTopicName { name: settings.topic.clone(), reason }))?;
        let mut partitions = settings.partitions.clone();
        let mut followers = BTreeMap::new();
        if partitions.is_empty() || settings.may_follow {
            let admin = settings.client.admin();
            let described = admin.describe_topic(&settings.topic).await.map_err(failed)?;
            if settings.may_follow {
                followers = followers_of(&described.topic, &admin.describe_cluster().await.map_err(failed)?);
            }
            if partitions.is_empty() {
                partitions = described.topic.partitions.iter().map(|partition| partition.partition).collect();
            }
        }
        partitions.sort_unstable();
        partitions.dedup();
        let share = settings.prefetch_bytes / partitions.len().max(1);
        let options = PartitionOptions {
            credit_bytes: share.max(CREDIT_BYTES_MIN) as u64,
            response_bytes_max: u32::try_from(settings.response_bytes_max.min(share.max(CREDIT_BYTES_MIN)))
                .unwrap_or(u32::MAX),
            bytes_min: u32::try_from(settings.bytes_min).unwrap_or(u32::MAX),
            wait: settings.wait,
            verify_checksums: settings.verify_checksums,
            may_follow: settings.may_follow,
            out_of_range: settings.out_of_range,
            retry_timeout: settings.retry_timeout,
        };
        let mut reader = Self {
            client: settings.client.clone(),
            topic,
            options,
            followers,
            assigned: BTreeMap::new(),
            growth: None,
            fetching: FuturesUnordered::new(),
            ready: VecDeque::new(),
            current: None,
        };
        let all = |position: Position| partitions.iter().map(move |partition| (*partition, position));
        let (client, topic) = (&settings.client, reader.topic.clone());
        let starts = resolve(client, &topic, &all(settings.from).collect::<Vec<_>>()).await?;
        let ends = match settings.until {
            Some(until) => {
                resolve(client, &topic, &all(until).collect::<Vec<_>>()).await?.into_iter().map(Some).collect()
            }
            None => vec![None; partitions.len()],
        };
        for ((partition, mut start), until) in partitions.into_iter().zip(starts).zip(ends) {
            if let Some(end) = until.filter(|end| settings.until == Some(Position::End) && start > *end) {
                start = beyond_the_end(client, &topic, settings.out_of_range, partition, start, end).await?;
            }
            reader.start(partition, start, until);
        }
        if settings.partitions.is_empty() && settings.until.is_none() {
            reader.growth = Some(Growth::new(&settings.client, &reader.topic, reader.assigned.len()));
        }
        Ok(reader)
    }

    /// Starts to read a partition, instead of what was read of it before.
    fn start(&mut self, partition: PartitionId, position: Offset, until: Option<Offset>) {
        self.stop(partition);
        let reader = PartitionReader {
            client: Arc::clone(&self.client.shared),
            topic: self.topic.clone(),
            partition,
            position,
            until,
            options: self.options,
            slot: self.client.shared.connections.slot(Purpose::Read),
            finder: Finder::starting_at(self.followers.get(&partition).cloned()),
            stream: None,
            failing_since: None,
        };
        let fetching = self.fetch(reader);
        self.assigned.insert(partition, Assigned { position, until, high_watermark: None, fetching });
    }

    fn fetch(&self, mut reader: PartitionReader) -> AbortHandle {
        let (handle, registration) = AbortHandle::new_pair();
        let step: BoxFuture<'static, Step> = Box::pin(async move {
            let fetched = reader.next().await;
            (reader, fetched)
        });
        self.fetching.push(Abortable::new(step, registration));
        handle
    }

    fn stop(&mut self, partition: PartitionId) {
        if let Some(assigned) = self.assigned.remove(&partition) {
            assigned.fetching.abort();
        }
        self.ready.retain(|batch| batch.partition() != partition);
        self.current.take_if(|records| records.batch().partition() == partition);
    }

    /// A batch turned out to be unreadable: its partition stays where that was found.
    fn halt(&mut self, error: ReadError) -> ReadError {
        if let ReadError::Batch { partition, offset, .. } = &error {
            let before = self.assigned.get(partition).map(|assigned| (assigned.until, assigned.high_watermark));
            self.stop(*partition);
            let (until, high_watermark) = before.unwrap_or_default();
            let (fetching, _) = AbortHandle::new_pair();
            self.assigned.insert(*partition, Assigned { position: *offset, until, high_watermark, fetching });
        }
        error
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &TopicName {
        &self.topic
    }

    /// The partitions that are read.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionId> + '_ {
        self.assigned.keys().copied()
    }

    /// The offset of the next record of a partition; `None` when it is not read.
    ///
    /// To go on there another time, keep this and give it to [`ReaderBuilder::from`].
    #[must_use]
    pub fn position(&self, partition: PartitionId) -> Option<Offset> {
        match &self.current {
            Some(records) if records.batch().partition() == partition => Some(records.next_offset()),
            _ => self.assigned.get(&partition).map(|assigned| assigned.position),
        }
    }

    /// The first offset of a partition that was not committed when the server last sent something; `None` before that.
    #[must_use]
    pub fn high_watermark(&self, partition: PartitionId) -> Option<Offset> {
        self.assigned.get(&partition)?.high_watermark
    }

    /// Goes on reading a partition from another position. What was sent ahead is dropped.
    ///
    /// # Errors
    /// When the reader does not read that partition, or the position cannot be found.
    pub async fn seek(&mut self, partition: PartitionId, position: impl Into<Position>) -> Result<(), ReadError> {
        let Some(assigned) = self.assigned.get(&partition) else {
            return Err(ReadError::NotAssigned { topic: self.topic.clone(), partition });
        };
        let until = assigned.until;
        let offsets = resolve(&self.client, &self.topic, &[(partition, position.into())]).await?;
        for offset in offsets {
            self.start(partition, offset, until);
        }
        Ok(())
    }

    /// Reads these partitions from these positions on, without a limit, and no others.
    ///
    /// A partition keeps the credit that it had a share in when the reader was opened.
    ///
    /// # Errors
    /// When a position cannot be found; the reader then reads what it read before.
    pub async fn assign(&mut self, partitions: &[(PartitionId, Position)]) -> Result<(), ReadError> {
        let offsets = resolve(&self.client, &self.topic, partitions).await?;
        self.growth = None;
        let before: Vec<_> = self.assigned.keys().copied().collect();
        before.into_iter().for_each(|partition| self.stop(partition));
        for ((partition, _), offset) in partitions.iter().zip(offsets) {
            self.start(*partition, offset, None);
        }
        Ok(())
    }

    /// The next record; `None` when every partition has come to its limit. Dropping the future loses nothing.
    pub async fn next_record(&mut self) -> Option<Result<ReadRecord, ReadError>> {
        self.next().await
    }

    /// The next batch, or what [`Reader::next_record`] has left of one. Dropping the future loses nothing.
    ///
    /// The batch counts as read: the position moves past it.
    pub async fn next_batch(&mut self) -> Option<Result<ReadBatch, ReadError>> {
        poll_fn(|context| self.poll_batch(context)).await
    }

    fn poll_batch(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<ReadBatch, ReadError>>> {
        if let Some(records) = self.current.take() {
            let next = records.next_offset();
            let rest = records.batch().clone().starting_at(next);
            if next < rest.next_offset() {
                return Poll::Ready(Some(Ok(rest)));
            }
        }
        while let Some(Poll::Ready(new)) = self.growth.as_mut().map(|growth| growth.poll(context)) {
            new.into_iter().for_each(|(partition, offset)| self.start(partition, offset, None));
        }
        loop {
            if let Some(batch) = self.ready.pop_front() {
                if let Some(assigned) = self.assigned.get_mut(&batch.partition()) {
                    assigned.position = batch.next_offset();
                }
                return Poll::Ready(Some(Ok(batch)));
            }
            let (reader, fetched) = match ready!(self.fetching.poll_next_unpin(context)) {
                Some(Ok(step)) => step,
                // Stopped by a seek or an assignment.
                Some(Err(_aborted)) => continue,
                None => return Poll::Ready(None),
            };
            if let Some(error) = self.on_fetched(reader, fetched) {
                return Poll::Ready(Some(Err(error)));
            }
        }
    }

    fn on_fetched(&mut self, reader: PartitionReader, fetched: Result<Fetched, ReadError>) -> Option<ReadError> {
        let partition = reader.partition;
        let (goes_on, error) = match fetched {
            Ok(Fetched::Batches { batches, high_watermark }) => {
                self.ready.extend(batches);
                if let Some(assigned) = self.assigned.get_mut(&partition) {
                    assigned.high_watermark = high_watermark;
                }
                (true, None)
            }
            Ok(Fetched::End) => (false, None),
            Err(error) => (error.is_retryable(), Some(error)),
        };
        if goes_on {
            let fetching = self.fetch(reader);
            if let Some(assigned) = self.assigned.get_mut(&partition) {
                assigned.fetching = fetching;
            }
        }
        error
    }
}

/// The offsets of positions, in their order; asks the server only for those that are none.
///
/// Borrows no [`Reader`], whose futures are `Send` only while they hold no shared reference to it.
async fn resolve(
    client: &Client,
    topic: &TopicName,
    positions: &[(PartitionId, Position)],
) -> Result<Vec<Offset>, ReadError> {
    let failed = |source| ReadError::Topic { topic: topic.as_str().to_owned(), source };
    let is_question = |position: &Position| !matches!(position, Position::Offset(_));
    let questions: Vec<_> = positions.iter().filter(|(_, position)| is_question(position)).copied().collect();
    let mut answers = if questions.is_empty() {
        Vec::new().into_iter()
    } else {
        read_service::lookup(&client.shared, topic.as_str(), &questions).await.map_err(failed)?.into_iter()
    };
    let incomplete = RequestError::Incomplete { request: "lookup_offsets", missing: "a partition's offset" };
    let offset = |(partition, position): &(PartitionId, Position)| match position {
        Position::Offset(offset) => Ok(*offset),
        _ => answers
            .next()
            .filter(|answer| answer.partition == partition.get())
            .and_then(|answer| Offset::from_wire(answer.offset))
            .ok_or_else(|| failed(incomplete.clone())),
    };
    positions.iter().map(offset).collect()
}

/// For each partition a replica that does not lead it, the reading spread over them; none where only the leader is.
fn followers_of(topic: &Topic, cluster: &Cluster) -> BTreeMap<PartitionId, Arc<str>> {
    let address = |node| cluster.nodes.iter().find(|known| known.id == node && !known.is_fenced);
    let follower = |partition: &Partition| {
        let others = partition.replicas.iter().filter(|node| Some(**node) != partition.leader);
        let others: Vec<_> = others.filter_map(|node| address(*node)).collect();
        let chosen = others.get(partition.partition.get() as usize % others.len().max(1))?;
        Some((partition.partition, Arc::from(chosen.address.as_str())))
    };
    topic.partitions.iter().filter_map(follower).collect()
}

/// Where to start instead of at an offset after the end, where nothing would be read and nobody would be told.
async fn beyond_the_end(
    client: &Client,
    topic: &TopicName,
    policy: OutOfRange,
    partition: PartitionId,
    offset: Offset,
    end: Offset,
) -> Result<Offset, ReadError> {
    let log_start = resolve(client, topic, &[(partition, Position::Start)]).await?.into_iter().next().unwrap_or(end);
    match policy {
        OutOfRange::Earliest => Ok(log_start),
        OutOfRange::Latest => Ok(end),
        OutOfRange::Error => {
            let valid = Some(OffsetRange::new(log_start, end));
            Err(ReadError::OutOfRange { topic: topic.clone(), partition, offset, valid })
        }
    }
}

impl Stream for Reader {
    type Item = Result<ReadRecord, ReadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(records) = &mut this.current {
                match records.next() {
                    Some(Ok(record)) => return Poll::Ready(Some(Ok(record))),
                    Some(Err(error)) => return Poll::Ready(Some(Err(this.halt(error)))),
                    None => this.current = None,
                }
            }
            match ready!(this.poll_batch(context)) {
                Some(Ok(batch)) => match batch.records() {
                    Ok(records) => this.current = Some(records),
                    Err(error) => return Poll::Ready(Some(Err(this.halt(error)))),
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}
