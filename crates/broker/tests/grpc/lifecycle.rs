//! Start, stop, and start again.

use std::time::Duration;

use highwater_broker::server::{Server, StartError};
use highwater_proto::v1::{self, ErrorCode};
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::batches::batch;
use crate::harness::{Fixture, TOPIC, at_end, at_start, code, config, endpoint, produce, read_from, values};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_is_named_with_its_setting() {
    let fixture = Fixture::empty(&[]).await;
    let data = tempfile::tempdir().unwrap();
    let address = fixture.server.address().to_string();
    let error = Server::start(config(&data, &[("grpc.listen", &address)])).await.unwrap_err();
    assert!(matches!(error, StartError::Bind(_)));
    let text = error.to_string();
    assert!(text.contains("grpc.listen") && text.contains(&address), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_server_says_so_and_keeps_what_it_took() {
    let fixture = Fixture::new().await;
    let mut watch = HealthClient::new(fixture.channel.clone());
    let mut watch = watch.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let open = v1::ReadOpen { topic: TOPIC.to_owned(), from: Some(at_end()), credit_bytes: 1, ..Default::default() };
    let open = v1::ReadStreamRequest { kind: Some(v1::read_stream_request::Kind::Open(open)) };
    let mut reader = fixture.reader();
    let mut reading =
        reader.read_stream(tokio_stream::once(open).chain(tokio_stream::pending())).await.unwrap().into_inner();
    let requests = tokio_stream::once(produce(1, 1, batch(&[b"kept"]))).chain(tokio_stream::pending());
    let mut producer = fixture.producer();
    let mut producing = producer.produce_stream(requests).await.unwrap().into_inner();
    let acked = producing.message().await.unwrap().unwrap();
    assert!(matches!(acked.result, Some(v1::produce_response::Result::Ack(_))));

    let Fixture { server, data, channel } = fixture;
    let stopped = tokio::spawn(server.shutdown());
    assert_eq!(timeout(SOON, watch.message()).await.unwrap().unwrap().unwrap().status(), ServingStatus::NotServing);
    assert_eq!(code(&timeout(SOON, reading.message()).await.unwrap().unwrap_err()), ErrorCode::ShuttingDown);
    assert_eq!(code(&timeout(SOON, producing.message()).await.unwrap().unwrap_err()), ErrorCode::ShuttingDown);
    assert!(timeout(SOON, watch.message()).await.unwrap().unwrap().is_none(), "a watch does not hold up the stop");
    drop(channel);
    timeout(SOON, stopped).await.unwrap().unwrap().unwrap();

    let server = Server::start(config(&data, &[])).await.unwrap();
    let channel = endpoint(&server).connect().await.unwrap();
    let again = Fixture { server, channel, data };
    let request = v1::ReadRequest { partition: 1, ..read_from(at_start()) };
    let read = again.reader().read(request).await.unwrap().into_inner();
    assert_eq!(values(&read.batches), ["kept"]);
    again.server.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_the_same_data_does_not_start() {
    let fixture = Fixture::new().await;
    let error = Server::start(config(&fixture.data, &[])).await.unwrap_err();
    assert!(matches!(error, StartError::Node(_)));
    assert!(error.to_string().contains(fixture.data.path().to_str().unwrap()), "{error}");
    fixture.produce(batch(&[b"the first goes on"])).await.unwrap();
}
