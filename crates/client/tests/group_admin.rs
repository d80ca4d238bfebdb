//! Groups for operators: what is asked reaches the server whole, what it refuses comes back, and nothing is done twice.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod scripted;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use highwater_client::{
    Admin, Client, CommitOffset, ErrorCode, GroupState, Offset, Outcome, PartitionId, Position, RequestError,
    SeekGroup, SeekTo, TopicName, TopicPartitionName,
};
use highwater_proto::v1;
use highwater_proto::v1::group_service_server::{GroupService, GroupServiceServer};
use scripted::{error, status};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming};

/// It refuses what it is told to, and answers everything else with what it was asked.
#[derive(Clone, Default)]
struct Coordinator {
    failures: Arc<Mutex<VecDeque<Status>>>,
    seeks: Arc<Mutex<Vec<v1::SeekGroupRequest>>>,
}

impl Coordinator {
    async fn start(&self) -> Admin {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder().add_service(GroupServiceServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Client::connect(&address.to_string()).await.unwrap().admin()
    }

    fn fail_next(&self, failure: Status) {
        self.failures.lock().unwrap().push_back(failure);
    }

    fn answer<T>(&self, answer: T) -> Result<Response<T>, Status> {
        self.failures.lock().unwrap().pop_front().map_or(Ok(Response::new(answer)), Err)
    }
}

fn cut() -> Status {
    Status::unavailable("cut")
}

#[tokio::test]
async fn a_seek_that_changes_nothing_is_repeated_and_one_that_may_be_done_is_not() {
    let coordinator = Coordinator::default();
    let admin = coordinator.start().await;
    let seek = SeekGroup::new("g").topic("t", Position::Start).partition("u", PartitionId::new(2), SeekTo::Shift(-5));
    coordinator.fail_next(cut());
    let changes = admin.seek_group(seek.clone().validate_only(true)).await.unwrap();
    assert_eq!((changes[0].from, changes[0].to), (None, Offset::new(7).unwrap()));
    assert_eq!(coordinator.seeks.lock().unwrap().len(), 2);
    coordinator.fail_next(cut());
    let failed = admin.seek_group(seek.clone()).await.unwrap_err();
    assert_eq!(failed.outcome(), Outcome::Unknown, "{failed}");
    let seeks = coordinator.seeks.lock().unwrap().clone();
    assert_eq!(seeks.len(), 3, "not a second time");
    assert_eq!((seeks[2].group.as_str(), seeks[2].force, seeks[2].validate_only), ("g", false, false));
    assert_eq!((seeks[2].targets[0].partition, seeks[2].targets[1].partition), (None, Some(2)));
}

#[tokio::test]
async fn what_a_group_with_members_refuses_is_told_by_its_code() {
    let coordinator = Coordinator::default();
    let admin = coordinator.start().await;
    let refusal = status(&error(ErrorCode::GroupNotEmpty, "group 'g' has members"));
    coordinator.fail_next(refusal.clone());
    let failed = admin.seek_group(SeekGroup::new("g").topic("t", Position::End)).await.unwrap_err();
    assert_eq!((failed.code(), failed.outcome()), (Some(ErrorCode::GroupNotEmpty), Outcome::NotDone));
    coordinator.fail_next(refusal);
    let failed = admin.delete_group("g").await.unwrap_err();
    assert_eq!(failed.code(), Some(ErrorCode::GroupNotEmpty));
    coordinator.fail_next(status(&error(ErrorCode::UnknownMember, "no member 'm'")));
    let failed = admin.fence_member("g", "m").await.unwrap_err();
    assert!(failed.to_string().contains("'m'") && !failed.is_retryable(), "{failed}");
    let failed = admin.seek_group(SeekGroup::new("g").topic("a/b", Position::End)).await.unwrap_err();
    assert!(matches!(failed, RequestError::InvalidTopicName { .. }), "{failed}");
}

#[tokio::test]
async fn groups_are_listed_and_shown() {
    let coordinator = Coordinator::default();
    let admin = coordinator.start().await;
    let listed = admin.list_groups(&[GroupState::Empty, GroupState::Stable]).await.unwrap();
    assert_eq!(
        listed.iter().map(|group| group.state).collect::<Vec<_>>(),
        [Some(GroupState::Empty), Some(GroupState::Stable)]
    );
    let shown = admin.describe_group("g").await.unwrap();
    assert_eq!((shown.group.as_str(), shown.generation.get()), ("g", 7));
    assert_eq!(shown.members[0].partitions[0].to_string(), "t-3");
    assert_eq!(shown.offsets[0].lag, Some(Duration::from_millis(1_500)));
    assert_eq!((shown.offsets[0].offset, shown.offsets[0].lag_records), (None, Some(4)));
}

#[tokio::test]
async fn offsets_that_are_refused_come_back_one_by_one() {
    let coordinator = Coordinator::default();
    let admin = coordinator.start().await;
    let topic = TopicName::new("t").unwrap();
    let commit =
        |partition| CommitOffset::new(topic.clone(), PartitionId::new(partition), Offset::ZERO).metadata("run 7");
    let refused = admin.commit_group_offsets("g", vec![commit(0), commit(9)]).await.unwrap();
    assert_eq!(refused.iter().map(|refused| refused.partition.to_string()).collect::<Vec<_>>(), ["t-9"]);
    assert_eq!(refused[0].error.code, ErrorCode::UnknownPartition);
    let refused =
        admin.delete_group_offsets("g", &[TopicPartitionName::new(topic.clone(), PartitionId::new(1))]).await.unwrap();
    assert!(refused.is_empty());
    admin.delete_group("g").await.unwrap();
    admin.fence_member("g", "m").await.unwrap();
}

#[tonic::async_trait]
impl GroupService for Coordinator {
    type SessionStream = tokio_stream::Empty<Result<v1::SessionResponse, Status>>;

