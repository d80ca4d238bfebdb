//! A tap: one task that gets messages of one partition for a worker's session, here or where the partition is led, and settles
//! them there.
//!
//! ```text
//!   session ──grant──► tap ──acquire──► queue here, or a stream to the leader
//!           ◄─messages─     ◄─────────
//!           ──settle──►     ──settle──►
//! ```
//!
//! Owns: looking for the leader, again when it changes; giving back what is with the worker when the session ends.
//! Invariants:
//! - Every grant is answered with messages, perhaps none, and every settle with results: nothing is owed when the tap looks
//!   for another leader.
//! - A grant that was not used up is followed by a word that there is more, when there is. So a session asks where there is
//!   something, and no partition sits on its credit.

mod held;
mod here;
mod there;

use std::sync::Arc;

use highwater_groups::queue::{AckToken, GroupId, WorkerId};
use highwater_proto::v1;
use highwater_types::{ErrorCode, PartitionId, TopicId, TopicPartition};
use tokio::sync::mpsc;

use self::held::Held;
use super::outcomes::{Placed, is_over, refused};
use crate::admission::BytePermit;
use crate::front::failure::Failure;
use crate::front::grpc::context::Context;
use crate::front::grpc::proxy::{Search, is_search, is_search_there};

pub(super) use there::client;

/// What a session says to a tap. At most one grant and [`SETTLES_MAX`] settles are unanswered, so there is always room.
pub(super) enum ToTap {
    /// Get so many messages, as far as they are there.
    Grant(u32),
    /// What became of messages, under a number of the session.
    Settle(u64, Vec<Placed>),
}

/// The most settles that a session has under way.
pub(super) const SETTLES_MAX: usize = 32;

/// What a tap says to its session.
pub(super) enum FromTap {
    /// There is something, or may be.
    Available,
    /// The answer to a grant of so many. The permit stands for their memory. And how many are with the worker now.
    Messages { granted: u32, messages: Vec<v1::QueueMessage>, permit: Option<BytePermit>, held: u64 },
    /// The answer to a settle.
    Settled(Answered),
    /// The partition cannot be worked at.
    Ended(Failure),
}

/// What came of a settle.
pub(super) struct Answered {
    /// The number that the session gave it.
    pub(super) number: u64,
    /// By the place in the request.
    pub(super) results: Vec<(usize, v1::Settled)>,
    /// How many messages are with the worker now.
    pub(super) held: u64,
}

/// What a tap is for.
#[derive(Clone, Debug)]
pub(super) struct Tap {
    pub(super) context: Arc<Context>,
    pub(super) topic: String,
    pub(super) topic_id: TopicId,
    pub(super) partition: PartitionId,
    pub(super) group: GroupId,
    pub(super) worker: WorkerId,
    /// Whether messages stay with the worker when the session ends.
    pub(super) keeps_messages: bool,
    /// Whether another node may be asked.
    pub(super) may_pass_on: bool,
}

/// The ways of a tap.
pub(super) struct Ways {
    pub(super) asked: mpsc::Receiver<ToTap>,
    pub(super) said: mpsc::Sender<(PartitionId, FromTap)>,
    /// What the session has sent to its worker and is not settled, whoever leads. A worker may settle other messages too, of a
    /// stream that broke.
    held: Held,
}

/// Why a tap does not go on.
enum Over {
    /// The session is over.
    Ended,
    /// Look for the leader.
    Lost(Failure),
}

impl Tap {
    /// Starts it. It ends when its session drops the other ends of its ways.
    pub(super) fn start(self, said: mpsc::Sender<(PartitionId, FromTap)>) -> mpsc::Sender<ToTap> {
        let (asks, asked) = mpsc::channel(SETTLES_MAX + 1);
        let tasks = self.context.shutdown.clone();
        tasks.spawn(self.run(Ways { asked, said, held: Held::default() }));
        asks
    }

    async fn run(self, mut ways: Ways) {
        let mut search = Search::start();
        loop {
            let failure = match self.context.led_partition(&self.topic, self.partition) {
                Ok(handle) => {
                    search = Search::start();
                    match self.serve_here(&handle, &mut ways).await {
                        Over::Ended => return,
                        Over::Lost(failure) => failure,
                    }
                }
                Err(failure) => failure,
            };
            let failure = match failure {
                failure if self.may_pass_on && is_search(&failure) => match self.open_there(failure).await {
                    Ok(remote) => {
                        search = Search::start();
                        match self.serve_there(remote, &mut ways).await {
                            Over::Ended => return,
                            Over::Lost(failure) => failure,
                        }
                    }
                    Err(failure) => failure,
                },
                failure => failure,
            };
            if !self.may_pass_on || !is_search_there(&failure) {
                return ways.say(self.partition, FromTap::Ended(failure)).await;
            }
            if ways.asked.is_closed() {
                return;
            }
            if let Err(failure) = search.pause(failure).await {
                return ways.say(self.partition, FromTap::Ended(failure)).await;
            }
        }
    }

    fn id(&self) -> TopicPartition {
        TopicPartition { topic: self.topic_id, partition: self.partition }
    }
}

impl Ways {
    /// Says something; a session that is gone hears nothing.
    async fn say(&self, partition: PartitionId, what: FromTap) {
        let _gone = self.said.send((partition, what)).await;
    }

    /// The answer to a settle: what is over is with the worker no more.
    fn settled(&mut self, number: u64, results: impl Iterator<Item = (Place, v1::Settled)>) -> FromTap {
        let results = results.map(|((index, token), result)| {
            if is_over(&result) {
                self.held.remove(token);
            }
            (index, result)
        });
        let results = results.collect();
        FromTap::Settled(Answered { number, results, held: self.held.count() })
    }

    /// The answer to a grant that brings nothing.
    fn nothing(&self, granted: u32) -> FromTap {
        FromTap::Messages { granted, messages: Vec::new(), permit: None, held: self.held.count() }
    }
}

/// Where an outcome stands in its request, and of what message it is.
type Place = (usize, AckToken);

fn places(outcomes: &[Placed]) -> Vec<Place> {
    outcomes.iter().map(|placed| (placed.index, placed.token)).collect()
}

/// What is said of settles whose answer never came.
fn unknown() -> v1::Settled {
    let message = "the partition's leader was lost before it answered; whether it was done is not known";
    refused(&Failure::new(ErrorCode::OutcomeUnknown, message))
}
