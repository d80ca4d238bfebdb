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
    let head = v1::ReadResponse { batches: Vec::new(), records: Vec::new(), ..*response };
    if !response.records.is_empty() {
        // Records of their own are small and many: the generated code gathers them as well as anybody.
        return pieces_of_message(response);
    }
    let batch_bytes: usize = response.batches.iter().map(|batch| field_bytes(batch.len())).sum();
    let mut buffer = BytesMut::with_capacity(128);
    put_frame_header(&mut buffer, head.encoded_len() + batch_bytes);
    let encoded = head.encode(&mut buffer);
    assert!(encoded.is_ok(), "a growing buffer has room");
    let mut pieces = Vec::with_capacity(2 * response.batches.len() + 1);
    for batch in &response.batches {
        encode_key(BATCHES_TAG, WireType::LengthDelimited, &mut buffer);
        encode_varint(batch.len() as u64, &mut buffer);
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

/// What a batch takes in the message.
fn field_bytes(batch_bytes: usize) -> usize {
    key_len(BATCHES_TAG) + encoded_len_varint(batch_bytes as u64) + batch_bytes
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
