//! A node that is killed while records come in: what was acknowledged is there, once, in order.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use highwater_tests::{Node, line_start};

use crate::{BINARY, Fixture, assert_same};

const LINES: u64 = 400_000;

/// A producer that is given `input` piece by piece, over a second or more, so that a crash falls into the middle of it.
fn produce(fixture: &Fixture, input: &[u8], arguments: &[&str]) -> Child {
    let mut producer = Command::new(BINARY)
        .args(["produce", "t", "--acks", "quorum", "--server", fixture.node.address()])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = producer.stdin.take().unwrap();
    let input = input.to_vec();
    std::thread::spawn(move || {
        for piece in input.chunks(16 * 1024) {
            // A producer that has ended has closed the pipe.
            if pipe.write_all(piece).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    producer
}

/// Waits until some, but not all, records are there.
fn wait_for_records(fixture: &Fixture, producer: &mut Child) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let shown = fixture.text(&["topic", "describe", "t", "-o", "json"]);
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        let written = shown["partitions"][0]["high_watermark"].as_u64().unwrap();
        if written > LINES / 20 {
            assert!(written < LINES, "all was written before the crash");
            return;
        }
        if producer.try_wait().unwrap().is_some() {
            let mut said = String::new();
            producer.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("the producer gave up before the crash: {said}");
        }
        assert!(Instant::now() < deadline, "too little was written: {written} records");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn finish(mut producer: Child) -> (Option<i32>, String) {
    let mut said = String::new();
    producer.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (producer.wait().unwrap().code(), said)
}

fn read(fixture: &Fixture) -> Vec<u8> {
    fixture.run(&["consume", "t", "--offset", "start", "--exit-at-end"]).ok().stdout
}

#[test]
fn a_producer_outlives_a_crash_of_its_node_and_stores_every_record_once() {
    let fixture = Fixture::new();
    fixture.topic("t");
    let input = highwater_tests::text(LINES);
    let mut producer = produce(&fixture, &input, &[]);
    wait_for_records(&fixture, &mut producer);
    let Fixture { node, data } = fixture;
    let address = node.address().to_owned();
    node.kill();
    let setting = format!("grpc.listen={address}");
    let fixture = Fixture { node: Node::start_with(BINARY, data.path(), &["--set", &setting]), data };
    let (code, said) = finish(producer);
    assert_eq!(code, Some(0), "{said}");
    assert_same(&read(&fixture), &input);
}

#[test]
fn what_was_acknowledged_before_a_crash_is_there_after_it() {
    let fixture = Fixture::new();
    fixture.topic("t");
    let input = highwater_tests::text(LINES);
    // Long enough for a busy machine: it must not give up before the crash.
    let mut producer = produce(&fixture, &input, &["--timeout", "6s"]);
    wait_for_records(&fixture, &mut producer);
    let Fixture { node, data } = fixture;
    node.kill();
    let (code, said) = finish(producer);
    assert_eq!(code, Some(1), "{said}");
    let acknowledged = acknowledged(&said);
    assert!(acknowledged > 0, "{said}");
    let fixture = Fixture { node: Node::start(BINARY, data.path()), data };
    let kept = read(&fixture);
    assert!(input.starts_with(&kept), "in order, each once, none that was never sent");
    let promised = line_start(&input, acknowledged);
    assert!(kept.len() >= promised, "{acknowledged} records were acknowledged: {promised} bytes, not {}", kept.len());
}

/// The count that the producer tells: "…: 1234 records acknowledged, …".
fn acknowledged(said: &str) -> u64 {
    let words: Vec<&str> = said.split_whitespace().collect();
    let at = words.windows(2).position(|pair| pair[1].starts_with("acknowledged") && pair[0].starts_with("record"));
    words[at.unwrap_or_else(|| panic!("it does not say how many: {said}")) - 1].parse().unwrap()
}
