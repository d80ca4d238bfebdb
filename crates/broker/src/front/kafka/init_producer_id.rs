//! `InitProducerId`: an id for an idempotent producer.
//!
//! Transactions are not served: who names a transactional id is told so in a way that it does not try again.

use highwater_types::{ProducerEpoch, ProducerId};

use super::call::Call;
use super::context::Context;
use super::error::{KafkaCode, Refusal, code_of};
use super::wire::{Malformed, Writer};
use crate::front::failure::Failure;

pub(super) async fn answer(mut call: Call, context: &Context) -> Result<Writer, Malformed> {
    let transactional_id = call.body.nullable_text()?;
    let _timeout_ms = call.body.i32()?;
    if call.version >= 3 {
        // Who asks for another epoch of its id gets another id, which is as good.
        let (_id, _epoch) = (call.body.i64()?, call.body.i16()?);
    }
    call.body.tags()?;
    let allocated = match transactional_id {
        None => allocate(context).await,
        Some(_) => {
            let code = KafkaCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
            Err(Refusal::new(code, "this server has no transactions yet"))
        }
    };
    let mut body = call.writer();
    body.i32(0);
    body.i16(code_of(&allocated));
    let (id, epoch) = allocated.unwrap_or((ProducerId::NONE, ProducerEpoch::NONE));
    body.i64(id.get());
    body.i16(epoch.get());
    body.tags();
    Ok(body)
}

async fn allocate(context: &Context) -> Result<(ProducerId, ProducerEpoch), Refusal> {
    Ok(context.controller.allocate_producer_id().await.map_err(Failure::from)?)
}
