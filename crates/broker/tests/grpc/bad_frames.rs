//! Calls that are no calls, and frames that are no messages: each has its answer, and the server goes on.

use std::time::Duration;

use bytes::Bytes;
use highwater_proto::v1::{self, ErrorCode};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::codegen::{Service, http};

use crate::batches::batch;
use crate::harness::{Fixture, code, produce};
use crate::raw;

const SOON: Duration = Duration::from_secs(10);
const STREAM: &str = "/highwater.v1.ProduceService/ProduceStream";
const SINGLE: &str = "/highwater.v1.ProduceService/Produce";

async fn answer(fixture: &Fixture, request: http::Request<Body>) -> http::Response<Body> {
    let mut channel = fixture.channel.clone();
    std::future::poll_fn(|context| channel.poll_ready(context)).await.unwrap();
    timeout(SOON, channel.call(request)).await.unwrap().unwrap()
}

/// How a call ends whose body is these bytes, and then open.
async fn ended(fixture: &Fixture, path: &str, bytes: Bytes) -> tonic::Status {
    let (sender, response) = raw::call(&fixture.channel, path);
    sender.send(bytes).await.unwrap();
    let status = timeout(SOON, async { raw::ended(response.await).await }).await.unwrap();
    drop(sender);
    status
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_grpc_call_is_told_so_by_http() {
    let fixture = Fixture::new().await;
    for path in [STREAM, SINGLE, "/highwater.v1.ReadService/Read"] {
        for content_type in ["application/json", "application/grpc-web", "application/grpc+json", "text/plain; x"] {
            let request = http::Request::post(path).header("content-type", content_type).body(Body::empty()).unwrap();
            assert_eq!(answer(&fixture, request).await.status(), 415, "{path} {content_type}");
        }
        let request = http::Request::post(path).body(Body::empty()).unwrap();
        assert_eq!(answer(&fixture, request).await.status(), 415, "{path} without a content type");
        let request = http::Request::get(path).header("content-type", "application/grpc").body(Body::empty()).unwrap();
        assert_eq!(answer(&fixture, request).await.status(), 405, "{path}");
        let request =
            http::Request::post(path).header("content-type", "application/grpc+proto").body(Body::empty()).unwrap();
        assert_eq!(answer(&fixture, request).await.status(), 200, "{path} by its long name");
    }
    fixture.produce(batch(&[b"others are served"])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_are_no_messages_end_their_call_only() {
    let fixture = Fixture::new().await;
    let good = produce(1, 0, batch(&[b"good"])).encode_to_vec();
    let compressed = [&[1][..], &raw::framed(&good)[1..]].concat();
    for path in [STREAM, SINGLE] {
        let refused = async |bytes: Vec<u8>| code(&ended(&fixture, path, bytes.into()).await);
        assert_eq!(refused(compressed.clone()).await, ErrorCode::Unsupported, "{path}");
        assert_eq!(refused([&[0xff][..], &compressed[1..]].concat()).await, ErrorCode::Unsupported, "{path}");
        assert_eq!(refused(vec![0, 0xff, 0xff, 0xff, 0xff, 1]).await, ErrorCode::BatchTooLarge, "{path}");
        assert_eq!(refused(vec![0, 0, 0, 0, 2, 0xff, 0xff]).await, ErrorCode::InvalidRequest, "{path}");
        // Field 6 says that it is longer than the message.
        assert_eq!(refused(vec![0, 0, 0, 0, 2, 0x32, 9]).await, ErrorCode::InvalidRequest, "{path}");
    }
    let empty = ended(&fixture, SINGLE, Bytes::from_static(&[0, 0, 0, 0, 0])).await;
    assert_eq!(code(&empty), ErrorCode::InvalidTopicName, "an empty message is a request of nothing: {empty}");
    for service in ["ProduceService", "ReadService", "AdminService", "NoService"] {
        let status = ended(&fixture, &format!("/highwater.v1.{service}/NoMethod"), Bytes::new()).await;
        assert_eq!(status.code(), tonic::Code::Unimplemented, "{service}: {status}");
    }
    fixture.until_nothing_is_in_flight().await;
    assert_eq!(fixture.end(0).await, 0);
    fixture.produce(batch(&[b"others are served"])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_many_frames_is_one_message() {
    let fixture = Fixture::new().await;
    let (sender, response) = raw::call(&fixture.channel, STREAM);
    let response = tokio::spawn(response);
    let messages = [
        raw::framed(&produce(1, 0, batch(&[b"one"])).encode_to_vec()),
        raw::framed(&produce(2, 0, batch(&[&[7; 3_000]])).encode_to_vec()),
    ];
    for byte in messages.concat() {
        sender.send(Bytes::from(vec![byte])).await.unwrap();
    }
    drop(sender);
    let status = timeout(SOON, async { raw::ended(response.await.unwrap()).await }).await.unwrap();
    assert_eq!(status.code(), tonic::Code::Ok, "{status}");
    assert_eq!(fixture.end(0).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_tiny_records_are_refused_before_they_take_memory() {
    let fixture = Fixture::new().await;
    let records = vec![v1::Record::default(); 1_000_000];
    let payload = Some(v1::produce_request::Payload::Records(v1::PlainRecords { records }));
    let request = v1::ProduceRequest { payload, ..produce(1, 0, Bytes::new()) };
    let status = fixture.producer().produce(request).await.unwrap_err();
    assert_eq!(code(&status), ErrorCode::BatchTooLarge, "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_does_not_speak_http_2_is_closed() {
    let fixture = Fixture::new().await;
    let openings: [&[u8]; 4] = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST /highwater.v1.ProduceService/Produce HTTP/1.1\r\nContent-Type: application/grpc\r\n\r\n",
        &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        // The opening, then a frame longer than any.
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x04\0\0\0\0\0",
    ];
    for opening in openings {
        let mut stream = TcpStream::connect(fixture.server.address()).await.unwrap();
        stream.write_all(opening).await.unwrap();
        let mut bytes = Vec::new();
        // It may be closed politely or not.
        let _closed = timeout(SOON, stream.read_to_end(&mut bytes)).await.expect("closed, not left open");
        assert!(!bytes.starts_with(b"HTTP/1"), "nothing pretends to speak HTTP/1");
    }
    fixture.produce(batch(&[b"others are served"])).await.unwrap();
}
