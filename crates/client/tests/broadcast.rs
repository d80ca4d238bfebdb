//! Following topics without a group: what comes from now on, of topics that are there or come later.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod scripted;

use std::time::Duration;

use highwater_client::{Broadcast, Client, Position, ReadError, Record};
use scripted::Server;

const PATIENCE: Duration = Duration::from_secs(20);

async fn client(server: &Server) -> Client {
    server.client().topics_refresh(Duration::from_millis(40)).connect().await.unwrap()
}

async fn value(broadcast: &mut Broadcast) -> String {
    let record = tokio::time::timeout(PATIENCE, broadcast.next_record()).await.expect("in time").unwrap().unwrap();
    assert_eq!(record.topic.as_str(), "t");
    String::from_utf8(record.value.unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn everybody_gets_what_comes_from_now_on() {
    let server = Server::start(2).await;
    server.state.lock().unwrap().is_listed = true;
    let client = client(&server).await;
    let producer = client.producer().build();
    producer.send_and_wait("t", Record::new("old")).await.unwrap();
    let mut one = client.broadcast().topics(["t"]).open().await.unwrap();
    let mut other = client.broadcast().patterns(["?*"]).open().await.unwrap();
    let mut all = client.broadcast().topics(["t"]).from(Position::Start).open().await.unwrap();
    assert_eq!(one.topics().map(|topic| topic.as_str()).collect::<Vec<_>>(), ["t"]);
    producer.send_and_wait("t", Record::new("new")).await.unwrap();
    assert_eq!((value(&mut one).await, value(&mut other).await), ("new".to_owned(), "new".to_owned()));
    let mut both = [value(&mut all).await, value(&mut all).await];
    both.sort();
    assert_eq!(both, ["new", "old"]);
}

#[tokio::test]
async fn a_topic_that_comes_later_is_followed_from_its_first_record() {
    let server = Server::start(1).await;
    let client = client(&server).await;
    client.producer().build().send_and_wait("t", Record::new("first")).await.unwrap();
    let mut broadcast = client.broadcast().patterns(["t*"]).open().await.unwrap();
    assert_eq!(broadcast.topics().count(), 0);
    server.state.lock().unwrap().is_listed = true;
    assert_eq!(value(&mut broadcast).await, "first");
}

#[tokio::test]
async fn nothing_to_read_is_told_at_once() {
    let server = Server::start(1).await;
    let error = client(&server).await.broadcast().open().await.unwrap_err();
    assert_eq!((error.clone(), error.is_retryable()), (ReadError::Nothing, false));
}
