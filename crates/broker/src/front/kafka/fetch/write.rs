//! The answer to a fetch: small heads, and between them records as they lie in the log.

use bytes::Bytes;

use super::question::{Key, Question};
use super::{Found, Wanted};
use crate::front::kafka::error::{KafkaCode, Refusal, code_of};
use crate::front::kafka::wire::Writer;
use crate::partition::ReadResult;

/// "This leader": which replica to read from rather.
const NO_PREFERRED_REPLICA: i32 = -1;

/// Nothing but why.
pub(super) fn refused(mut body: Writer, version: i16, refusal: &Refusal) -> Writer {
    write_head(&mut body, version, refusal.code);
    body.empty_array();
    body.tags();
    body
}

pub(super) fn found(mut body: Writer, version: i16, question: &Question, wanted: Vec<Wanted>, found: Found) -> Writer {
    write_head(&mut body, version, KafkaCode::NONE);
    // One after the other, as they were asked for.
    let mut rest = wanted.into_iter().zip(found).peekable();
    body.array(question.topics.iter().enumerate(), |body, (index, topic)| {
        match &topic.key {
            Key::Name(name) => body.text(name),
            Key::Id(id) => body.topic_id(*id),
        }
        let of_topic: Vec<_> = std::iter::from_fn(|| rest.next_if(|(wanted, _)| wanted.topic == index)).collect();
        body.array(of_topic, |body, (wanted, found)| write_partition(body, version, &wanted, found));
        body.tags();
    });
    body.tags();
    body
}

fn write_head(body: &mut Writer, version: i16, code: KafkaCode) {
    body.i32(0);
    if version >= 7 {
        body.i16(code.number());
        // No session: the next fetch says everything again.
        body.i32(0);
    }
}

fn write_partition(body: &mut Writer, version: i16, wanted: &Wanted, found: Result<ReadResult, Refusal>) {
    body.i32(wanted.asked.partition);
    body.i16(code_of(&found));
    let (high_watermark, log_start) = match &found {
        Ok(result) => (result.high_watermark.to_wire(), result.log_start.to_wire()),
        Err(_) => (-1, -1),
    };
    body.i64(high_watermark);
    // Without transactions everything that is committed is stable.
    body.i64(high_watermark);
    if version >= 5 {
        body.i64(log_start);
    }
    // Aborted transactions.
    body.empty_array();
    if version >= 11 {
        body.i32(NO_PREFERRED_REPLICA);
    }
    // Empty, and never null: clients drop the whole answer then.
    let batches: Vec<Bytes> = found.map(|result| result.batches).unwrap_or_default();
    body.slices(batches);
    body.tags();
}
