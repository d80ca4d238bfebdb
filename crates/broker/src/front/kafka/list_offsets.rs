//! `ListOffsets`: where a partition begins and ends, and the first record that is not older than a time.

use highwater_types::{LeaderEpoch, Offset, Timestamp};

use super::call::Call;
use super::context::Context;
use super::error::{KafkaCode, Refusal, code_of};
use super::fetch::check_epoch;
use super::wire::{Malformed, Reader, Writer};
use crate::partition::{PartitionHandle, Position, ReadError, ResolvedOffset};

/// Times that are none.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
/// As the earliest: everything is local.
const EARLIEST_LOCAL: i64 = -4;
/// Nothing is anywhere else.
const LATEST_TIERED: i64 = -5;

struct Asked {
    partition: i32,
    current_epoch: i32,
    timestamp: i64,
}

/// What was found; without an offset: there is no such record.
struct Found {
    offset: Option<Offset>,
    timestamp: Option<Timestamp>,
    epoch: LeaderEpoch,
}

pub(super) async fn answer(mut call: Call, context: &Context) -> Result<Writer, Malformed> {
    let version = call.version;
    let topics = read(&mut call.body, version)?;
    let mut body = call.writer();
    if version >= 2 {
        body.i32(0);
    }
    let mut told = Vec::with_capacity(topics.len());
    for (name, asked) in topics {
        let mut found = Vec::with_capacity(asked.len());
        for asked in asked {
            found.push((asked.partition, find(context, &name, &asked).await));
        }
        told.push((name, found));
    }
    body.array(told, |body, (name, found)| {
        body.text(&name);
        body.array(found, |body, (partition, found)| write(body, version, partition, &found));
        body.tags();
    });
    body.tags();
    Ok(body)
}

fn read(body: &mut Reader, version: i16) -> Result<Vec<(String, Vec<Asked>)>, Malformed> {
    let _replica = body.i32()?;
    if version >= 2 {
        let _isolation = body.i8()?;
    }
    let topics = body.array(|body| {
        let name = body.text()?;
        let asked = body.array(|body| {
            let partition = body.i32()?;
            let current_epoch = if version >= 4 { body.i32()? } else { -1 };
            let timestamp = body.i64()?;
            body.tags()?;
            Ok(Asked { partition, current_epoch, timestamp })
        })?;
        body.tags()?;
        Ok((name, asked))
    })?;
    if version >= 10 {
        let _timeout_ms = body.i32()?;
    }
    body.tags()?;
    Ok(topics)
}

async fn find(context: &Context, topic: &str, asked: &Asked) -> Result<Found, Refusal> {
    let handle = context.led(topic, asked.partition)?;
    check_epoch(&handle, asked.current_epoch)?;
    let epoch = handle.leadership().epoch;
    let at = |resolved: ResolvedOffset| Found { offset: Some(resolved.offset), timestamp: None, epoch };
    Ok(match asked.timestamp {
        LATEST => at(handle.resolve(Position::End).await?),
        EARLIEST | EARLIEST_LOCAL => at(handle.resolve(Position::Start).await?),
        LATEST_TIERED => Found { offset: None, timestamp: None, epoch },
        MAX_TIMESTAMP => found(newest(&handle).await?, epoch),
        ms @ 0.. => found(not_older(&handle, Timestamp::from_ms(ms)).await?, epoch),
        other => {
            let message = format!("{other} is no time to look for");
            return Err(Refusal::new(KafkaCode::UNSUPPORTED_VERSION, message));
        }
    })
}

type Record = Option<(Offset, Timestamp)>;

fn found(record: Record, epoch: LeaderEpoch) -> Found {
    Found { offset: record.map(|(offset, _)| offset), timestamp: record.map(|(_, timestamp)| timestamp), epoch }
}

/// The first record that is not older; none where all are.
async fn not_older(handle: &PartitionHandle, timestamp: Timestamp) -> Result<Record, ReadError> {
    let resolved = handle.resolve(Position::Timestamp(timestamp)).await?;
    Ok(resolved.timestamp.map(|timestamp| (resolved.offset, timestamp)))
}

/// The first of the records with the largest timestamp: between a time that one has and a time that none has, the middle
/// is asked for until nothing is left between them.
async fn newest(handle: &PartitionHandle) -> Result<Record, ReadError> {
    let Some(mut newest) = not_older(handle, Timestamp::from_ms(0)).await? else { return Ok(None) };
    let mut none_from = i64::MAX;
    while newest.1.as_ms() < none_from.saturating_sub(1) {
        let known = newest.1.as_ms();
        let middle = known + (none_from - known) / 2;
        match not_older(handle, Timestamp::from_ms(middle)).await? {
            Some(newer) => newest = newer,
            None => none_from = middle,
        }
    }
    Ok(Some(newest))
}

fn write(body: &mut Writer, version: i16, partition: i32, found: &Result<Found, Refusal>) {
    let told = found.as_ref().ok();
    body.i32(partition);
    body.i16(code_of(found));
    body.i64(told.and_then(|found| found.timestamp).map_or(-1, Timestamp::as_ms));
    body.i64(told.and_then(|found| found.offset).map_or(-1, Offset::to_wire));
    if version >= 4 {
        body.i32(told.map_or(-1, |found| found.epoch.get()));
    }
    body.tags();
}
