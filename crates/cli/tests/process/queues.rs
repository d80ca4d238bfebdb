//! Queues: a command a message, retries, dead letters and their way back, and what is said about all of it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::Fixture;

/// A node with a topic of two partitions, a queue group of it, and so many messages: `job 1`, `job 2` ...
fn with_jobs(count: u32, settings: &[&str]) -> Fixture {
    let fixture = Fixture::new();
    fixture.run(&["topic", "create", "jobs", "-p", "2"]).ok();
    fixture.run(&[&["queue", "set", "jobs", "--group", "g"], settings].concat()).ok();
    let jobs: String = (1..=count).map(|number| format!("{number}:job {number}\n")).collect();
    fixture.run_with(&["produce", "jobs", "-K", ":"], jobs.as_bytes()).ok();
    fixture
}

/// Runs a script for each message until there is nothing more to do; what it printed.
fn work(fixture: &Fixture, options: &[&str], script: &str) -> Vec<String> {
    let line = [&["queue", "work", "jobs", "--group", "g", "--exit-when-empty"], options, &["--", "sh", "-c", script]];
    let mut printed: Vec<String> = fixture.text(&line.concat()).lines().map(str::to_owned).collect();
    printed.sort();
    printed
}

fn json(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

const FAIL_SEVENS: &str = r#"read job; case "$job" in *7) echo "no paper for $job" >&2; exit 1;; esac; echo "$job""#;

#[test]
fn a_command_runs_once_for_each_message() {
    let fixture = with_jobs(40, &[]);
    let script = r#"echo "$(cat) $HIGHWATER_TOPIC $HIGHWATER_KEY $HIGHWATER_ATTEMPT""#;
    let printed: BTreeSet<String> = work(&fixture, &["--parallel", "8"], script).into_iter().collect();
    let expected = (1..=40).map(|number| format!("job {number} jobs {number} 1")).collect();
    assert_eq!(printed, expected);
    assert!(work(&fixture, &[], "cat").is_empty(), "nothing is left");
}

#[test]
fn what_keeps_failing_is_dead_with_its_history_and_comes_back_when_it_is_redriven() {
    let fixture = with_jobs(20, &["--max-attempts", "3", "--backoff", "fixed:10ms"]);
    let done = work(&fixture, &["--parallel", "4", "--name", "w-1"], FAIL_SEVENS);
    assert_eq!(done.len(), 18);
    let dead = json(&fixture.text(&["dlq", "list", "jobs", "--group", "g", "-o", "json"]));
    let keys: BTreeSet<&str> = dead.iter().map(|dead| dead["key"].as_str().unwrap()).collect();
    assert_eq!(keys, BTreeSet::from(["17", "7"]));
    for message in &dead {
        assert_eq!(message["cause"], "attempts");
        let attempts = message["attempts"].as_array().unwrap();
        assert_eq!(attempts.len(), 3);
        let reason = format!("no paper for job {}", message["key"].as_str().unwrap());
        assert!(attempts.iter().all(|attempt| attempt["worker"] == "w-1" && attempt["reason"] == reason.as_str()));
    }

    let redrive = ["dlq", "redrive", "jobs", "--group", "g", "--where", "reason~no paper for job 7"];
    assert!(fixture.text(&redrive).contains("would redrive 1 message;"));
    assert!(work(&fixture, &[], "cat").is_empty(), "a dry run changes nothing");
    assert!(fixture.text(&[&redrive[..], &["--yes"]].concat()).contains("redriven 1 message"));
    assert_eq!(work(&fixture, &[], "cat; echo"), ["job 7"]);
    let dropped = fixture.text(&["dlq", "drop", "jobs", "--group", "g", "--yes", "-o", "json"]);
    assert_eq!(json(&dropped)[0]["messages"], 1);
    assert!(fixture.text(&["dlq", "list", "jobs", "--group", "g"]).contains("no message is dead"));
    let stream = fixture.text(&["consume", "jobs", "--exit-at-end"]);
    assert_eq!(stream.lines().count(), 20, "the stream never noticed");
}

#[test]
fn what_is_given_back_is_not_counted() {
    let fixture = with_jobs(1, &["--max-attempts", "1"]);
    let marker = fixture.path().join("given-back");
    let script = format!("test -e {path} || {{ touch {path}; exit 75; }}; cat; echo", path = marker.display());
    assert_eq!(work(&fixture, &[], &script), ["job 1"]);
}

#[test]
fn a_command_that_cannot_be_started_kills_no_message() {
    let fixture = with_jobs(3, &["--max-attempts", "1"]);
    let outcome = fixture.run(&["queue", "work", "jobs", "--group", "g", "--", "/nowhere/at/all"]);
    assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("/nowhere/at/all cannot be started"), "{}", outcome.stderr);
    assert_eq!(work(&fixture, &[], "cat; echo").len(), 3);
}

