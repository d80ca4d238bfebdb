//! Reading topics together with others: as one member of a group that shares partitions and remembers how far it is.
//!
//! ```text
//!   program ◄── records ── state ◄──► session (a task) ◄──► stream to the group's coordinator
//!           ─── asks, commits, seeks ─►                heartbeats, credit, commits, what is given and revoked
//! ```
//! Owns one task and one stream, however many partitions there are. The task lives on while the program is busy.
//!
//! Invariants: within a partition records come in order, each once for as long as the partition is held, whatever breaks; a
//! record is committed unasked only when the program came back for the next one; what is held is bounded by the credit.

mod commit;
mod commits;
mod config;
mod credit;
mod error;
mod held;
mod progress;
mod rebalance;
mod records;
mod session;
mod shared;
mod state;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{Stream, StreamExt};
use highwater_proto::v1;
use highwater_types::{Offset, PartitionId, TopicName};
use tokio::task::JoinHandle;

use self::held::Mark;
use self::progress::Progress;
use self::session::{Session, Timing};
use self::shared::Shared;
use self::state::{State, StateOptions};
use crate::clock;
use crate::connection::Purpose;
use crate::finder::Finder;
use crate::position::Position;
use crate::reader::{ReadBatch, ReadRecord};

pub use commit::{CommitOffset, PendingCommit};
pub use config::{Assignor, Commit, ConsumerBuilder, OffsetReset};
pub use error::ConsumeError;
pub use rebalance::{AssignedPartition, RebalanceListener, TopicPartitionName};

/// Less credit than this would have the server wait for every message to be taken.
const CREDIT_BYTES_MIN: usize = 64 * 1024;
/// Heartbeats in a session time-out.
const HEARTBEATS: u32 = 3;

/// Reads topics as a member of a group, which shares their partitions among its members. Made by [`Client::consumer`](crate::Client::consumer).
///
/// Every group gets every record; within a group each record goes to one member. The group remembers how far it has read:
/// a member that joins goes on where the group was. Delivery is *at least once*: with [`Commit::Every`], the default, a
/// record counts as done when the program asks for the next one, and only what is done is committed. After a crash, what
/// was done since the last commit comes again.
///
/// ```no_run
/// # async fn example(client: highwater_client::Client) -> Result<(), highwater_client::ConsumeError> {
/// let mut consumer = client.consumer("invoices").topics(["orders"]).open().await?;
/// while let Some(record) = consumer.next_record().await {
///     let record = record?;
///     println!("{}-{} {}: {:?}", record.topic, record.partition, record.offset, record.value);
/// }
/// consumer.close().await
/// # }
/// ```
///
/// It is a [`Stream`] of records, too. Whoever works on several records at once, for instance with `buffered`, asks for the
/// next one before the last is done, and should use [`Commit::Manual`].
///
/// [`Consumer::close`] commits what is done and leaves the group, so that others take over at once. A consumer that is only
/// dropped leaves, too, and commits nothing: what was done since the last commit comes again.
pub struct Consumer {
    group: String,
    shared: Arc<Shared>,
    task: JoinHandle<Result<(), ConsumeError>>,
    close_timeout: Duration,
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer").field("group", &self.group).finish_non_exhaustive()
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.shared.with(State::abandon);
    }
}

