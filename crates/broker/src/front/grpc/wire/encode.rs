//! Messages as pieces for the wire. Whole batches become pieces of their own, uncopied; what is small is gathered.
//!
//! Written by hand against `read.proto`, because an encoder that is handed one buffer can only copy into it. A test
//! decodes what is written here with the generated code.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use highwater_proto::v1;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use super::FRAME_HEADER_BYTES;

/// A batch shorter than this is copied beside its neighbours: each piece costs a frame of HTTP/2 and a system call.
const GATHER_BELOW_BYTES: usize = 16 * 1024;
/// Gathered pieces are cut about here.
const GATHERED_BYTES_MAX: usize = 64 * 1024;
/// `ReadResponse.batches`.
const BATCHES_TAG: u32 = 1;
/// `SessionResponse.records`, and `SessionRecords.read` in it.
const SESSION_RECORDS_TAG: u32 = 4;
const SESSION_READ_TAG: u32 = 3;

/// Adds any message, framed, to a buffer.
pub(crate) fn put_message(message: &impl Message, buffer: &mut BytesMut) {
    let length = message.encoded_len();
    buffer.reserve(FRAME_HEADER_BYTES + length);
    put_frame_header(buffer, length);
    let encoded = message.encode(buffer);
    assert!(encoded.is_ok(), "a growing buffer has room");
}

/// Any message as one piece.
pub(crate) fn pieces_of_message(message: &impl Message) -> Vec<Bytes> {
    let mut buffer = BytesMut::new();
    put_message(message, &mut buffer);
    vec![buffer.freeze()]
}

/// The same pieces, which keep `keep` until the last of them is sent.
pub(crate) fn holding<T: Send + Sync + 'static>(pieces: Vec<Bytes>, keep: T) -> Vec<Bytes> {
    let keep = Arc::new(keep);
    let held = |bytes| Bytes::from_owner(Held { bytes, _keep: Arc::clone(&keep) });
    pieces.into_iter().map(held).collect()
}

/// Bytes with what must not be dropped before them.
struct Held<T> {
    bytes: Bytes,
    _keep: Arc<T>,
}

impl<T> AsRef<[u8]> for Held<T> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The answer to a read, in pieces.
pub(crate) fn pieces_of_read(response: &v1::ReadResponse) -> Vec<Bytes> {
    if !response.records.is_empty() {
        // Records of their own are small and many: the generated code gathers them as well as anybody.
        return pieces_of_message(response);
    }
    let mut buffer = BytesMut::with_capacity(128);
    put_frame_header(&mut buffer, bytes_of_read(response));
    put_read(response, buffer)
}

/// Records of one partition on the stream of a group's member, in pieces.
pub(crate) fn pieces_of_session_records(topic: &str, partition: u32, read: &v1::ReadResponse) -> Vec<Bytes> {
    let records = v1::SessionRecords { topic: topic.to_owned(), partition, read: None };
    if !read.records.is_empty() {
        let records = v1::SessionRecords { read: Some(read.clone()), ..records };
        return pieces_of_message(&v1::SessionResponse { kind: Some(v1::session_response::Kind::Records(records)) });
    }
    let read_bytes = bytes_of_read(read);
    let records_bytes = records.encoded_len() + length_delimited_bytes(SESSION_READ_TAG, read_bytes);
    let mut buffer = BytesMut::with_capacity(256);
    put_frame_header(&mut buffer, length_delimited_bytes(SESSION_RECORDS_TAG, records_bytes));
    put_head(SESSION_RECORDS_TAG, records_bytes, &mut buffer);
    let encoded = records.encode(&mut buffer);
    assert!(encoded.is_ok(), "a growing buffer has room");
    put_head(SESSION_READ_TAG, read_bytes, &mut buffer);
    put_read(read, buffer)
}

/// What an answer with batches takes, encoded.
fn bytes_of_read(response: &v1::ReadResponse) -> usize {
    let batches = response.batches.iter().map(|batch| length_delimited_bytes(BATCHES_TAG, batch.len()));
    head_of(response).encoded_len() + batches.sum::<usize>()
}

fn head_of(response: &v1::ReadResponse) -> v1::ReadResponse {
    v1::ReadResponse { batches: Vec::new(), records: Vec::new(), ..*response }
}

