//! The one call of the read service that both the admin and the reader make.

use highwater_proto::v1;
use highwater_proto::v1::read_service_client::ReadServiceClient;
use highwater_types::PartitionId;

use crate::client::Shared;
use crate::position::Position;
use crate::request::{Repeat, RequestError, request};

/// Asks where positions are.
pub(crate) async fn lookup(
    shared: &Shared,
    topic: &str,
    positions: &[(PartitionId, Position)],
) -> Result<Vec<v1::PartitionOffset>, RequestError> {
    let positions = positions.iter().map(|(partition, position)| v1::PartitionPosition {
        partition: partition.get(),
        position: Some(position.to_wire()),
    });
    let message = v1::LookupOffsetsRequest { topic: topic.to_owned(), positions: positions.collect() };
    let answer = request(shared, Repeat::Harmless, |channel| {
        let message = message.clone();
        async move { ReadServiceClient::new(channel).lookup_offsets(message).await }
    })
    .await?;
    Ok(answer.offsets)
}
