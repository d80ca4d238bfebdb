//! Records with keys, headers and odd bytes; formats; several partitions; readers that wait and readers that leave.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

use crate::{BINARY, Fixture, assert_same};

#[test]
fn keys_and_headers_are_kept() {
    let fixture = Fixture::new();
    fixture.topic("t");
    let headers = ["-H", "trace=abc", "-H", "empty="];
    fixture.run_with(&[&["produce", "t", "-k", "user-1"], &headers[..]].concat(), b"hello\n").ok();
    fixture.run_with(&["produce", "t", "-K", ":"], b"user-2:a:b\nno separator\n").ok();
    let format = "%p/%o %k (%K) = %s (%S) [%h]\\n";
    let printed = fixture.text(&["consume", "t", "--offset", "start", "--exit-at-end", "-f", format]);
    let expected = "0/0 user-1 (6) = hello (5) [trace=abc,empty=]\n\
                    0/1 user-2 (6) = a:b (3) []\n\
                    0/2  (-1) = no separator (12) []\n";
    assert_eq!(printed, expected);
}

#[test]
fn odd_bytes_and_a_missing_last_newline() {
    let fixture = Fixture::new();
    fixture.topic("t");
    let input = b"\xff\xfe\x00\r\n\n\nlast";
    fixture.run_with(&["produce", "t"], input).ok();
    let out = fixture.run(&["consume", "t", "--offset", "start", "--exit-at-end"]).ok().stdout;
    assert_same(&out, b"\xff\xfe\x00\r\n\n\nlast\n");
    let out = fixture.run(&["consume", "t", "--offset", "start", "--exit-at-end", "-f", "%s|"]).ok().stdout;
    assert_same(&out, b"\xff\xfe\x00\r|||last|");
}

#[test]
fn every_codec_and_every_durability_goes_in_and_out() {
    let fixture = Fixture::new();
    let input = highwater_tests::text(2_000);
    for options in [["--compression", "gzip"], ["--compression", "snappy"], ["--compression", "lz4"]] {
        round_trip(&fixture, &options, &input);
    }
    for options in [["--compression", "zstd"], ["--acks", "none"], ["--acks", "leader"], ["--acks", "quorum"]] {
        round_trip(&fixture, &options, &input);
    }
}

fn round_trip(fixture: &Fixture, options: &[&str; 2], input: &[u8]) {
    let topic = options[1];
    fixture.topic(topic);
    fixture.run_with(&["produce", topic, options[0], options[1]], input).ok();
    let out = fixture.run(&["consume", topic, "--offset", "start", "-n", "2000"]).ok().stdout;
    assert_same(&out, input);
}

#[test]
fn without_a_partition_all_are_read_and_a_key_stays_in_one() {
    let fixture = Fixture::new();
    fixture.run(&["topic", "create", "t", "-p", "4"]).ok();
    let input: String = (0..1_000).map(|number| format!("key-{}:{number}\n", number % 50)).collect();
    fixture.run_with(&["produce", "t", "-K", ":"], input.as_bytes()).ok();
    let all = fixture.text(&["consume", "t", "--offset", "start", "--exit-at-end", "-f", "%p %k %s\\n"]);
    let rows: Vec<Vec<&str>> = all.lines().map(|line| line.split(' ').collect()).collect();
    assert_eq!(rows.len(), 1_000);
    let homes: BTreeSet<(&str, &str)> = rows.iter().map(|row| (row[1], row[0])).collect();
    assert_eq!(homes.len(), 50, "every key has one partition");
    let used: BTreeSet<&str> = homes.iter().map(|(_, partition)| *partition).collect();
    assert!(used.len() > 1, "keys are spread");
    for home in used {
        let one =
            fixture.text(&["consume", "t", "--offset", "start", "--exit-at-end", "--partition", home, "-f", "%s\\n"]);
        let expected: String = rows.iter().filter(|row| row[0] == home).map(|row| format!("{}\n", row[2])).collect();
        assert_eq!(one, expected, "partition {home} in its order");
    }
}

#[test]
fn a_reader_that_waits_gets_records_as_they_come() {
    let fixture = Fixture::new();
    fixture.topic("t");
    let mut reader = Command::new(BINARY)
        .args(["consume", "t", "--offset", "start", "-n", "2", "--server", fixture.node.address()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(reader.stdout.take().unwrap()).lines();
    fixture.run_with(&["produce", "t"], b"one\n").ok();
    assert_eq!(lines.next().unwrap().unwrap(), "one", "it is printed although the reader goes on");
    fixture.run_with(&["produce", "t"], b"two\n").ok();
    assert_eq!(lines.next().unwrap().unwrap(), "two");
    assert!(reader.wait().unwrap().success(), "after two records it is done");
}

#[test]
fn a_closed_pipe_ends_a_reader_quietly() {
    let fixture = Fixture::new();
    fixture.topic("t");
    fixture.run_with(&["produce", "t"], &highwater_tests::text(50_000)).ok();
    let mut reader = Command::new(BINARY)
        .args(["consume", "t", "--offset", "start", "--server", fixture.node.address()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = reader.stdout.take().unwrap();
    pipe.read_exact(&mut [0; 100]).unwrap();
    drop(pipe);
    let mut stderr = String::new();
    reader.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(reader.wait().unwrap().code(), Some(0), "{stderr}");
    assert!(!stderr.contains("error"), "{stderr}");
}