/// Adds an answer with batches to what is in a buffer, and makes pieces of both.
fn put_read(response: &v1::ReadResponse, mut buffer: BytesMut) -> Vec<Bytes> {
    let encoded = head_of(response).encode(&mut buffer);
    assert!(encoded.is_ok(), "a growing buffer has room");
    let mut pieces = Vec::with_capacity(2 * response.batches.len() + 1);
    for batch in &response.batches {
        put_head(BATCHES_TAG, batch.len(), &mut buffer);
        if batch.len() < GATHER_BELOW_BYTES {
            buffer.reserve(batch.len().max(GATHER_BELOW_BYTES));
            buffer.put_slice(batch);
            if buffer.len() >= GATHERED_BYTES_MAX {
                pieces.push(buffer.split().freeze());
            }
        } else {
            pieces.push(buffer.split().freeze());
            pieces.push(batch.clone());
        }
    }
    if !buffer.is_empty() {
        pieces.push(buffer.freeze());
    }
    pieces
}

fn put_head(tag: u32, bytes: usize, buffer: &mut BytesMut) {
    encode_key(tag, WireType::LengthDelimited, buffer);
    encode_varint(bytes as u64, buffer);
}

/// What a field of so many bytes takes in a message.
fn length_delimited_bytes(tag: u32, bytes: usize) -> usize {
    key_len(tag) + encoded_len_varint(bytes as u64) + bytes
}

fn put_frame_header(buffer: &mut BytesMut, length: usize) {
    buffer.put_u8(0);
    // What a node answers is bounded by `limits::READ_BYTES_MAX` and one batch, far below 4 GiB.
    buffer.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(pieces: &[Bytes]) -> Bytes {
        let bytes = Bytes::from(pieces.concat());
        assert_eq!(bytes.first(), Some(&0));
        let length = u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize;
        assert_eq!(length, bytes.len() - FRAME_HEADER_BYTES);
        bytes.slice(FRAME_HEADER_BYTES..)
    }

    fn response(sizes: &[usize]) -> v1::ReadResponse {
        let batch = |(index, size): (usize, &usize)| Bytes::from(vec![u8::try_from(index % 251).unwrap(); *size]);
        v1::ReadResponse {
            batches: sizes.iter().enumerate().map(batch).collect(),
            records: Vec::new(),
            next_offset: 1 << 40,
            log_start: 0,
            high_watermark: 7,
        }
    }

    #[test]
    fn the_generated_code_reads_what_is_written_by_hand() {
        let many = vec![300; 1_000];
        let cases: [&[usize]; 8] =
            [&[], &[0], &[61], &[16_384], &[100, 20_000, 100, 100, 70_000], &[1 << 20], &many, &[127, 128, 16_383]];
        for sizes in cases {
            let sent = response(sizes);
            let got = v1::ReadResponse::decode(whole(&pieces_of_read(&sent))).unwrap();
            assert_eq!(got, sent);
            let pieces = pieces_of_session_records("orders", 3, &sent);
            let got = v1::SessionResponse::decode(whole(&pieces)).unwrap().kind;
            let records = v1::SessionRecords { topic: "orders".to_owned(), partition: 3, read: Some(sent) };
            assert_eq!(got, Some(v1::session_response::Kind::Records(records)));
        }
        let mut records = response(&[]);
        records.records.push(v1::Record { offset: 3, value: Some(Bytes::from_static(b"x")), ..Default::default() });
        assert_eq!(v1::ReadResponse::decode(whole(&pieces_of_read(&records))).unwrap(), records);
        let topic = v1::DeleteTopicRequest { name: "orders".to_owned() };
        assert_eq!(v1::DeleteTopicRequest::decode(whole(&pieces_of_message(&topic))).unwrap(), topic);
    }

    #[test]
    fn what_is_held_goes_with_the_last_piece() {
        let kept = Arc::new(());
        let mut pieces = holding(vec![Bytes::from_static(b"a"), Bytes::from_static(b"b")], Arc::clone(&kept));
        assert_eq!(pieces.concat(), b"ab");
        drop(pieces.pop());
        assert_eq!(Arc::strong_count(&kept), 2);
        drop(pieces);
        assert_eq!(Arc::strong_count(&kept), 1);
    }

    #[test]
    fn a_large_batch_is_not_copied() {
        let sent = response(&[100, 64 * 1024, 64 * 1024]);
        let pieces = pieces_of_read(&sent);
        let uncopied = sent.batches.iter().filter(|batch| pieces.iter().any(|piece| piece.as_ptr() == batch.as_ptr()));
        assert_eq!(uncopied.count(), 2);
        assert!(pieces.len() <= 5, "{}", pieces.len());
    }
}
