//! The HTTP front as a machine meets it that is no client of the node: the pages, the refusals, and what is cut off.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use highwater_broker::server::{Server, StartError};
use highwater_tests::cluster::ports;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::batches::batch;
use crate::harness::{Fixture, TOPIC, config};

const SOON: Duration = Duration::from_secs(20);

/// What came back, split where its head ends.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

/// Sends these bytes and reads until the server closes.
async fn send(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(SOON, stream.read_to_end(&mut answer)).await.expect("the connection is closed").unwrap();
    String::from_utf8(answer).unwrap()
}

async fn ask(address: SocketAddr, request: &str) -> Answer {
    let answer = send(address, request).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_lowercase(), body: body.to_owned() }
}

async fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: node\r\n\r\n")).await
}

/// The page of metrics.
pub(crate) async fn page(fixture: &Fixture) -> BTreeMap<String, f64> {
    values(&get(address(fixture), "/metrics").await.body)
}

/// The first page that shows a value.
pub(crate) async fn page_with(fixture: &Fixture, name: &str) -> BTreeMap<String, f64> {
    let shown = async {
        loop {
            let page = page(fixture).await;
            if page.contains_key(name) {
                return page;
            }
        }
    };
    timeout(Duration::from_secs(30), shown).await.unwrap_or_else(|_| panic!("no page shows {name}"))
}

fn address(fixture: &Fixture) -> SocketAddr {
    fixture.server.http_address().expect("it is switched on")
}

