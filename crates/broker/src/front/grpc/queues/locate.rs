//! Where is my message? By its place, its key or its id, and what it is to every queue group of its partition.

use std::time::Duration;

use bytes::Bytes;
use highwater_proto::v1;
use highwater_types::Offset;
use highwater_types::batch;

use super::calls::{Asked, Here, by_partition};
use super::deliver::read;
use super::operate::offset_of;
use super::status::status_of;
use crate::front::failure::Failure;
use crate::partition::{PartitionHandle, ReadFrom};
use crate::queues::MESSAGE_ID;
use crate::runtime::blocking;

/// How far is looked back without a wish, and at most, in records.
const LOOK_BACK_DEFAULT: u64 = 100_000;
const LOOK_BACK_MAX: u64 = 10_000_000;
const FOUND_DEFAULT: u32 = 10;
const FOUND_MAX: u32 = 1_000;
/// Records are looked through so many bytes at a time.
const BYTES_MAX: usize = 4 << 20;

impl Asked for v1::LocateRequest {
    type Answer = v1::LocateResponse;

    by_partition!(locate);

    async fn here(&self, here: Here<'_>) -> Result<Self::Answer, Failure> {
        let records = match self.offset {
            Some(offset) => {
                let offset = offset_of(offset)?;
                read(&here.handle, &[offset]).await?
            }
            None if self.key.is_some() || !self.message_id.is_empty() => look_through(self, &here.handle).await?,
            None => {
                return Err(Failure::invalid("say which message: by partition and offset, by key, or by message id"));
            }
        };
        let mut messages = Vec::with_capacity(records.len());
        for record in records {
            let groups = statuses(&here, &record).await?;
            messages.push(v1::LocatedMessage { partition: here.partition.get(), record: Some(record), groups });
        }
        Ok(v1::LocateResponse { messages })
    }

    fn joined(&self, answers: Vec<Self::Answer>) -> Self::Answer {
        let mut messages: Vec<_> = answers.into_iter().flat_map(|answer| answer.messages).collect();
        messages
            .sort_by_key(|message| std::cmp::Reverse(message.record.as_ref().and_then(|record| record.timestamp_ms)));
        messages.truncate(most(self));
        v1::LocateResponse { messages }
    }
}

/// The most messages that are told.
fn most(request: &v1::LocateRequest) -> usize {
    let most = if request.messages_max == 0 { FOUND_DEFAULT } else { request.messages_max.min(FOUND_MAX) };
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// What the message is to each group.
async fn statuses(here: &Here<'_>, record: &v1::Record) -> Result<Vec<v1::LocatedStatus>, Failure> {
    let Some(offset) = Offset::from_wire(record.offset) else { return Ok(Vec::new()) };
    let groups: Vec<_> = here.handle.queues().image().queues().map(|(group, _)| group.clone()).collect();
    let mut statuses = Vec::with_capacity(groups.len());
    for group in groups {
        let look = move |desk: &_, queue: &_, context: &_| status_of(desk, queue, offset, context);
        let status = here.handle.queues().look(&group, look).await?;
        statuses.push(v1::LocatedStatus { group: group.to_string(), status: Some(status) });
    }
    Ok(statuses)
}

/// The newest records with the key or the id, newest first.
async fn look_through(request: &v1::LocateRequest, handle: &PartitionHandle) -> Result<Vec<v1::Record>, Failure> {
    let marks = handle.watermarks();
    let back = if request.look_back == 0 { LOOK_BACK_DEFAULT } else { request.look_back.min(LOOK_BACK_MAX) };
    let first = Offset::new(marks.committed.get().saturating_sub(back)).unwrap_or(Offset::ZERO).max(marks.log_start);
    let most = most(request);
    let mut found: Vec<v1::Record> = Vec::new();
    let mut from = first;
    while from < marks.committed {
        let some = ReadFrom { from, bytes_max: BYTES_MAX, bytes_min: 1, wait: Duration::ZERO, may_follow: false };
        let read = handle.read(some).await?;
        if read.next_offset <= from {
            break;
        }
        from = read.next_offset;
        let (key, id) = (request.key.clone(), request.message_id.clone());
        let some = blocking(move || matching(read.batches, first, key.as_ref(), &id)).await;
        found.extend(some.map_err(|_| Failure::shutting_down())??);
        // The newest are wanted, and they come last.
        let surplus = found.len().saturating_sub(most);
        found.drain(..surplus);
    }
    found.reverse();
    Ok(found)
}

fn matching(batches: Vec<Bytes>, first: Offset, key: Option<&Bytes>, id: &str) -> Result<Vec<v1::Record>, Failure> {
    let mut found = Vec::new();
    for bytes in batches {
        for record in batch::records(bytes)? {
            let record = record?;
            let has_key = key.is_none_or(|key| record.key.as_ref() == Some(key));
            let is_id = |header: &batch::RecordHeader| {
                header.name.as_str() == MESSAGE_ID && header.value.as_deref() == Some(id.as_bytes())
            };
            let has_id = id.is_empty() || record.headers.iter().any(is_id);
            if record.offset >= first && has_key && has_id {
                found.push(crate::front::grpc::read::message_of(record));
            }
        }
    }
    Ok(found)
}