#[test]
fn a_message_that_kills_every_worker_that_has_it_is_dead_after_five() {
    let fixture = with_jobs(6, &[]);
    let script = r#"read job; case "$job" in *3) kill -9 $PPID;; esac; echo "$job""#;
    let work = ["queue", "work", "jobs", "--group", "g", "--exit-when-empty", "--", "sh", "-c", script];
    let (mut killed, mut done) = (0, BTreeSet::new());
    loop {
        let outcome = fixture.run(&work);
        let printed = String::from_utf8(outcome.stdout).unwrap();
        done.extend(printed.lines().filter(|job| *job != "job 3").map(str::to_owned));
        match outcome.code {
            None => killed += 1,
            code => break assert_eq!(code, Some(0), "{}", outcome.stderr),
        }
    }
    assert_eq!((killed, done.len()), (5, 5), "the other messages are done beside it: {done:?}");
    let dead = json(&fixture.text(&["dlq", "list", "jobs", "--group", "g", "-o", "json"]));
    assert_eq!((dead.len(), &dead[0]["key"], &dead[0]["cause"]), (1, &Value::from("3"), &Value::from("attempts")));
    let attempts = dead[0]["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 5);
    assert!(attempts.iter().all(|attempt| attempt["reason"] == "the worker's connection ended"), "{attempts:?}");
}

#[test]
fn messages_are_looked_at_put_off_called_off_and_found() {
    let fixture = Fixture::new();
    fixture.topic("jobs");
    fixture.run(&["queue", "set", "jobs", "--group", "g"]).ok();
    fixture.run_with(&["produce", "jobs", "-k", "anna", "-H", "message-id=m-1", "-H", "delay=1h"], b"later\n").ok();
    fixture.run_with(&["produce", "jobs"], b"now\n").ok();
    let states = || {
        let peeked = fixture.text(&["queue", "peek", "jobs", "--group", "g", "-o", "json"]);
        let peeked: Vec<Value> = serde_json::from_str(&peeked).unwrap();
        peeked.iter().map(|message| message["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // The group looks at new messages by itself, a moment later.
    for _ in 0..100 {
        if states() == ["delayed", "ready"] {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(states(), ["delayed", "ready"]);
    assert_eq!(work(&fixture, &[], "cat; echo"), ["now"], "what is not due is not waited for");

    let place = ["jobs", "--group", "g", "--partition", "0", "--offset", "0"];
    fixture.run(&[&["queue", "reschedule"], &place[..], &["--at", "now"]].concat()).ok();
    assert_eq!(work(&fixture, &[], "cat; echo"), ["later"]);
    for by in [["--partition", "0", "--offset", "0"].as_slice(), &["--key", "anna"], &["--id", "m-1"]] {
        let found = fixture.text(&[&["message", "where", "jobs", "-o", "json"], by].concat());
        let found: Value = serde_json::from_str(&found).unwrap();
        assert_eq!((&found[0]["offset"], &found[0]["groups"][0]["state"]), (&Value::from(0), &Value::from("done")));
    }
    let cancelled = fixture.run(&[&["queue", "cancel"], &place[..]].concat());
    assert_eq!(cancelled.code, Some(1), "it is done: {}", cancelled.stderr);
    assert_eq!(fixture.run(&["message", "where", "jobs", "--key", "nobody"]).code, Some(3));
}

#[test]
fn a_group_that_is_paused_hands_out_nothing() {
    let fixture = with_jobs(2, &[]);
    fixture.run(&["group", "pause", "g", "--topic", "jobs", "--reason", "lunch"]).ok();
    let stats = fixture.text(&["queue", "stats", "jobs", "--group", "g"]);
    assert!(stats.contains("paused by hand") && stats.contains("(lunch)"), "{stats}");
    fixture.run(&["queue", "resume", "jobs", "--group", "g"]).ok();
    assert_eq!(work(&fixture, &[], "cat; echo").len(), 2);
}

#[test]
fn what_is_not_there_is_said_with_what_to_do() {
    let fixture = Fixture::new();
    fixture.topic("jobs");
    for line in [["queue", "stats", "jobs", "--group", "g"].as_slice(), &["dlq", "list", "jobs", "--group", "g"]] {
        let outcome = fixture.run(line);
        assert_eq!(outcome.code, Some(3), "{line:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains("highwater queue set jobs --group g"), "{line:?}: {}", outcome.stderr);
    }
    for line in [
        ["queue", "set", "nowhere", "--group", "g"].as_slice(),
        &["queue", "work", "nowhere", "--group", "g", "--", "true"],
        &["message", "where", "nowhere", "--key", "k"],
    ] {
        let outcome = fixture.run(line);
        assert_eq!(outcome.code, Some(3), "{line:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains("topic create nowhere"), "{line:?}: {}", outcome.stderr);
    }
    let outcome = fixture.run(&["queue", "delete", "jobs", "--group", "g"]);
    assert_eq!(outcome.code, Some(2), "without --yes nothing is done");
}
