//! The group service: a test plays it, one stream after the other.

use std::sync::Arc;
use std::time::Duration;

use highwater_client::ErrorCode;
use highwater_proto::v1;
use highwater_proto::v1::group_service_server::GroupService;
use highwater_proto::v1::session_request::Kind as Asked;
use highwater_proto::v1::session_response::Kind as Told;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Server, Service, Shared, error, status};

/// Longer than anything takes that is to happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A stream of a member, as the server has it. It ends when this is dropped.
pub struct Session {
    pub open: v1::SessionOpen,
    state: Shared,
    requests: mpsc::Receiver<Asked>,
    responses: mpsc::Sender<Result<v1::SessionResponse, Status>>,
}

impl Server {
    /// The next stream that a member opens.
    pub async fn next_session(&mut self) -> Session {
        let next = self.sessions.recv();
        tokio::time::timeout(PATIENCE, next).await.expect("a member opens a stream").unwrap()
    }
}

impl Session {
    pub async fn send(&self, kind: Told) {
        self.responses.send(Ok(v1::SessionResponse { kind: Some(kind) })).await.expect("the member listens");
    }

    pub async fn joined(&self, member_id: &str, generation: i32) {
        let joined = v1::SessionJoined {
            member_id: member_id.to_owned(),
            generation,
            assignor: "cooperative-sticky".to_owned(),
        };
        self.send(Told::Joined(joined)).await;
    }

    /// Partitions of `t`, and where they begin.
    pub async fn assigned(&self, partitions: &[(u32, i64)]) {
        let assigned = |(partition, offset): &(u32, i64)| v1::AssignedPartition {
            topic: "t".to_owned(),
            partition: *partition,
            offset: *offset,
        };
        let partitions = partitions.iter().map(assigned).collect();
        self.send(Told::Assigned(v1::SessionAssigned { partitions })).await;
    }

    pub async fn revoke(&self, partitions: &[u32]) {
        self.send(Told::Revoke(names(partitions))).await;
    }

    /// The batches of a partition from `from` up to `until`, a message each.
    pub async fn records(&self, partition: u32, mut from: u64, until: u64) {
        while from < until {
            let read = {
                let state = self.state.lock().unwrap();
                let log = &state.logs[partition as usize];
                let (header, batch) = log.batch_from(from).expect("the log holds it");
                from = header.next_offset().get();
                v1::ReadResponse {
                    batches: vec![batch],
                    records: Vec::new(),
                    next_offset: from.cast_signed(),
                    log_start: log.start.cast_signed(),
                    high_watermark: log.end.cast_signed(),
                }
            };
            self.send(Told::Records(v1::SessionRecords { topic: "t".to_owned(), partition, read: Some(read) })).await;
        }
    }

    /// What the member asks for next, beside heartbeats and credit.
    pub async fn asked(&mut self) -> Asked {
        let asked = async {
            loop {
                match self.requests.recv().await.expect("the stream lives") {
                    Asked::Heartbeat(_) | Asked::Credit(_) => {}
                    other => return other,
                }
            }
        };
        tokio::time::timeout(PATIENCE, asked).await.expect("the member asks for something")
    }

    /// What the member sends next, whatever it is; `None` when it ended the stream.
    pub async fn next(&mut self) -> Option<Asked> {
        tokio::time::timeout(PATIENCE, self.requests.recv()).await.expect("the member sends something")
    }

    /// The next commit, with its offsets as partition and offset.
    pub async fn commit(&mut self) -> (u64, Vec<(u32, i64)>) {
        let Asked::Commit(commit) = self.asked().await else { panic!("a commit comes next") };
        (commit.request, commit.offsets.iter().map(|offset| (offset.partition, offset.offset)).collect())
    }

    pub async fn committed(&self, request: u64) {
        self.send(Told::Committed(v1::SessionCommitted { request, refused: Vec::new(), error: None })).await;
    }

    /// Answers commits until there is one of this.
    pub async fn commits_until(&mut self, offsets: &[(u32, i64)]) {
        loop {
            let (request, committed) = self.commit().await;
            self.committed(request).await;
            if committed == offsets {
                return;
            }
        }
    }

    /// Ends the stream with an error.
    pub async fn refuse(self, code: ErrorCode) {
        self.responses.send(Err(status(&error(code, "as told")))).await.expect("the member listens");
    }
}

pub fn names(partitions: &[u32]) -> v1::PartitionNames {
    let name = |partition: &u32| v1::PartitionName { topic: "t".to_owned(), partition: *partition };
    v1::PartitionNames { partitions: partitions.iter().map(name).collect() }
}

#[tonic::async_trait]
impl GroupService for Service {
    type SessionStream = ReceiverStream<Result<v1::SessionResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        assert!(request.metadata().contains_key("highwater-redirect"), "the client finds coordinators itself");
        let mut asked = request.into_inner();
        let Some(v1::SessionRequest { kind: Some(Asked::Open(open)) }) = asked.message().await? else {
            return Err(status(&error(ErrorCode::InvalidRequest, "open comes first")));
        };
        let sessions = {
            let state = self.state.lock().unwrap();
            if let Some(refusal) = state.not_leader(self.number) {
                return Err(status(&refusal));
            }
            state.sessions.clone().expect("a server has one")
        };
        let (forward, requests) = mpsc::channel(1024);
        let (responses, receiver) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Ok(Some(v1::SessionRequest { kind: Some(kind) })) = asked.message().await {
                if forward.send(kind).await.is_err() {
                    return;
                }
            }
        });
        let session = Session { open, state: Arc::clone(&self.state), requests, responses };
        assert!(sessions.try_send(session).is_ok(), "the test looks after its sessions");
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn commit_offsets(
        &self,
        _: Request<v1::CommitOffsetsRequest>,
    ) -> Result<Response<v1::CommitOffsetsResponse>, Status> {
        Err(Status::unimplemented("not in this server"))
    }

    async fn list_groups(&self, _: Request<v1::ListGroupsRequest>) -> Result<Response<v1::ListGroupsResponse>, Status> {
        Err(Status::unimplemented("not in this server"))
    }

    async fn describe_group(
        &self,
        _: Request<v1::DescribeGroupRequest>,
    ) -> Result<Response<v1::DescribeGroupResponse>, Status> {
        Err(Status::unimplemented("not in this server"))
    }

    async fn seek_group(&self, _: Request<v1::SeekGroupRequest>) -> Result<Response<v1::SeekGroupResponse>, Status> {
        Err(Status::unimplemented("not in this server"))
    }

    async fn delete_group(
        &self,
        _: Request<v1::DeleteGroupRequest>,
    ) -> Result<Response<v1::DeleteGroupResponse>, Status> {
        Err(Status::unimplemented("not in this server"))
    }

    async fn delete_offsets(
        &self,
        _: Request<v1::DeleteOffsetsRequest>,
    ) -> Result<Response<v1::DeleteOffsetsResponse>, Status> {
        Err(Status::unimplemented("not in this server"))
    }

    async fn fence_member(
        &self,
        _: Request<v1::FenceMemberRequest>,
    ) -> Result<Response<v1::FenceMemberResponse>, Status> {
        Err(Status::unimplemented("not in this server"))
    }
}
