//! `DeleteRecords`: partitions begin at a later offset from now on, on every replica.

use std::pin::{Pin, pin};
use std::time::Duration;

use highwater_types::{ErrorCode, Offset};
use tokio::time::{Sleep, sleep};

use super::call::Call;
use super::context::Context;
use super::error::{Refusal, code_of};
use super::wire::{Malformed, Reader, Writer};
use crate::front::failure::Failure;
use crate::partition::Position;

/// "All that is committed."
const HIGH_WATERMARK: i64 = -1;
/// The longest wait, whatever a client is ready to wait.
const PATIENCE_MAX: Duration = Duration::from_secs(30);

struct Question {
    /// The partitions of each topic, and the offsets that they are to begin at.
    topics: Vec<(String, Vec<(i32, i64)>)>,
    patience: Duration,
}

pub(super) async fn answer(mut call: Call, context: &Context) -> Result<Writer, Malformed> {
    let Question { topics, patience } = read(&mut call.body)?;
    let mut too_late = pin!(sleep(patience));
    let mut told = Vec::with_capacity(topics.len());
    for (topic, partitions) in topics {
        let mut begun = Vec::with_capacity(partitions.len());
        for (partition, offset) in partitions {
            begun.push((partition, delete_in_time(too_late.as_mut(), &topic, partition, offset, context).await));
        }
        told.push((topic, begun));
    }
    let mut body = call.writer();
    body.i32(0);
    body.array(told, |body, (topic, begun)| {
        body.text(&topic);
        body.array(begun, |body, (partition, begins)| {
            body.i32(partition);
            body.i64(begins.as_ref().map_or(-1, |begins| begins.to_wire()));
            body.i16(code_of(&begins));
            body.tags();
        });
        body.tags();
    });
    body.tags();
    Ok(body)
}

fn read(body: &mut Reader) -> Result<Question, Malformed> {
    let topics = body.array(|body| {
        let topic = body.text()?;
        let partitions = body.array(|body| {
            let both = (body.i32()?, body.i64()?);
            body.tags()?;
            Ok(both)
        })?;
        body.tags()?;
        Ok((topic, partitions))
    })?;
    let patience = Duration::from_millis(u64::try_from(body.i32()?).unwrap_or(0)).min(PATIENCE_MAX);
    body.tags()?;
    Ok(Question { topics, patience })
}

async fn delete_in_time(
    too_late: Pin<&mut Sleep>,
    topic: &str,
    partition: i32,
    offset: i64,
    context: &Context,
) -> Result<Offset, Refusal> {
    tokio::select! {
        // One that needs no wait is done whatever the time is.
        biased;
        deleted = delete(topic, partition, offset, context) => deleted,
        () = too_late => {
            let message = "it took too long; the records may be deleted or not";
            Err(Failure::new(ErrorCode::OutcomeUnknown, message).into())
        }
        () = context.shutdown.requested() => Err(Failure::shutting_down().into()),
    }
}

/// Deletes what lies below an offset; returns where the partition begins then.
async fn delete(topic: &str, partition: i32, offset: i64, context: &Context) -> Result<Offset, Refusal> {
    let handle = context.led(topic, partition)?;
    let below = match offset {
        HIGH_WATERMARK => handle.resolve(Position::End).await?.offset,
        offset => {
            let none = || Failure::new(ErrorCode::OffsetOutOfRange, format!("{offset} is no offset"));
            Offset::from_wire(offset).ok_or_else(none)?
        }
    };
    Ok(handle.delete_below(below).await?)
}
