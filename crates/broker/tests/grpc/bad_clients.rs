//! Clients that stall, vanish, or do not read: nothing half-sent is stored, what they held is given back, and nobody
//! else notices.

use std::time::Duration;

use futures_util::StreamExt;
use highwater_proto::v1::{self, ErrorCode};
use prost::Message;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use crate::batches::batch;
use crate::harness::{Fixture, at_start, code, endpoint, produce};
use crate::raw;

const STREAM: &str = "/highwater.v1.ProduceService/ProduceStream";

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stalls_inside_a_message_is_given_up() {
    let fixture = Fixture::with(&[("limits.message_timeout", "1s")]).await;
    let message = raw::framed(&produce(1, 0, batch(&[&[7; 100_000]])).encode_to_vec());
    let (sender, response) = raw::call(&fixture.channel, STREAM);
    sender.send(message.slice(..50_000)).await.unwrap();
    let status = timeout(Duration::from_secs(10), async { raw::ended(response.await).await }).await.unwrap();
    assert_eq!(code(&status), ErrorCode::InvalidRequest, "{status}");
    assert!(status.message().contains("bytes of a message came, then nothing"), "{status}");
    drop(sender);
    fixture.until_nothing_is_in_flight().await;
    assert_eq!(fixture.end(0).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_vanishes_inside_a_batch_leaves_nothing() {
    let fixture = Fixture::new().await;
    let whole = raw::framed(&produce(1, 0, batch(&[b"whole"])).encode_to_vec());
    let half = raw::framed(&produce(2, 0, batch(&[&[7; 100_000]])).encode_to_vec()).slice(..60_000);
    // Its call is reset, its request ends, or its connection is gone.
    for how in 0..3 {
        let channel = endpoint(&fixture.server).connect().await.unwrap();
        let (sender, response) = raw::call(&channel, STREAM);
        sender.send(whole.clone()).await.unwrap();
        sender.send(half.clone()).await.unwrap();
        let response = timeout(Duration::from_secs(5), response).await.unwrap();
        let committed = async {
            while fixture.end(0).await < how + 1 {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(10), committed).await.expect("the whole batch before it is stored");
        match how {
            0 => drop((response, sender)),
            1 => {
                drop(sender);
                let status = raw::ended(response).await;
                assert!(status.message().contains("inside a message"), "{status}");
            }
            _ => drop((channel, response, sender)),
        }
        fixture.until_nothing_is_in_flight().await;
        assert_eq!(fixture.end(0).await, how + 1, "and nothing of the half one");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_its_answers_is_not_read_and_then_given_up() {
    let fixture = Fixture::with(&[("limits.message_timeout", "3s")]).await;
    let stalled = endpoint(&fixture.server).initial_stream_window_size(65_535).connect().await.unwrap();
    let (sender, requests) = mpsc::channel(1);
    let mut client = v1::produce_service_client::ProduceServiceClient::new(stalled);
    let mut unread = client.produce_stream(ReceiverStream::new(requests)).await.unwrap().into_inner();
    // An answer takes some 30 bytes of the client's window of 64 KiB; what does not fit stops the stream.
    let mut sent = 0_u64;
    let is_stopped = loop {
        match timeout(Duration::from_secs(1), sender.send(produce(sent, 0, batch(&[&[7; 4_000]])))).await {
            Ok(Ok(())) => sent += 1,
            Ok(Err(_)) | Err(_) => break true,
        }
        if sent > 40_000 {
            break false;
        }
    };
    assert!(is_stopped, "{sent} requests were taken from a client that reads no answer");
    timeout(Duration::from_secs(5), fixture.produce(batch(&[b"another client"]))).await.unwrap().unwrap();
    // Longer than the server is patient.
    tokio::time::sleep(Duration::from_secs(4)).await;
    fixture.until_nothing_is_in_flight().await;
    // Now it reads: what was answered, in order, and then why there is no more.
    let mut answers = Vec::new();
    let status = loop {
        match timeout(Duration::from_secs(5), unread.message()).await.unwrap() {
            Ok(answer) => answers.push(answer.unwrap().correlation),
            Err(status) => break status,
        }
    };
    assert!(answers.iter().copied().eq(0..answers.len() as u64), "in order and without a gap");
    assert!(answers.len() > 1_000, "{}", answers.len());
    assert_eq!(code(&status), ErrorCode::InvalidRequest, "{status}");
    assert!(status.message().contains("did not read its answers"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_budget_pushes_back_and_does_not_refuse() {
    let settings = [("limits.memory_bytes", "64MiB"), ("limits.produce_in_flight_bytes", "32MiB")];
    let fixture = Fixture::with(&settings).await;
    // Two messages of almost 16 MiB, half sent, hold all there is.
    let mut held = Vec::new();
    for _ in 0..2 {
        let (sender, response) = raw::call(&fixture.channel, STREAM);
        sender.send([&[0][..], &((16_u32 << 20) - 2_048).to_be_bytes()[..], &[0; 100]].concat().into()).await.unwrap();
        held.push((sender, tokio::spawn(response)));
    }
    let exhausted = async {
        while fixture.server.produce_budget().available() > 4_096 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(5), exhausted).await.unwrap();
    let mut waiting = Box::pin(fixture.produce(batch(&[&[7; 10_000]])));
    assert!(timeout(Duration::from_millis(300), &mut waiting).await.is_err(), "it waits for room");
    assert_eq!(fixture.end(0).await, 0, "readers are served meanwhile");
    for (sender, response) in held {
        response.abort();
        drop(sender);
    }
    timeout(Duration::from_secs(5), waiting).await.expect("there is room now").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_does_not_read_stops_itself_only() {
    let fixture = Fixture::new().await;
    for _ in 0..32 {
        fixture.produce(batch(&[&vec![7; 900_000]])).await.unwrap();
    }
    let slow = endpoint(&fixture.server)
        .initial_stream_window_size(65_535)
        .initial_connection_window_size(65_535)
        .connect()
        .await
        .unwrap();
    let open = v1::ReadOpen {
        topic: crate::harness::TOPIC.to_owned(),
        from: Some(at_start()),
        credit_bytes: u64::MAX,
        ..Default::default()
    };
    let open = v1::ReadStreamRequest { kind: Some(v1::read_stream_request::Kind::Open(open)) };
    let mut client = v1::read_service_client::ReadServiceClient::new(slow).max_decoding_message_size(32 << 20);
    let requests = tokio_stream::once(open).chain(tokio_stream::pending());
    let mut unread = client.read_stream(requests).await.unwrap().into_inner();
    let mut reader = fixture.reader();
    let read = reader.read(crate::harness::read_from(at_start()));
    let others = timeout(Duration::from_secs(5), read).await.unwrap().unwrap().into_inner();
    assert!(!others.batches.is_empty());
    let mut records = 0;
    while records < 32 {
        records += timeout(Duration::from_secs(10), unread.message()).await.unwrap().unwrap().unwrap().batches.len();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_holds_memory_and_does_not_read_is_given_up() {
    let fixture = Fixture::with(&[("limits.message_timeout", "1s")]).await;
    for _ in 0..8 {
        fixture.produce(batch(&[&vec![7; 900_000]])).await.unwrap();
    }
    let slow = endpoint(&fixture.server).initial_stream_window_size(65_535).connect().await.unwrap();
    let open = v1::ReadOpen {
        topic: crate::harness::TOPIC.to_owned(),
        from: Some(at_start()),
        form: v1::Form::Records.into(),
        credit_bytes: u64::MAX,
        ..Default::default()
    };
    let open = v1::ReadStreamRequest { kind: Some(v1::read_stream_request::Kind::Open(open)) };
    let mut client = v1::read_service_client::ReadServiceClient::new(slow).max_decoding_message_size(32 << 20);
    let mut unread =
        client.read_stream(tokio_stream::once(open).chain(tokio_stream::pending())).await.unwrap().into_inner();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let status = loop {
        match timeout(Duration::from_secs(5), unread.message()).await.unwrap() {
            Ok(answer) => assert!(!answer.unwrap().records.is_empty()),
            Err(status) => break status,
        }
    };
    assert!(status.message().contains("did not read its records"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_says_nothing_is_closed() {
    let fixture = Fixture::empty(&[]).await;
    let mut silent = TcpStream::connect(fixture.server.address()).await.unwrap();
    let closed = timeout(Duration::from_secs(20), async {
        let mut bytes = Vec::new();
        // The server's own settings may come first.
        let _read = silent.read_to_end(&mut bytes).await;
    });
    closed.await.expect("closed within its patience of 10 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_connections_than_allowed() {
    let fixture = Fixture::with(&[("limits.connections", "1")]).await;
    let mut refused = TcpStream::connect(fixture.server.address()).await.unwrap();
    let mut bytes = [0; 64];
    let read = timeout(Duration::from_secs(5), refused.read(&mut bytes)).await.expect("it is closed at once");
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    fixture.produce(batch(&[b"the first is served"])).await.unwrap();
}
