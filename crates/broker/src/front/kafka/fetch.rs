//! `Fetch`: records out, as they lie.
//!
//! Owns: a read over many partitions: who gets how much of the answer, and the wait until there is enough.
//!
//! Never: copies a batch; the answer is slices of the segments' maps. Spawns a task a partition: one request waits for all
//! of its partitions at once. Keeps a session (KIP-227): every answer is whole, and clients are told so.
//!
//! An answer without records says only what this leader knows, as in Kafka. Who wants to know the end asks `ListOffsets`,
//! which asks the group.

mod question;
mod wait;
mod write;

use std::sync::atomic::Ordering;
use std::time::Duration;

use highwater_types::{Offset, limits};
use tokio::time::sleep;

use self::question::{Asked, Question};
use self::wait::moved;
use super::call::Call;
use super::context::Context;
use super::error::{KafkaCode, Refusal};
use super::wire::{Malformed, Writer};
use crate::front::failure::Failure;
use crate::partition::{PartitionHandle, ReadFrom, ReadResult};

/// The most bytes of records in one answer; a larger batch is still sent whole.
const ANSWER_BYTES_MAX: usize = 2 * limits::READ_BYTES_MAX;

/// A partition of the request, and where it is if it is here.
struct Wanted {
    topic: usize,
    asked: Asked,
    handle: Result<PartitionHandle, Refusal>,
}

/// What became of each partition, in the order of the request.
type Found = Vec<Result<ReadResult, Refusal>>;

pub(super) async fn answer(mut call: Call, context: &Context) -> Result<Writer, Malformed> {
    let question = question::read(&mut call.body, call.version)?;
    if question.session_id != 0 {
        let refusal = Refusal::new(KafkaCode::FETCH_SESSION_ID_NOT_FOUND, "this server keeps no sessions of fetches");
        return Ok(write::refused(call.writer(), call.version, &refusal));
    }
    let wanted = locate(&question, context);
    let found = read(&question, &wanted, context).await;
    Ok(write::found(call.writer(), call.version, &question, wanted, found))
}

fn locate(question: &Question, context: &Context) -> Vec<Wanted> {
    let topics = question.topics.iter().enumerate();
    let partitions = topics.flat_map(|(index, topic)| topic.partitions.iter().map(move |asked| (index, topic, asked)));
    let mut names: Vec<Option<Result<String, Refusal>>> = vec![None; question.topics.len()];
    let located = partitions.map(|(index, topic, asked)| {
        let name = match names.get_mut(index) {
            Some(known) => known.get_or_insert_with(|| topic.name(context)).clone(),
            None => topic.name(context),
        };
        let handle = name.and_then(|name| open(context, &name, asked));
        Wanted { topic: index, asked: *asked, handle }
    });
    located.collect()
}

fn open(context: &Context, topic: &str, asked: &Asked) -> Result<PartitionHandle, Refusal> {
    let handle = context.led(topic, asked.partition)?;
    check_epoch(&handle, asked.current_epoch)?;
    Ok(handle)
}

/// Whether the client and this node know the same leader.
pub(super) fn check_epoch(handle: &PartitionHandle, claimed: i32) -> Result<(), Refusal> {
    let epoch = handle.leadership().epoch.get();
    match claimed {
        ..0 => Ok(()),
        _ if claimed < epoch => {
            Err(Refusal::new(KafkaCode::FENCED_LEADER_EPOCH, format!("the leader is of epoch {epoch}, not {claimed}")))
        }
        _ if claimed > epoch => {
            Err(Refusal::new(KafkaCode::UNKNOWN_LEADER_EPOCH, format!("epoch {claimed} is not known here yet")))
        }
        _ => Ok(()),
    }
}

/// Reads until there is enough, the client's time is over, or something has to be told.
async fn read(question: &Question, wanted: &[Wanted], context: &Context) -> Found {
    let wait = Duration::from_millis(u64::from(question.wait_ms).min(limits::READ_WAIT_MS_MAX));
    let mut deadline = Box::pin(sleep(wait));
    // Who is read first gets the most; so it is another one each time.
    let first = context.turns.fetch_add(1, Ordering::Relaxed);
    loop {
        let found = read_once(question, wanted, first).await;
        let is_enough = found.iter().any(Result::is_err) || bytes_of(&found) >= question.bytes_min;
        if is_enough || wait.is_zero() || wanted.is_empty() {
            return found;
        }
        tokio::select! {
            () = moved(wanted, &found) => {}
            () = &mut deadline => return found,
            () = context.shutdown.requested() => return found,
        }
    }
}

fn bytes_of(found: &Found) -> usize {
    found.iter().flatten().map(|result| result.bytes).sum()
}

/// One pass over all partitions, without waiting.
async fn read_once(question: &Question, wanted: &[Wanted], first: usize) -> Found {
    let mut left = question.bytes_max.min(ANSWER_BYTES_MAX);
    let mut found: Vec<Option<Result<ReadResult, Refusal>>> = wanted.iter().map(|_| None).collect();
    let (later, sooner) = wanted.split_at(first.checked_rem(wanted.len()).unwrap_or(0));
    let numbered = (later.len()..).zip(sooner).chain((0..).zip(later));
    let mut is_first = true;
    for (place, wanted) in numbered {
        let result = match &wanted.handle {
            Ok(handle) => read_one(handle, &wanted.asked, left, is_first).await,
            Err(refusal) => Err(refusal.clone()),
        };
        if let Ok(result) = &result {
            left = left.saturating_sub(result.bytes);
            is_first &= result.bytes == 0;
        }
        if let Some(slot) = found.get_mut(place) {
            *slot = Some(result);
        }
    }
    found.into_iter().flatten().collect()
}

/// What one partition has. The first that has something gives at least a batch, however large; of the others what does
/// not fit stays for the next answer.
async fn read_one(handle: &PartitionHandle, asked: &Asked, left: usize, is_first: bool) -> Result<ReadResult, Refusal> {
    let below = || Failure::new(highwater_types::ErrorCode::OffsetOutOfRange, "an offset is not below 0");
    let from = Offset::from_wire(asked.offset).ok_or_else(below)?;
    let bytes_max = asked.bytes_max.min(left).min(limits::READ_BYTES_MAX);
    // That it leads was asked, and what it knows to be committed stays committed whoever leads.
    let request = ReadFrom { from, bytes_max, bytes_min: 0, wait: Duration::ZERO, may_follow: true };
    let result = handle.read(request).await?;
    let fits = is_first || result.bytes <= left;
    Ok(if fits { result } else { ReadResult { batches: Vec::new(), bytes: 0, next_offset: from, ..result } })
}