impl Consumer {
    async fn open(settings: ConsumerBuilder) -> Result<Self, ConsumeError> {
        let invalid = |reason| ConsumeError::Settings { group: settings.group.clone(), reason };
        if settings.group.is_empty() {
            return Err(invalid("a group needs a name"));
        }
        if [settings.session_timeout, settings.rebalance_timeout, settings.processing_timeout].contains(&Duration::ZERO)
        {
            return Err(invalid("a time-out needs time"));
        }
        let subscription = subscription(&settings.group, &settings.topics, &settings.patterns)?;
        let commit = match settings.commit {
            Commit::Every(every) if every.is_zero() => return Err(invalid("commits need time between them")),
            Commit::Every(every) => Some(every),
            Commit::Manual => None,
        };
        let prefetch_bytes = settings.prefetch_bytes.max(CREDIT_BYTES_MIN);
        let options = StateOptions {
            group: settings.group.clone(),
            is_automatic: commit.is_some(),
            is_static: !settings.instance_id.is_empty(),
            rebalance_timeout: settings.rebalance_timeout,
            prefetch_bytes,
        };
        let shared = Arc::new(Shared::new(State::new(options, subscription)));
        let client = Arc::clone(&settings.client.shared);
        let answer = client.request_timeout;
        let session = Session {
            shared: Arc::clone(&shared),
            open: settings.session_open(),
            timing: Timing {
                // A program that hangs is noticed with a heartbeat.
                heartbeat: (settings.session_timeout / HEARTBEATS).min(settings.processing_timeout / 2),
                commit,
                answer,
                join: settings.rebalance_timeout + answer,
                retry: settings.retry_timeout,
            },
            verify_checksums: settings.verify_checksums,
            slot: client.connections.slot(Purpose::Read),
            finder: Finder::default(),
            progress: Progress::new(settings.processing_timeout, clock::now()),
            failing_since: None,
            not_committed: None,
            listener: settings.listener,
            client,
        };
        let consumer = Self { group: settings.group, shared, task: tokio::spawn(session.run()), close_timeout: answer };
        poll_fn(|context| consumer.shared.poll_joined(context)).await?;
        Ok(consumer)
    }

    /// The group.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// What the group calls this member; `None` while it is out of the group.
    #[must_use]
    pub fn member_id(&self) -> Option<String> {
        self.shared.with(|state| state.member().map(|member| member.id.clone()))
    }

    /// The number that the group's present sharing of partitions has; `None` while this member is out of the group.
    #[must_use]
    pub fn generation(&self) -> Option<i32> {
        self.shared.with(|state| state.member().map(|member| member.generation))
    }

    /// The partitions that this consumer has.
    #[must_use]
    pub fn assignment(&self) -> Vec<TopicPartitionName> {
        self.shared.with(|state| state.assignment())
    }

    /// The offset of the next record of a partition; `None` when this consumer does not have it.
    #[must_use]
    pub fn position(&self, topic: &str, partition: PartitionId) -> Option<Offset> {
        let name = TopicPartitionName::new(TopicName::new(topic).ok()?, partition);
        self.shared.with(|state| state.position(&name))
    }

    /// The next record; the one before it is done. Waits for what comes; `None` only after an error that says that nothing
    /// will. Dropping the future loses nothing.
    pub async fn next_record(&mut self) -> Option<Result<ReadRecord, ConsumeError>> {
        self.next().await
    }

    /// The next batch, or what [`Consumer::next_record`] has left of one; what was given out before is done. Dropping the
    /// future loses nothing.
    pub async fn next_batch(&mut self) -> Option<Result<ReadBatch, ConsumeError>> {
        poll_fn(|context| self.shared.poll_batch(context)).await
    }

    /// Commits everything that was given out, the last record too, and waits for the answer.
    ///
    /// # Errors
    /// When offsets were refused, the member is out of its group, or the group cannot be reached for as long as the retry
    /// timeout.
    pub async fn commit(&mut self) -> Result<(), ConsumeError> {
        self.commit_async().await
    }

    /// Commits everything that was given out, the last record too, without waiting. The future tells the answer; whoever
    /// does not want it drops it.
    pub fn commit_async(&mut self) -> PendingCommit {
        PendingCommit::new(self.group.clone(), self.shared.with(State::commit_given))
    }

    /// Commits these offsets, and waits for the answer.
    ///
    /// # Errors
    /// As [`Consumer::commit`]; offsets of partitions that this consumer does not have are refused.
    ///
    /// ```no_run
    /// # async fn example(mut consumer: highwater_client::Consumer) -> Result<(), highwater_client::ConsumeError> {
    /// use highwater_client::CommitOffset;
    /// while let Some(record) = consumer.next_record().await {
    ///     let record = record?;
    ///     if record.header("last-of-order").is_some() {
    ///         consumer.commit_offsets([CommitOffset::after(&record)]).await?;
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn commit_offsets(
        &mut self,
        offsets: impl IntoIterator<Item = impl Into<CommitOffset>>,
    ) -> Result<(), ConsumeError> {
        let offsets: Vec<CommitOffset> = offsets.into_iter().map(Into::into).collect();
        let mark = |commit: &CommitOffset| Mark { offset: commit.offset, leader_epoch: commit.leader_epoch };
        let offsets = offsets.into_iter().map(|commit| (commit.partition.clone(), mark(&commit), commit.metadata));
        let answer = self.shared.with(|state| state.commit_offsets(offsets));
        PendingCommit::new(self.group.clone(), answer).await
    }

