//! Following several topics without a group: every process gets every record, and nothing remembers how far it is.
//!
//! ```text
//!   Reader of topic a ─┐
//!   Reader of topic b ─┼─► Broadcast ─► records        the list of topics, now and then ─► more readers
//! ```
//! Owns no task: like the readers that it is made of, it makes progress while it is asked.
//!
//! Invariants: a topic that is there when it is opened is followed from where the program said, one that comes later from
//! its first record; no topic is read twice at a time.

mod config;
mod topics;

use std::collections::BTreeSet;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::stream::{SelectAll, Stream, StreamExt};
use highwater_types::TopicName;

use self::topics::Watch;
use crate::reader::{ReadError, ReadRecord, Reader};

pub use config::BroadcastBuilder;

/// Follows several topics without a group. Made by [`Client::broadcast`](crate::Client::broadcast).
///
/// Every process that does so gets every record: for caches that are to forget what changed, or screens that show what
/// happens. It never ends by itself.
///
/// ```no_run
/// # async fn example(client: highwater_client::Client) -> Result<(), highwater_client::ReadError> {
/// let mut changes = client.broadcast().topics(["cache.prices"]).patterns(["cache.user.*"]).open().await?;
/// while let Some(record) = changes.next_record().await {
///     let record = record?;
///     println!("{}: forget {:?}", record.topic, record.key);
/// }
/// # Ok(())
/// # }
/// ```
///
/// Errors are those of the [`Reader`] of the topic. A topic whose reader has ended, for instance because it was deleted, is
/// followed again once it is there.
pub struct Broadcast {
    readers: SelectAll<Followed>,
    followed: BTreeSet<TopicName>,
    watch: Watch,
}

impl std::fmt::Debug for Broadcast {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broadcast").field("followed", &self.followed).finish_non_exhaustive()
    }
}

impl Broadcast {
    async fn open(settings: BroadcastBuilder) -> Result<Self, ReadError> {
        let from = settings.from;
        let found = topics::find(&settings, &BTreeSet::new(), from).await?;
        let mut broadcast = Self { readers: SelectAll::new(), followed: BTreeSet::new(), watch: Watch::new(settings) };
        broadcast.follow(found);
        Ok(broadcast)
    }

    fn follow(&mut self, readers: Vec<Reader>) {
        for reader in readers {
            self.followed.insert(reader.topic().clone());
            self.readers.push(Followed { reader: Some(reader) });
        }
        self.watch.go_on(&self.followed);
    }

    /// The topics that are followed now.
    pub fn topics(&self) -> impl Iterator<Item = &TopicName> + '_ {
        self.followed.iter()
    }

    /// The next record. Dropping the future loses nothing.
    pub async fn next_record(&mut self) -> Option<Result<ReadRecord, ReadError>> {
        self.next().await
    }
}

impl Stream for Broadcast {
    type Item = Result<ReadRecord, ReadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        while let Poll::Ready(found) = this.watch.poll(context) {
            this.follow(found);
        }
        loop {
            match this.readers.poll_next_unpin(context) {
                Poll::Ready(Some(Ok(item))) => return Poll::Ready(Some(item)),
                Poll::Ready(Some(Err(Ended { topic }))) => {
                    this.followed.remove(&topic);
                    this.watch.go_on(&this.followed);
                    // Another look may be needed: the one that is under way leaves it out.
                    context.waker().wake_by_ref();
                }
                // No topic yet: looking for them is what wakes.
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// A reader that says when it ends.
struct Followed {
    reader: Option<Reader>,
}

/// The topic is not read any more.
struct Ended {
    topic: TopicName,
}

impl Stream for Followed {
    type Item = Result<Result<ReadRecord, ReadError>, Ended>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(reader) = &mut self.reader else { return Poll::Ready(None) };
        if let Some(item) = ready!(reader.poll_next_unpin(context)) {
            return Poll::Ready(Some(Ok(item)));
        }
        let topic = reader.topic().clone();
        self.reader = None;
        Poll::Ready(Some(Err(Ended { topic })))
    }
}
