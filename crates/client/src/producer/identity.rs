//! Producer ids: one for all partitions of a producer, and fresh ones for partitions that lost it.

use highwater_proto::v1::InitProducerRequest;
use highwater_proto::v1::produce_service_client::ProduceServiceClient;
use highwater_types::{ProducerEpoch, ProducerId};
use tokio::sync::OnceCell;

use super::window::Identity;
use crate::client::Shared;
use crate::request::{Repeat, RequestError, request};

/// Where the partitions of one producer get their identity.
#[derive(Debug, Default)]
pub(super) struct Identities {
    shared: OnceCell<Identity>,
}

impl Identities {
    /// The identity that all partitions begin with.
    pub(super) async fn first(&self, client: &Shared) -> Result<Identity, RequestError> {
        self.shared.get_or_try_init(|| Self::fresh(client)).await.copied()
    }

    /// One that nobody else has.
    pub(super) async fn fresh(client: &Shared) -> Result<Identity, RequestError> {
        // An id that is handed out twice over a broken connection is one that nobody uses: harmless.
        let answer = request(client, Repeat::Harmless, |channel| async move {
            ProduceServiceClient::new(channel).init_producer(InitProducerRequest {}).await
        })
        .await?;
        let incomplete = RequestError::Incomplete { request: "init_producer", missing: "a producer id and epoch" };
        let epoch = i16::try_from(answer.producer_epoch).ok().filter(|&epoch| epoch >= 0).ok_or(incomplete.clone())?;
        if answer.producer_id < 0 {
            return Err(incomplete);
        }
        Ok(Identity { id: ProducerId::new(answer.producer_id), epoch: ProducerEpoch::new(epoch) })
    }
}
