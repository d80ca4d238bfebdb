//! Batches that no broker may store: each is refused by name, nothing is stored, and the stream goes on.

use bytes::Bytes;
use highwater_proto::v1::{self, ErrorCode};
use prost::Message;
use tonic::Code;

use crate::batches::{batch, forged};
use crate::harness::{Fixture, TOPIC, code, details, produce};
use crate::raw;

/// Each bad batch with the code of its refusal.
fn bad_batches() -> Vec<(&'static str, Bytes, ErrorCode)> {
    let good = batch(&[b"one", b"two", b"three"]);
    let with = |at: usize, byte: u8| {
        let mut bytes = good.to_vec();
        bytes[at] ^= byte;
        Bytes::from(bytes)
    };
    vec![
        ("no bytes", Bytes::new(), ErrorCode::InvalidBatch),
        ("cut in its header", good.slice(..40), ErrorCode::InvalidBatch),
        ("cut in its records", good.slice(..good.len() - 1), ErrorCode::InvalidBatch),
        ("followed by garbage", [&good[..], b"x"].concat().into(), ErrorCode::InvalidBatch),
        ("two of them", [&good[..], &good[..]].concat().into(), ErrorCode::InvalidBatch),
        ("a negative length", forged(8, &(-1_i32).to_be_bytes()), ErrorCode::InvalidBatch),
        ("a length that promises more", forged(8, &i32::MAX.to_be_bytes()), ErrorCode::InvalidBatch),
        ("format 1", forged(16, &[1]), ErrorCode::InvalidBatch),
        ("a flipped bit in its records", with(70, 1), ErrorCode::CorruptBatch),
        ("a flipped bit in its checksum", with(18, 1), ErrorCode::CorruptBatch),
        ("compression 5", forged(21, &5_u16.to_be_bytes()), ErrorCode::UnsupportedCompression),
        ("compression 7", forged(21, &7_u16.to_be_bytes()), ErrorCode::UnsupportedCompression),
        ("one record too many in its count", forged(57, &4_i32.to_be_bytes()), ErrorCode::InvalidBatch),
        ("one record too few in its count", forged(57, &2_i32.to_be_bytes()), ErrorCode::InvalidBatch),
        ("a negative count", forged(57, &(-3_i32).to_be_bytes()), ErrorCode::InvalidBatch),
        ("a count of 0", forged(57, &0_i32.to_be_bytes()), ErrorCode::InvalidBatch),
        ("a count of everything", forged(57, &i32::MAX.to_be_bytes()), ErrorCode::InvalidBatch),
        ("a record of negative length", forged(61, &[0x01]), ErrorCode::InvalidBatch),
        ("a record longer than the batch", forged(61, &[0x7e]), ErrorCode::InvalidBatch),
        ("a control batch", forged(21, &0x20_u16.to_be_bytes()), ErrorCode::InvalidBatch),
        ("a transactional batch", forged(21, &0x10_u16.to_be_bytes()), ErrorCode::Unsupported),
        ("a producer without an epoch", forged(43, &7_i64.to_be_bytes()), ErrorCode::InvalidBatch),
        ("too large", batch(&[&vec![0; 1 << 20]]), ErrorCode::BatchTooLarge),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_is_refused_by_name_and_nothing_is_stored() {
    let fixture = Fixture::new().await;
    for (what, bytes, expected) in bad_batches() {
        let status = fixture.produce(bytes).await.expect_err(what);
        assert_eq!(code(&status), expected, "{what}: {status}");
        assert_eq!(
            status.code(),
            if expected == ErrorCode::Unsupported { Code::Unimplemented } else { Code::InvalidArgument }
        );
        assert!(!details(&status).retryable, "{what}");
    }
    assert_eq!(fixture.end(0).await, 0, "nothing was stored");
    fixture.until_nothing_is_in_flight().await;
    assert_eq!(fixture.produce(batch(&[b"good"])).await.unwrap().base_offset, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_behind_each() {
    let fixture = Fixture::new().await;
    let bad = bad_batches();
    let requests: Vec<_> = bad
        .iter()
        .flat_map(|(_, bytes, _)| [bytes.clone(), batch(&[b"good"])])
        .zip(0..)
        .map(|(bytes, correlation)| produce(correlation, 0, bytes))
        .collect();
    let count = requests.len();
    let stream = fixture.producer().produce_stream(tokio_stream::iter(requests)).await.unwrap();
    let mut stream = stream.into_inner();
    let mut responses = Vec::new();
    while let Some(response) = stream.message().await.unwrap() {
        responses.push(response);
    }
    assert_eq!(responses.len(), count, "one answer each, and the stream ended well");
    for (index, response) in responses.iter().enumerate() {
        assert_eq!(response.correlation, index as u64, "in order, refused or not");
        match &response.result {
            Some(v1::produce_response::Result::Error(error)) if index % 2 == 0 => {
                assert_eq!(error.code(), bad[index / 2].2)
            }
            Some(v1::produce_response::Result::Ack(ack)) if index % 2 == 1 => {
                assert_eq!(ack.base_offset, (index / 2) as i64)
            }
            other => panic!("answer {index} is {other:?}"),
        }
    }
    assert_eq!(fixture.end(0).await, bad.len() as i64);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_place_is_refused_by_name() {
    let fixture = Fixture::new().await;
    let good = || produce(1, 0, batch(&[b"x"]));
    let plain = v1::produce_request::Payload::Records(v1::PlainRecords::default());
    let cases = [
        (v1::ProduceRequest { topic: "nowhere".to_owned(), ..good() }, ErrorCode::UnknownTopic, Code::NotFound),
        (v1::ProduceRequest { partition: Some(2), ..good() }, ErrorCode::UnknownPartition, Code::NotFound),
        (v1::ProduceRequest { partition: Some(u32::MAX), ..good() }, ErrorCode::UnknownPartition, Code::NotFound),
        (v1::ProduceRequest { topic: "a/b".to_owned(), ..good() }, ErrorCode::InvalidTopicName, Code::InvalidArgument),
        (v1::ProduceRequest { topic: String::new(), ..good() }, ErrorCode::InvalidTopicName, Code::InvalidArgument),
        (v1::ProduceRequest { partition: None, ..good() }, ErrorCode::InvalidRequest, Code::InvalidArgument),
        (v1::ProduceRequest { payload: None, ..good() }, ErrorCode::InvalidRequest, Code::InvalidArgument),
        (v1::ProduceRequest { payload: Some(plain), ..good() }, ErrorCode::InvalidRequest, Code::InvalidArgument),
    ];
    for (request, expected, grpc) in cases {
        let status = fixture.producer().produce(request).await.unwrap_err();
        assert_eq!((code(&status), status.code()), (expected, grpc), "{status}");
    }
    let unknown = fixture.producer().produce(v1::ProduceRequest { partition: Some(2), ..good() }).await.unwrap_err();
    assert!(unknown.message().contains(TOPIC) && unknown.message().contains('2'), "{unknown}");
    assert_eq!((fixture.end(0).await, fixture.end(1).await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_larger_than_any_may_be_is_not_gathered() {
    let fixture = Fixture::new().await;
    let request = produce(1, 0, vec![0; 17 << 20].into());
    let status = fixture.producer().produce(request).await.unwrap_err();
    assert_eq!(code(&status), ErrorCode::BatchTooLarge, "{status}");
    // The length alone is enough to be refused: no byte of the message was sent.
    for length in [u32::MAX, (16 << 20) + 1] {
        let (sender, response) = raw::call(&fixture.channel, "/highwater.v1.ProduceService/ProduceStream");
        sender.send([&[0][..], &length.to_be_bytes()[..]].concat().into()).await.unwrap();
        let status = raw::ended(response.await).await;
        assert_eq!(code(&status), ErrorCode::BatchTooLarge, "{status}");
    }
    fixture.until_nothing_is_in_flight().await;
    assert_eq!(fixture.end(0).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_ends_its_stream_after_what_came_before() {
    let fixture = Fixture::new().await;
    let (sender, response) = raw::call(&fixture.channel, "/highwater.v1.ProduceService/ProduceStream");
    sender.send(raw::framed(&produce(1, 0, batch(&[b"stored"])).encode_to_vec())).await.unwrap();
    sender.send(raw::framed(&[0xff; 9])).await.unwrap();
    let status = raw::ended(response.await).await;
    assert_eq!((code(&status), status.code()), (ErrorCode::InvalidRequest, Code::InvalidArgument), "{status}");
    assert_eq!(fixture.end(0).await, 1, "what came before it was taken");
    let (sender, response) = raw::call(&fixture.channel, "/highwater.v1.ProduceService/Produce");
    sender.send(Bytes::from_static(&[1, 0, 0, 0, 0])).await.unwrap();
    assert_eq!(code(&raw::ended(response.await).await), ErrorCode::Unsupported, "a compressed message");
}
