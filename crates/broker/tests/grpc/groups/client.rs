//! A member of a group, as plain as can be: it says what it is told to, and waits for what it expects.

use std::time::Duration;

use highwater_proto::v1::group_service_client::GroupServiceClient;
use highwater_proto::v1::session_request::Kind as Ask;
use highwater_proto::v1::session_response::Kind as Said;
use highwater_proto::v1::{self};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::batches::batch;
use crate::harness::{Fixture, TOPIC, values};

const SOON: Duration = Duration::from_secs(20);

/// A member's stream.
pub(super) struct Session {
    pub(super) requests: mpsc::Sender<v1::SessionRequest>,
    responses: Streaming<v1::SessionResponse>,
    /// What came while something else was waited for.
    early: Vec<Said>,
    pub(super) member: String,
    pub(super) generation: i32,
}

/// A topic with ten records of a byte each in partition 0: its offsets.
pub(super) async fn filled() -> Fixture {
    let fixture = Fixture::new().await;
    for number in 0..10_u8 {
        fixture.produce(batch(&[&[number]])).await.unwrap();
    }
    fixture
}

/// Group `readers` of the topic, with plenty of credit.
pub(super) fn open(group: &str) -> v1::SessionOpen {
    v1::SessionOpen {
        group: group.to_owned(),
        subscription: Some(topics(&[TOPIC])),
        credit_bytes: 1 << 20,
        session_timeout_ms: 6_000,
        rebalance_timeout_ms: 10_000,
        client_id: "test".to_owned(),
        ..Default::default()
    }
}

pub(super) fn topics(names: &[&str]) -> v1::Subscription {
    v1::Subscription { topics: names.iter().map(|name| (*name).to_owned()).collect(), patterns: Vec::new() }
}

pub(super) fn commit(partition: u32, offset: i64) -> v1::OffsetCommit {
    v1::OffsetCommit { topic: TOPIC.to_owned(), partition, offset, ..Default::default() }
}

pub(super) fn name(partition: u32) -> v1::PartitionName {
    v1::PartitionName { topic: TOPIC.to_owned(), partition }
}

impl Fixture {
    pub(super) fn groups(&self) -> GroupServiceClient<Channel> {
        GroupServiceClient::new(self.channel.clone()).max_decoding_message_size(32 << 20)
    }

    pub(super) async fn session(&self, open: v1::SessionOpen) -> Session {
        let (requests, outgoing) = mpsc::channel(64);
        requests.send(v1::SessionRequest { kind: Some(Ask::Open(open)) }).await.unwrap();
        let responses = self.groups().session(ReceiverStream::new(outgoing)).await.unwrap().into_inner();
        Session { requests, responses, early: Vec::new(), member: String::new(), generation: 0 }
    }

    /// A session that has its partitions: their numbers, with where each begins.
    pub(super) async fn placed(&self, open: v1::SessionOpen) -> (Session, Vec<(u32, i64)>) {
        let mut session = self.session(open).await;
        let assigned = session.assigned().await;
        (session, assigned)
    }

    pub(super) async fn describe(&self, group: &str) -> Result<v1::GroupDescription, Status> {
        let request = v1::DescribeGroupRequest { group: group.to_owned() };
        Ok(self.groups().describe_group(request).await?.into_inner().group.unwrap())
    }

    /// The committed offset of each partition that has one.
    pub(super) async fn committed(&self, group: &str) -> Vec<(u32, i64)> {
        let offsets = self.describe(group).await.unwrap().offsets;
        offsets.iter().filter_map(|offset| Some((offset.partition, offset.offset?))).collect()
    }
}

impl Session {
    pub(super) async fn ask(&self, kind: Ask) {
        // A stream that has ended says why.
        let _ended = self.requests.send(v1::SessionRequest { kind: Some(kind) }).await;
    }

    async fn receive(&mut self) -> Result<Option<Said>, Status> {
        let response = timeout(SOON, self.responses.message()).await.expect("the server says something")?;
        let said = response.map(|response| response.kind.unwrap());
        if let Some(Said::Joined(joined)) = &said {
            self.member.clone_from(&joined.member_id);
            self.generation = joined.generation;
        }
        Ok(said)
    }

    /// The next message that `wanted` takes; others are kept for later.
    pub(super) async fn next<T>(&mut self, mut wanted: impl FnMut(&Said) -> Option<T>) -> T {
        if let Some(at) = self.early.iter().position(|said| wanted(said).is_some()) {
            return wanted(&self.early.remove(at)).unwrap();
        }
        loop {
            let said = self.receive().await.unwrap().expect("the session goes on");
            match wanted(&said) {
                Some(found) => return found,
                None => self.early.push(said),
            }
        }
    }

    pub(super) async fn assigned(&mut self) -> Vec<(u32, i64)> {
        let partitions = |assigned: &v1::SessionAssigned| {
            assigned.partitions.iter().map(|one| (one.partition, one.offset)).collect::<Vec<_>>()
        };
        self.next(|said| match said {
            Said::Assigned(assigned) => Some(partitions(assigned)),
            _ => None,
        })
        .await
    }

    pub(super) async fn revoked(&mut self) -> Vec<u32> {
        self.next(|said| match said {
            Said::Revoke(revoke) => Some(revoke.partitions.iter().map(|name| name.partition).collect::<Vec<_>>()),
            _ => None,
        })
        .await
    }

    /// The next records of a partition: where they are, and where the next ones will be.
    pub(super) async fn records(&mut self, partition: u32) -> (Vec<bytes::Bytes>, i64) {
        let read = self
            .next(|said| match said {
                Said::Records(records) if records.partition == partition => records.read.clone(),
                _ => None,
            })
            .await;
        (values(&read.batches), read.next_offset)
    }

    /// Commits, and waits for the answer.
    pub(super) async fn commit(&mut self, request: u64, offsets: Vec<v1::OffsetCommit>) -> v1::SessionCommitted {
        self.ask(Ask::Commit(v1::SessionCommit { request, offsets })).await;
        self.next(|said| match said {
            Said::Committed(committed) if committed.request == request => Some(committed.clone()),
            _ => None,
        })
        .await
    }

    /// How the stream ends; `None` is well.
    pub(super) async fn end(&mut self) -> Option<Status> {
        loop {
            match self.receive().await {
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(status) => return Some(status),
            }
        }
    }

    pub(super) async fn leave(mut self) {
        self.ask(Ask::Leave(v1::SessionLeave {})).await;
        assert!(self.end().await.is_none());
    }
}
