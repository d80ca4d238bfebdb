//! A tap of a partition that another node leads: a stream to that node, which gives back what is with the worker when it ends.

use std::collections::BTreeMap;
use std::time::Duration;

use highwater_proto::v1;
use highwater_proto::v1::queue_service_client::QueueServiceClient;
use highwater_proto::v1::work_request::Kind as Ask;
use highwater_proto::v1::work_response::Kind as Said;
use highwater_types::{ErrorCode, NodeId, limits};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use super::{FromTap, Over, Place, SETTLES_MAX, Tap, ToTap, Ways, places, unknown};
use crate::front::failure::Failure;
use crate::front::grpc::proxy::{failure_of_status, passed_on};
use crate::front::grpc::queues::deliver::bytes_of;
use crate::front::grpc::queues::token;

/// How long the leader may take to take the stream.
const PATIENCE: Duration = Duration::from_secs(10);

/// The settles that the leader has not answered.
type Settling = BTreeMap<u64, Vec<Place>>;

/// A stream to the leader.
pub(super) struct Remote {
    node: NodeId,
    address: String,
    requests: mpsc::Sender<v1::WorkRequest>,
    responses: Streaming<v1::WorkResponse>,
    _place: OwnedSemaphorePermit,
}

pub(in crate::front::grpc::queues) fn client(channel: Channel) -> QueueServiceClient<Channel> {
    QueueServiceClient::new(channel).max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
}

impl Tap {
    /// Opens the stream at the leader that a failure names, or what was learnt.
    pub(super) async fn open_there(&self, failure: Failure) -> Result<Remote, Failure> {
        let id = self.id();
        let failure = self.context.placed(id, failure);
        let (Some(node), Some(address)) = (failure.leader, failure.leader_address.clone()) else {
            return Err(failure);
        };
        let place = self.context.proxy.place()?;
        let channel = self.context.proxy.channel(&address)?;
        let lost = || Failure::new(ErrorCode::LeaderUnavailable, format!("node {node} ({address}) did not answer"));
        let (requests, outgoing) = mpsc::channel(SETTLES_MAX + 2);
        // In the channel before the call: a server may want it before it answers.
        requests.try_send(v1::WorkRequest { kind: Some(Ask::Open(self.open_message())) }).map_err(|_| lost())?;
        let mut client = client(channel);
        let opening = client.work(passed_on(ReceiverStream::new(outgoing)));
        let result = match timeout(PATIENCE, opening).await {
            Ok(Ok(opened)) => Ok(opened.into_inner()),
            Ok(Err(status)) => Err(failure_of_status(node, &address, &status)),
            Err(_) => Err(lost()),
        };
        self.context.learn_of(id, node, &result);
        Ok(Remote { node, address, requests, responses: result?, _place: place })
    }

    fn open_message(&self) -> v1::WorkOpen {
        v1::WorkOpen {
            topic: self.topic.clone(),
            group: self.group.to_string(),
            worker: self.worker.to_string(),
            credit: 0,
            partition: Some(self.partition.get()),
            credit_lapses: true,
            keeps_messages: self.keeps_messages,
        }
    }

    /// Serves the session from the stream until that ends.
    pub(super) async fn serve_there(&self, remote: Remote, ways: &mut Ways) -> Over {
        let Remote { node, address, requests, mut responses, _place } = remote;
        let mut granted: Option<u32> = None;
        let mut settling: Settling = BTreeMap::new();
        let over = loop {
            tokio::select! {
                biased;
                response = responses.message() => match response {
                    Ok(Some(v1::WorkResponse { kind })) => {
                        match self.take(kind, &mut granted, &mut settling, ways).await {
                            Ok(Some(said)) => ways.say(self.partition, said).await,
                            Ok(None) => {}
                            Err(failure) => break Over::Lost(failure),
                        }
                    }
                    Ok(None) => break Over::Lost(unled("the stream to the leader ended")),
                    Err(status) => break Over::Lost(search_again(failure_of_status(node, &address, &status))),
                },
                asked = ways.asked.recv() => {
                    let request = match asked {
                        None => break Over::Ended,
                        Some(ToTap::Grant(messages)) => {
                            granted = Some(messages);
                            Ask::Credit(v1::MessageCredit { messages })
                        }
                        Some(ToTap::Settle(request, outcomes)) => {
                            settling.insert(request, places(&outcomes));
                            let outcomes = outcomes.into_iter().map(|placed| placed.outcome).collect();
                            Ask::Settle(v1::SettleBatch { request, outcomes })
                        }
                    };
                    // When it broke, its answers say why.
                    let _broken = requests.send(v1::WorkRequest { kind: Some(request) }).await;
                }
            }
        };
        if let Some(granted) = granted {
            ways.say(self.partition, ways.nothing(granted)).await;
        }
        for (request, places) in settling {
            let settled = ways.settled(request, places.into_iter().map(|place| (place, unknown())));
            ways.say(self.partition, settled).await;
        }
        over
    }

    /// What the leader says, as our own.
    async fn take(
        &self,
        said: Option<Said>,
        granted: &mut Option<u32>,
        settling: &mut Settling,
        ways: &mut Ways,
    ) -> Result<Option<FromTap>, Failure> {
        Ok(match said {
            Some(Said::Messages(v1::WorkMessages { messages })) => {
                let permit = match messages.is_empty() {
                    true => None,
                    false => Some(self.context.decoded.acquire(messages.iter().map(bytes_of).sum()).await?),
                };
                let tokens = messages.iter().filter_map(|message| token::from_wire(&message.token).ok());
                tokens.for_each(|(_, token)| ways.held.insert(token));
                let (granted, held) = (granted.take().unwrap_or_default(), ways.held.count());
                Some(FromTap::Messages { granted, messages, permit, held })
            }
            Some(Said::Settled(v1::SettledBatch { request, results })) => {
                let places = settling.remove(&request).unwrap_or_default();
                Some(ways.settled(request, places.into_iter().zip(results)))
            }
            Some(Said::Available(_)) => Some(FromTap::Available),
            Some(Said::Opened(_)) | None => None,
        })
    }
}

fn unled(message: &str) -> Failure {
    Failure::new(ErrorCode::LeaderUnavailable, message)
}

/// What broke may be begun anew elsewhere: what was under way is told as unknown.
fn search_again(failure: Failure) -> Failure {
    match failure.code {
        ErrorCode::OutcomeUnknown => Failure { code: ErrorCode::LeaderUnavailable, ..failure },
        _ => failure,
    }
}