/// The values of a page by their names and labels. Fails where a line is none that Prometheus would read.
fn values(page: &str) -> BTreeMap<String, f64> {
    let page = page.strip_suffix("# EOF\n").expect("the page is whole");
    let mut values = BTreeMap::new();
    for line in page.lines().filter(|line| !line.starts_with("# HELP ") && !line.starts_with("# TYPE ")) {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("not a value: {line:?}"));
        assert!(name.starts_with("highwater_"), "{line:?}");
        let twice = values.insert(name.to_owned(), value.parse().unwrap_or_else(|_| panic!("not a number: {line:?}")));
        assert_eq!(twice, None, "{line:?} stands there twice");
    }
    values
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_metrics_shows_what_was_produced() {
    let fixture = Fixture::new().await;
    fixture.produce(batch(&[b"one", b"two", b"three"])).await.unwrap();
    let as_prometheus =
        "GET /metrics HTTP/1.1\r\nHost: node\r\nAccept: application/openmetrics-text;version=1.0.0\r\n\r\n";
    let answer = ask(address(&fixture), as_prometheus).await;
    assert!(answer.head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{}", answer.head);
    let answer = get(address(&fixture), "/metrics").await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
    let shown = values(&answer.body);
    let of =
        |name: &str, partition: u32| shown[&format!("highwater_{name}{{topic=\"{TOPIC}\",partition=\"{partition}\"}}")];
    assert_eq!((of("partition_high_watermark", 0), of("partition_high_watermark", 1)), (3.0, 0.0));
    assert_eq!((of("partition_log_start_offset", 0), of("partition_log_end_offset", 0)), (0.0, 3.0));
    assert!(of("partition_size_bytes", 0) > 0.0);
    assert_eq!((of("partition_is_leader", 0), of("partition_is_leader", 1)), (1.0, 1.0));
    for (name, value) in [
        ("highwater_partitions_held", 2.0),
        ("highwater_partitions_led", 2.0),
        ("highwater_metadata_is_leader", 1.0),
        ("highwater_ready", 1.0),
        ("highwater_data_disk_full", 0.0),
        ("highwater_produce_in_flight_bytes", 0.0),
        ("highwater_metrics_source_up{source=\"node\"}", 1.0),
    ] {
        assert_eq!(shown[name], value, "{name}");
    }
    assert!(shown["highwater_process_resident_memory_bytes"] > 0.0 && shown["highwater_data_disk_free_bytes"] > 0.0);
    assert!(shown.contains_key("highwater_process_cpu_seconds_total"));
    assert!(answer.body.contains(&format!("highwater_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_in_a_line_and_nothing_else_is_answered() {
    let fixture = Fixture::empty(&[]).await;
    let address = address(&fixture);
    for (path, line) in [("/healthz", "alive\n"), ("/readyz", "ready\n")] {
        let answer = get(address, path).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, line), "{path}");
        assert!(answer.head.contains("connection: close"), "{}", answer.head);
    }
    let elsewhere = get(address, "/topics").await;
    assert_eq!(elsewhere.status, 404);
    for word in ["/topics", "/metrics", "/healthz", "/readyz"] {
        assert!(elsewhere.body.contains(word), "{}", elsewhere.body);
    }
    let posted = ask(address, "POST /metrics HTTP/1.1\r\nHost: node\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(posted.status, 405, "{}", posted.body);
    let with_body = ask(address, "POST /readyz HTTP/1.1\r\nHost: node\r\nContent-Length: 4\r\n\r\ndown").await;
    assert_eq!(with_body.status, 413, "{}", with_body.body);
    assert_eq!(ask(address, "HEAD /readyz HTTP/1.1\r\nHost: node\r\n\r\n").await.body, "");
    assert_eq!(ask(address, "no HTTP at all\r\n\r\n").await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_finish_its_request_is_cut_off() {
    let fixture = Fixture::empty(&[]).await;
    let address = address(&fixture);
    let (half, silent) = tokio::join!(send(address, "GET /metrics HTTP/1.1\r\nHost: no"), send(address, ""));
    assert!(!half.contains(" 200 ") && !silent.contains(" 200 "), "{half:?} {silent:?}");
    let long = format!("GET /readyz HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(64 << 10));
    // The server may close while the rest is still being sent.
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _sent = stream.write_all(long.as_bytes()).await;
    let mut answer = Vec::new();
    let _read = timeout(SOON, stream.read_to_end(&mut answer)).await.expect("the connection is closed");
    assert!(!String::from_utf8_lossy(&answer).contains(" 200 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_connections_are_held_than_there_are_places() {
    let fixture = Fixture::empty(&[]).await;
    let address = address(&fixture);
    let mut held = Vec::new();
    for _ in 0..64 {
        held.push(TcpStream::connect(address).await.unwrap());
    }
    let mut more = TcpStream::connect(address).await.unwrap();
    // Long before it would be cut off for its silence.
    let closed = timeout(Duration::from_secs(3), more.read_u8()).await.expect("one more is closed at once");
    assert!(closed.is_err());
    drop(held);
    let answered = async {
        loop {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let _sent = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n").await;
            let mut answer = Vec::new();
            let _read = stream.read_to_end(&mut answer).await;
            if String::from_utf8_lossy(&answer).contains(" 200 ") {
                return;
            }
        }
    };
    timeout(SOON, answered).await.expect("places are given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_port_is_named_when_it_is_taken_and_free_after_the_stop() {
    let fixture = Fixture::empty(&[]).await;
    let taken = address(&fixture).to_string();
    let data = tempfile::tempdir().unwrap();
    let error = Server::start(config(&data, &[("http.listen", &taken)])).await.unwrap_err();
    assert!(matches!(error, StartError::BindHttp(_)));
    let text = error.to_string();
    assert!(text.contains("http.listen") && text.contains(&taken), "{text}");

    let Fixture { server, data, channel } = fixture;
    drop(channel);
    timeout(SOON, server.shutdown()).await.unwrap().unwrap();
    let again = Server::start(config(&data, &[("http.listen", &taken)])).await.unwrap();
    assert_eq!(get(again.http_address().unwrap(), "/readyz").await.status, 200);
    timeout(SOON, again.shutdown()).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_waits_for_its_cluster_lives_and_is_not_ready() {
    let data = tempfile::tempdir().unwrap();
    // The two others are not there.
    let own = format!("127.0.0.1:{}", ports::free());
    let voters = format!("{own},127.0.0.1:1,127.0.0.1:2");
    let http = SocketAddr::from(([127, 0, 0, 1], ports::free()));
    let settings = [
        ("cluster.listen", own.as_str()),
        ("cluster.first_voters", voters.as_str()),
        ("http.listen", &http.to_string()),
    ];
    let starting = tokio::spawn(Server::start(config(&data, &settings)));
    let listening = async {
        while TcpStream::connect(http).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, listening).await.unwrap();
    assert_eq!(get(http, "/healthz").await.status, 200);
    let ready = get(http, "/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(ready.body.starts_with("not ready: ") && ready.body.lines().count() == 1, "{}", ready.body);
    let shown = values(&get(http, "/metrics").await.body);
    assert_eq!(shown["highwater_ready"], 0.0);
    starting.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_can_be_switched_off() {
    let fixture = Fixture::empty(&[("http.listen", "")]).await;
    assert_eq!(fixture.server.http_address(), None);
    fixture.server.shutdown().await.unwrap();
}