    async fn session(
        &self,
        _: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        Err(Status::unimplemented("not in this server"))
    }

    async fn commit_offsets(
        &self,
        request: Request<v1::CommitOffsetsRequest>,
    ) -> Result<Response<v1::CommitOffsetsResponse>, Status> {
        let offsets = request.into_inner().offsets;
        assert!(offsets.iter().all(|commit| commit.metadata == "run 7"));
        let refused = offsets.into_iter().filter(|commit| commit.partition == 9).map(|commit| v1::RefusedOffset {
            topic: commit.topic,
            partition: commit.partition,
            error: Some(error(ErrorCode::UnknownPartition, "there is no such partition")),
        });
        self.answer(v1::CommitOffsetsResponse { refused: refused.collect() })
    }

    async fn list_groups(
        &self,
        request: Request<v1::ListGroupsRequest>,
    ) -> Result<Response<v1::ListGroupsResponse>, Status> {
        let states = request.into_inner().states.into_iter();
        let groups = states.map(|state| v1::GroupListing { state, ..Default::default() });
        self.answer(v1::ListGroupsResponse { groups: groups.collect() })
    }

    async fn describe_group(
        &self,
        request: Request<v1::DescribeGroupRequest>,
    ) -> Result<Response<v1::DescribeGroupResponse>, Status> {
        let partitions = vec![v1::PartitionName { topic: "t".into(), partition: 3 }];
        let offset = v1::GroupOffset { lag_records: Some(4), lag_ms: Some(1_500), ..Default::default() };
        let group = v1::GroupDescription {
            group: request.into_inner().group,
            generation: 7,
            members: vec![v1::GroupMember { partitions, ..Default::default() }],
            offsets: vec![offset],
            ..Default::default()
        };
        self.answer(v1::DescribeGroupResponse { group: Some(group) })
    }

    async fn seek_group(
        &self,
        request: Request<v1::SeekGroupRequest>,
    ) -> Result<Response<v1::SeekGroupResponse>, Status> {
        self.seeks.lock().unwrap().push(request.into_inner());
        self.answer(v1::SeekGroupResponse { changes: vec![v1::SeekChange { to: 7, ..Default::default() }] })
    }

    async fn delete_group(
        &self,
        _: Request<v1::DeleteGroupRequest>,
    ) -> Result<Response<v1::DeleteGroupResponse>, Status> {
        self.answer(v1::DeleteGroupResponse {})
    }

    async fn delete_offsets(
        &self,
        _: Request<v1::DeleteOffsetsRequest>,
    ) -> Result<Response<v1::DeleteOffsetsResponse>, Status> {
        self.answer(v1::DeleteOffsetsResponse::default())
    }

    async fn fence_member(
        &self,
        _: Request<v1::FenceMemberRequest>,
    ) -> Result<Response<v1::FenceMemberResponse>, Status> {
        self.answer(v1::FenceMemberResponse {})
    }
}
