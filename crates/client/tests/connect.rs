//! Connections and single requests: clear errors, other servers, and nothing done twice.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod scripted;

use std::time::Duration;

use highwater_client::{Client, ConnectError, Outcome, RequestError, TopicChange};
use scripted::{ProduceFault, Server};

#[tokio::test]
async fn a_server_that_is_not_there_is_told_with_its_address() {
    let mut server = Server::start(1).await;
    server.stop();
    let error = Client::connect(&server.address.to_string()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable(_)) && error.is_retryable());
    let text = error.to_string();
    assert!(text.contains(&server.address.to_string()) && text.contains("refused"), "{text}");
    let error = Client::connect("localhost").await.unwrap_err();
    assert!(error.to_string().contains("HOST:PORT"), "{error}");
}

#[tokio::test]
async fn the_first_server_that_answers_is_used_and_left_when_it_stops() {
    let mut first = Server::start(1).await;
    let second = Server::start(2).await;
    let mut gone = Server::start(1).await;
    gone.stop();
    let servers = format!("{},{},{}", gone.address, first.address, second.address);
    let client = Client::connect(&servers).await.unwrap();
    assert_eq!(client.admin().describe_topic("t").await.unwrap().topic.partitions.len(), 1);
    first.stop();
    assert_eq!(client.admin().describe_topic("t").await.unwrap().topic.partitions.len(), 2);
}

#[tokio::test]
async fn what_takes_connections_and_breaks_them_is_no_server() {
    let closes = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closes.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            // Taken, and closed as soon as something is asked: what a balancer does whose server is gone.
            let (stream, _) = closes.accept().await.unwrap();
            stream.readable().await.unwrap();
        }
    });
    let server = Server::start(3).await;
    let client = Client::connect(&format!("{address},{}", server.address)).await.unwrap();
    // The server of this test breaks off after it was asked: but it is the one that was asked.
    let error = client.admin().delete_topic("t").await.unwrap_err();
    assert!(error.to_string().contains(&server.address.to_string()), "{error}");
    let error = Client::connect(&address.to_string()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable(_)), "{error}");
}

#[tokio::test]
async fn reads_are_repeated_and_changes_are_not_once_they_may_be_done() {
    let server = Server::start(1).await;
    let client = server.client().request_timeout(Duration::from_millis(500)).connect().await.unwrap();
    server.fail_next([ProduceFault::None, ProduceFault::None]);
    client.admin().list_topics().await.unwrap();
    let error = client.admin().delete_topic("t").await.unwrap_err();
    assert!(matches!(error, RequestError::Broken(_)), "{error}");
    assert_eq!(error.outcome(), Outcome::Unknown);
    let error = client.admin().alter_topic("t", TopicChange::new().partitions(3)).await.unwrap_err();
    assert!(matches!(error, RequestError::TimedOut { .. }), "{error}");
    let error = client.admin().node_usage().await.unwrap_err();
    assert!(matches!(error, RequestError::Rejected(_)) && !error.is_retryable(), "{error}");
}
