//! `OffsetForLeaderEpoch`: where the records of a leader end, so that a consumer notices that records it has read are gone.
//!
//! The epochs of a log never go down from one batch to the next, so where one ends is found by halving.

use std::time::Duration;

use highwater_types::batch::BatchHeader;
use highwater_types::{ErrorCode, LeaderEpoch, Offset};

use super::call::Call;
use super::context::Context;
use super::error::{Refusal, code_of};
use super::fetch::check_epoch;
use super::wire::{Malformed, Reader, Writer};
use crate::front::failure::Failure;
use crate::partition::{PartitionHandle, Position, ReadFrom};

struct Asked {
    partition: i32,
    current_epoch: i32,
    epoch: i32,
}

/// The last epoch that is not later than what was asked for, and where its records end.
type End = Option<(LeaderEpoch, Offset)>;

pub(super) async fn answer(mut call: Call, context: &Context) -> Result<Writer, Malformed> {
    let topics = read(&mut call.body, call.version)?;
    let mut told = Vec::with_capacity(topics.len());
    for (name, asked) in topics {
        let mut found = Vec::with_capacity(asked.len());
        for asked in asked {
            found.push((asked.partition, find(context, &name, &asked).await));
        }
        told.push((name, found));
    }
    let mut body = call.writer();
    body.i32(0);
    body.array(told, |body, (name, found)| {
        body.text(&name);
        body.array(found, |body, (partition, end)| write(body, partition, &end));
        body.tags();
    });
    body.tags();
    Ok(body)
}

fn read(body: &mut Reader, version: i16) -> Result<Vec<(String, Vec<Asked>)>, Malformed> {
    if version >= 3 {
        let _replica = body.i32()?;
    }
    let topics = body.array(|body| {
        let name = body.text()?;
        let asked = body.array(|body| {
            let (partition, current_epoch, epoch) = (body.i32()?, body.i32()?, body.i32()?);
            body.tags()?;
            Ok(Asked { partition, current_epoch, epoch })
        })?;
        body.tags()?;
        Ok((name, asked))
    })?;
    body.tags()?;
    Ok(topics)
}

async fn find(context: &Context, topic: &str, asked: &Asked) -> Result<End, Refusal> {
    let handle = context.led(topic, asked.partition)?;
    check_epoch(&handle, asked.current_epoch)?;
    let led = handle.leadership().epoch;
    if asked.epoch > led.get() || asked.epoch < 0 {
        return Ok(None);
    }
    let end = handle.resolve(Position::End).await?.offset;
    if asked.epoch == led.get() {
        return Ok(Some((led, end)));
    }
    let (mut low, mut high) = (handle.watermarks().log_start, end);
    let mut last = LeaderEpoch::new(asked.epoch);
    // Below `low` no batch is of a later epoch; from `high` on all are.
    while low < high {
        let middle = low.saturating_add(high.records_since(low) / 2);
        let header = header_at(&handle, middle).await?;
        match header.leader_epoch.get() > asked.epoch {
            true => high = header.base_offset.max(low),
            false => {
                last = header.leader_epoch;
                low = header.next_offset();
            }
        }
    }
    Ok(Some((last, low)))
}

/// The head of the batch that holds an offset.
async fn header_at(handle: &PartitionHandle, offset: Offset) -> Result<BatchHeader, Refusal> {
    let request = ReadFrom { from: offset, bytes_max: 1, bytes_min: 0, wait: Duration::ZERO, may_follow: true };
    let result = handle.read(request).await?;
    let missing = || Failure::new(ErrorCode::LeaderUnavailable, "the log changed while it was searched; try again");
    let batch = result.batches.first().ok_or_else(missing)?;
    Ok(BatchHeader::read(batch)?)
}

fn write(body: &mut Writer, partition: i32, end: &Result<End, Refusal>) {
    let told = end.as_ref().ok().copied().flatten();
    body.i16(code_of(end));
    body.i32(partition);
    body.i32(told.map_or(-1, |(epoch, _)| epoch.get()));
    body.i64(told.map_or(-1, |(_, end)| end.to_wire()));
    body.tags();
}
