//! Starting and stopping: the banner, signals, the port, the order of settings, retention.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use highwater_tests::Node;
use serde_json::Value;

use crate::{BINARY, Fixture, assert_same};

#[test]
fn the_banner_says_where_how_durable_and_what_next() {
    let fixture = Fixture::new();
    let banner = fixture.node.banner().join("\n");
    let data = fixture.path().to_string_lossy().into_owned();
    for words in [fixture.node.address(), "acknowledged = fsynced", &data, "topic create", "produce", "consume"] {
        assert!(banner.contains(words), "{words:?} is not said in:\n{banner}");
    }
    for command in banner.lines().filter(|line| line.contains("topic create")) {
        assert!(command.contains(fixture.node.address()), "it can be copied as it is: {command}");
    }
}

#[test]
fn a_node_that_is_asked_to_stop_does_so_in_order() {
    let fixture = Fixture::new();
    fixture.topic("t");
    let input = highwater_tests::text(20_000);
    fixture.run_with(&["produce", "t"], &input).ok();
    let Fixture { node, data } = fixture;
    let (status, said) = node.stop();
    assert!(status.success(), "{status}: {said}");
    let node = Node::start(BINARY, data.path());
    let fixture = Fixture { node, data };
    let out = fixture.run(&["consume", "t", "--offset", "start", "--exit-at-end"]).ok().stdout;
    assert_same(&out, &input);
}

#[test]
fn a_taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = tempfile::tempdir().unwrap();
    let setting = format!("grpc.listen={address}");
    // The harness asks for any free port; a later flag for the same setting has the last word.
    let failed = Node::try_start(BINARY, data.path(), &["--set", &setting]).unwrap_err();
    assert_eq!(failed.status.code(), Some(1), "{}", failed.stderr);
    assert!(failed.stderr.contains(&address) && failed.stderr.contains("--listen"), "{}", failed.stderr);
    assert!(failed.stderr.starts_with("error: "), "{}", failed.stderr);
}

#[test]
fn metrics_and_health_are_where_the_banner_says() {
    let fixture = Fixture::new();
    let line = fixture.node.banner().iter().find_map(|line| line.trim().strip_prefix("HTTP ")).unwrap();
    let address = line.split_whitespace().next().unwrap().to_owned();
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: node\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nready\n"), "{answer}");

    let data = tempfile::tempdir().unwrap();
    let setting = format!("http.listen={address}");
    let failed = Node::try_start(BINARY, data.path(), &["--set", &setting]).unwrap_err();
    assert_eq!(failed.status.code(), Some(1), "{}", failed.stderr);
    assert!(failed.stderr.contains(&address) && failed.stderr.contains("--http-listen"), "{}", failed.stderr);
}

#[test]
fn wrong_settings_are_refused_before_anything_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    for (setting, words) in [("limits.connections=0", "limits.connections"), ("log.segments=1", "log.segments")] {
        let failed = Node::try_start(BINARY, &data, &["--set", setting]).unwrap_err();
        assert_eq!(failed.status.code(), Some(2), "{}", failed.stderr);
        assert!(failed.stderr.contains(words) && failed.stderr.contains("--set"), "{}", failed.stderr);
    }
    assert!(!data.exists(), "no data directory was made");
}

#[test]
fn settings_are_shown_with_where_they_come_from() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("node.toml");
    std::fs::write(&file, "[limits]\nconnections = 12\n").unwrap();
    let file = file.to_string_lossy().into_owned();
    let arguments = ["config", "--config", &file, "--data", "elsewhere", "-o", "json"];
    let outcome = highwater_tests::highwater(BINARY, "127.0.0.1:1", &arguments, b"").ok();
    let rows: Vec<Value> = serde_json::from_str(outcome.text()).unwrap();
    let row = |key: &str| rows.iter().find(|row| row["key"] == key).unwrap().clone();
    assert!(row("limits.connections")["source"].as_str().unwrap().ends_with("node.toml"));
    assert!(row("data.dir")["value"].as_str().unwrap().contains("elsewhere"));
    assert_eq!(row("data.dir")["source"], "flag --data");
    assert_eq!(row("grpc.listen")["source"], "default");
}

#[test]
fn the_sample_configuration_starts_a_server() {
    let sample = highwater_tests::highwater(BINARY, "127.0.0.1:1", &["config", "--sample"], b"").ok();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("node.toml");
    std::fs::write(&file, &sample.stdout).unwrap();
    let node = Node::start_server(BINARY, &folder.path().join("data"), &["--config", &file.to_string_lossy()]);
    let listed = highwater_tests::highwater(BINARY, node.address(), &["topic", "list"], b"").ok();
    assert!(listed.text().starts_with("TOPIC"));
    let (status, said) = node.stop();
    assert!(status.success(), "{said}");
}

#[test]
fn retention_by_bytes_lets_old_segments_go_and_says_where_the_log_starts() {
    retention("retention.bytes=2097152");
}

#[test]
fn retention_by_time_lets_old_segments_go_and_says_where_the_log_starts() {
    retention("retention.ms=1000");
}

/// Fills a topic of small segments and waits until its log starts later than it did.
fn retention(setting: &str) {
    let fixture = Fixture::new();
    fixture.run(&["topic", "create", "t", "-c", "segment.bytes=1048576", "-c", setting]).ok();
    let input = highwater_tests::text(200_000);
    fixture.run_with(&["produce", "t"], &input).ok();
    let deadline = Instant::now() + Duration::from_secs(60);
    let log_start = loop {
        let shown: Value = serde_json::from_str(&fixture.text(&["topic", "describe", "t", "-o", "json"])).unwrap();
        let partition = &shown["partitions"][0];
        assert_eq!(partition["high_watermark"], 200_000, "the end stays where it is");
        match partition["log_start"].as_u64().unwrap() {
            0 => assert!(Instant::now() < deadline, "nothing was let go: {partition}"),
            start => break start,
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let kept = fixture.run(&["consume", "t", "--offset", "start", "--exit-at-end"]).ok().stdout;
    assert!(kept.len() < input.len() && input.ends_with(&kept), "what is kept is the end of what was written");
    let gone = fixture.run(&["consume", "t", "--offset", "0", "--exit-at-end"]);
    assert_eq!(gone.code, Some(3), "an offset that is gone is not silently another one");
    assert!(log_start > 0 && gone.stderr.contains("200000"), "the valid range is told: {}", gone.stderr);
}

#[test]
fn a_producer_goes_on_when_its_node_is_restarted() {
    use std::process::{Command, Stdio};

    let fixture = Fixture::new();
    fixture.topic("t");
    let mut producer = Command::new(BINARY)
        .args(["produce", "t", "--server", fixture.node.address()])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut pipe = producer.stdin.take().unwrap();
    pipe.write_all(b"before\n").unwrap();
    // Until it is there the producer may not even have connected, and a first connection is not waited for.
    assert_eq!(fixture.text(&["consume", "t", "--offset", "start", "-n", "1"]), "before\n");
    let Fixture { node, data } = fixture;
    let setting = format!("grpc.listen={}", node.address());
    let (status, said) = node.stop();
    assert!(status.success(), "an open stream does not hold up the stop: {said}");
    pipe.write_all(b"meanwhile\n").unwrap();
    let fixture = Fixture { node: Node::start_with(BINARY, data.path(), &["--set", &setting]), data };
    pipe.write_all(b"after\n").unwrap();
    drop(pipe);
    assert!(producer.wait().unwrap().success());
    let read = fixture.text(&["consume", "t", "--exit-at-end"]);
    assert_eq!(read, "before\nmeanwhile\nafter\n");
}