    /// Gives out no records of these partitions until [`Consumer::resume`]. What was sent ahead is dropped, and read again
    /// then. They stay with this consumer.
    ///
    /// # Errors
    /// When this consumer does not have one of them; then none is paused.
    pub fn pause(&mut self, partitions: &[TopicPartitionName]) -> Result<(), ConsumeError> {
        self.shared.with(|state| state.set_paused(partitions, true))
    }

    /// Goes on giving out records of these partitions.
    ///
    /// # Errors
    /// When this consumer does not have one of them; then none is resumed.
    pub fn resume(&mut self, partitions: &[TopicPartitionName]) -> Result<(), ConsumeError> {
        self.shared.with(|state| state.set_paused(partitions, false))
    }

    /// Goes on reading a partition from another position, and returns its offset. What was sent ahead is dropped. With
    /// [`Commit::Every`] the new position is committed with the next commit.
    ///
    /// # Errors
    /// When this consumer does not have the partition, or the position cannot be found; then it goes on where it was.
    pub async fn seek(
        &mut self,
        topic: &str,
        partition: PartitionId,
        to: impl Into<Position>,
    ) -> Result<Offset, ConsumeError> {
        let name = TopicPartitionName::new(topic_name(topic)?, partition);
        let answer = self.shared.with(|state| state.seek(&name, to.into()))?;
        let ended = |_| Err(ConsumeError::Ended { group: self.group.clone() });
        answer.await.unwrap_or_else(ended)
    }

    /// Reads these topics and patterns from now on, and no others. Partitions come and go soon after.
    ///
    /// # Errors
    /// When there is neither, or a name is none.
    ///
    /// ```no_run
    /// # fn example(mut consumer: highwater_client::Consumer) -> Result<(), highwater_client::ConsumeError> {
    /// consumer.subscribe(["orders", "returns"], ["payments.*"])?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn subscribe(
        &mut self,
        topics: impl IntoIterator<Item = impl Into<String>>,
        patterns: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<(), ConsumeError> {
        let topics: Vec<String> = topics.into_iter().map(Into::into).collect();
        let patterns: Vec<String> = patterns.into_iter().map(Into::into).collect();
        let subscription = subscription(&self.group, &topics, &patterns)?;
        self.shared.with(|state| state.subscribe(subscription));
        Ok(())
    }

    /// Leaves the group, so that others take over at once; with [`Commit::Every`] after a last commit, the record that was
    /// given out last included. Returns when the server has ended the stream.
    ///
    /// A member with an [`instance_id`](ConsumerBuilder::instance_id) does not leave: its partitions wait for it until the
    /// session time-out.
    ///
    /// # Errors
    /// When the last commit failed, or the group was not left within the client's request timeout.
    pub async fn close(mut self) -> Result<(), ConsumeError> {
        self.shared.with(|state| state.close(clock::now()));
        match tokio::time::timeout(self.close_timeout, &mut self.task).await {
            Ok(ended) => ended.unwrap_or_else(|_| Err(ConsumeError::Ended { group: self.group.clone() })),
            Err(_) => {
                self.task.abort();
                Err(ConsumeError::NotLeft { group: self.group.clone(), after: self.close_timeout })
            }
        }
    }
}

impl Stream for Consumer {
    type Item = Result<ReadRecord, ConsumeError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.shared.poll_record(context)
    }
}

fn topic_name(name: &str) -> Result<TopicName, ConsumeError> {
    TopicName::new(name).map_err(|reason| ConsumeError::InvalidTopicName { name: name.to_owned(), reason })
}

/// Says what is wrong with a subscription without asking a server.
fn subscription(group: &str, topics: &[String], patterns: &[String]) -> Result<v1::Subscription, ConsumeError> {
    if topics.is_empty() && patterns.is_empty() {
        let reason = "it is to read nothing; name at least one topic or pattern";
        return Err(ConsumeError::Settings { group: group.to_owned(), reason });
    }
    topics.iter().try_for_each(|topic| topic_name(topic).map(drop))?;
    Ok(v1::Subscription { topics: topics.to_vec(), patterns: patterns.to_vec() })
}
