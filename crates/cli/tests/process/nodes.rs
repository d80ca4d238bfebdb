//! The verbs of clusters, against three nodes in one process, and a fourth that joins.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use highwater_tests::Node;
use serde_json::Value;

use crate::{BINARY, Fixture};

fn three() -> Fixture {
    Fixture::with(&["--nodes", "3"])
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn status(fixture: &Fixture) -> Value {
    json(&fixture.text(&["cluster", "status", "-o", "json"]))
}

fn partition(fixture: &Fixture, topic: &str, number: usize) -> Value {
    json(&fixture.text(&["topic", "describe", topic, "-o", "json"]))["partitions"][number].clone()
}

/// Waits until something holds.
#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn three_nodes_in_one_process_are_a_cluster() {
    let fixture = three();
    let shown = status(&fixture);
    let nodes = shown["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 3, "{shown}");
    assert!(nodes.iter().all(|node| node["state"] == "active" && node["fenced"] == false), "{shown}");
    assert!(nodes.iter().all(|node| node["version"].is_string() && node["metadata_voter"] == true), "{shown}");
    assert!(shown["controller"].is_u64(), "{shown}");
    let table = fixture.text(&["cluster", "status"]);
    assert!(table.contains("controller") && table.contains("NODE") && table.contains('*'), "{table}");

    fixture.run(&["topic", "create", "orders", "-p", "3", "-r", "3"]).ok();
    let lines: String = (0..1_000).map(|number| format!("{number}\n")).collect();
    fixture.run_with(&["produce", "orders"], lines.as_bytes()).ok();
    let mut read: Vec<u32> = fixture
        .text(&["consume", "orders", "--offset", "start", "--exit-at-end"])
        .lines()
        .map(|line| line.parse().unwrap())
        .collect();
    read.sort_unstable();
    assert!(read.into_iter().eq(0..1_000));
    until("all replicas are in sync", || {
        (0..3).all(|number| partition(&fixture, "orders", number)["in_sync"].as_array().unwrap().len() == 3)
    });
    let shown = partition(&fixture, "orders", 0);
    assert_eq!(shown["replicas"].as_array().unwrap().len(), 3);
    assert_eq!(shown["replica_status"].as_array().unwrap().len(), 3);
    assert!(shown["leader"].is_u64() && shown["lag_records"] == 0, "{shown}");
    let table = fixture.text(&["topic", "describe", "orders"]);
    assert!(table.contains("IN SYNC") && table.contains("LAG"), "{table}");

    let bench =
        fixture.text(&["bench", "produce", "--count", "2000", "--replicas", "3", "--partitions", "2", "-o", "json"]);
    assert!(json(&bench)["records_per_s"].as_f64().unwrap() > 0.0, "{bench}");

    let health = fixture.run(&["cluster", "health", "-o", "json"]);
    let problems = json(health.text())["problems"].as_array().unwrap().clone();
    assert_eq!(health.code, Some(i32::from(!problems.is_empty())), "{}", health.stderr);
    // The disk of the machine that runs this may be nearly full.
    let others: Vec<_> =
        problems.iter().filter(|problem| !problem["text"].as_str().unwrap().contains("disk")).collect();
    assert!(others.is_empty(), "{others:?}");
    let data = fixture.path().to_owned();
    let (ended, said) = fixture.node.stop();
    assert!(ended.success(), "{said}");

    let refused = Node::try_start(BINARY, &data, &[]).unwrap_err();
    assert!(refused.stderr.contains("3 nodes") && refused.stderr.contains("--nodes 3"), "{}", refused.stderr);
    let refused = Node::try_start(BINARY, &data, &["--nodes", "3"]).unwrap_err();
    assert!(refused.stderr.contains("look for each other"), "{}", refused.stderr);
}

#[test]
fn leaders_go_where_they_are_told_and_nobody_notices() {
    let fixture = three();
    fixture.run(&["topic", "create", "orders", "-p", "3", "-r", "3"]).ok();
    let leader = partition(&fixture, "orders", 0)["leader"].as_u64().unwrap();
    let other = if leader == 2 { "3" } else { "2" };
    fixture.run(&["cluster", "transfer", "orders", "--partition", "0", "--to", other, "--wait=30s"]).ok();
    assert_eq!(partition(&fixture, "orders", 0)["leader"].to_string(), other);

    fixture.run(&["cluster", "drain", other, "--wait=30s"]).ok();
    let node = |shown: &Value| {
        let nodes = shown["nodes"].as_array().unwrap();
        nodes.iter().find(|node| node["node"] == other.parse::<u64>().unwrap()).unwrap().clone()
    };
    let shown = node(&status(&fixture));
    assert_eq!((&shown["leaders"], &shown["state"]), (&Value::from(0), &Value::from("draining")), "{shown}");
    fixture.run_with(&["produce", "orders"], b"one\ntwo\n").ok();
    fixture.run(&["cluster", "drain", other, "--undo"]).ok();
    assert_eq!(node(&status(&fixture))["state"], "active");
}

#[test]
fn what_takes_something_away_wants_a_yes_and_what_cannot_be_is_refused() {
    let fixture = three();
    for (arguments, words) in [
        (&["cluster", "decommission", "3"][..], "--yes"),
        (&["cluster", "replace", "3", "--by", "2"], "--yes"),
        (&["cluster", "remove", "3"], "--yes"),
        (&["cluster", "move", "orders"], "--to"),
    ] {
        let refused = fixture.run(arguments);
        assert_eq!(refused.code, Some(2), "{arguments:?}: {}", refused.stderr);
        assert!(refused.stderr.contains(words), "{arguments:?}: {}", refused.stderr);
    }
    for (arguments, word) in [
        (&["cluster", "drain", "9"][..], "9"),
        (&["cluster", "remove", "3", "--yes"], "3"),
        (&["cluster", "replace", "3", "--by", "9", "--yes"], "9"),
    ] {
        let refused = fixture.run(arguments);
        assert_eq!(refused.code, Some(1), "{arguments:?}: {}", refused.stderr);
        assert!(refused.stderr.contains(word), "{arguments:?}: {}", refused.stderr);
    }
    assert_eq!(fixture.run(&["cluster", "transfer", "absent", "--to", "1"]).code, Some(3));
}

/// A process that ends with its test.
struct Joined(Child);

impl Drop for Joined {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn join(fixture: &Fixture, data: &std::path::Path) -> Joined {
    let mut child = Command::new(BINARY)
        .args(["cluster", "join", "--server", fixture.node.address(), "--listen", "127.0.0.1:0"])
        .args([
            "--http-listen",
            "127.0.0.1:0",
            "--kafka-listen",
            "127.0.0.1:0",
            "--peer-listen",
            "127.0.0.1:0",
            "--data",
        ])
        .arg(data)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let is_ready = lines.into_iter().any(|line| line == "ready");
    assert!(is_ready, "the node that joins serves in the end");
    Joined(child)
}

#[test]
fn a_node_joins_takes_the_place_of_another_and_the_records_are_there() {
    let fixture = three();
    fixture.run(&["topic", "create", "orders", "-p", "2", "-r", "3"]).ok();
    let lines: String = (0..500).map(|number| format!("{number}\n")).collect();
    fixture.run_with(&["produce", "orders"], lines.as_bytes()).ok();
    let data = tempfile::tempdir().unwrap();
    let _fourth = join(&fixture, data.path());
    until("the fourth node answers", || {
        let shown = status(&fixture);
        let nodes = shown["nodes"].as_array().unwrap();
        nodes.iter().any(|node| node["node"] == 4 && node["fenced"] == false)
    });
    fixture.run(&["cluster", "replace", "3", "--by", "4", "--yes", "--wait=60s"]).ok();
    let shown = status(&fixture);
    let ids: Vec<_> = shown["nodes"].as_array().unwrap().iter().map(|node| node["node"].as_u64().unwrap()).collect();
    assert_eq!(ids, [1, 2, 4]);
    for number in 0..2 {
        let mut replicas: Vec<_> = partition(&fixture, "orders", number)["replicas"]
            .as_array()
            .unwrap()
            .iter()
            .map(Value::to_string)
            .collect();
        replicas.sort_unstable();
        assert_eq!(replicas, ["1", "2", "4"]);
    }
    let read = fixture.text(&["consume", "orders", "--offset", "start", "--exit-at-end"]);
    assert_eq!(read.lines().count(), 500);
}

#[test]
fn a_load_goes_on_with_a_node_away_and_tells_whose_cost_it_leaves_out() {
    let fixture = three();
    fixture.run(&["topic", "create", "orders", "-r", "3"]).ok();
    let data = tempfile::tempdir().unwrap();
    drop(join(&fixture, data.path()));
    let bench = fixture.run(&["bench", "produce", "--topic", "orders", "--count", "500"]);
    assert_eq!(bench.code, Some(0), "{}", bench.stderr);
    assert!(bench.stderr.contains("node 4 does not answer"), "{}", bench.stderr);
}
