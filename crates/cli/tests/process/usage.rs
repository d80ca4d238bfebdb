//! Wrong command lines, things that are not there, servers that do not answer: the message and the exit code.

use highwater_tests::{Outcome, highwater};

use crate::{BINARY, Fixture};

/// A verb with no server at hand. Port 1 of loopback has none.
fn alone(arguments: &[&str]) -> Outcome {
    highwater(BINARY, "127.0.0.1:1", arguments, b"")
}

#[track_caller]
fn refused(outcome: &Outcome, code: i32, words: &[&str]) {
    assert_eq!(outcome.code, Some(code), "{}", outcome.stderr);
    for word in words {
        assert!(outcome.stderr.contains(word), "{word:?} is not said in: {}", outcome.stderr);
    }
    assert!(outcome.stderr.starts_with("error: "), "{}", outcome.stderr);
    assert!(outcome.stdout.is_empty(), "an error is not a result");
}

#[test]
fn a_wrong_command_line_is_refused_by_name() {
    refused(&alone(&["produce"]), 2, &["<TOPIC>"]);
    refused(&alone(&["produce", "t", "--akcs", "quorum"]), 2, &["--akcs", "--acks"]);
    refused(&alone(&["produce", "t", "--acks", "most"]), 2, &["most", "none", "leader", "quorum"]);
    refused(&alone(&["produce", "t", "-k", "a", "-K", ":"]), 2, &["cannot be used with"]);
    refused(&alone(&["produce", "t", "-H", "no-value"]), 2, &["no-value", "NAME=VALUE"]);
    refused(&alone(&["produce", "a/b"]), 2, &["a/b", "topic name"]);
    refused(&alone(&["consume", "t", "--offset", "middle"]), 2, &["middle", "'start'", "'end'", "@"]);
    refused(&alone(&["consume", "t", "--offset", "@noon"]), 2, &["@noon", "RFC 3339"]);
    refused(&alone(&["consume", "t", "-f", "%q"]), 2, &["%q", "%s"]);
    refused(&alone(&["consume", "t", "--group", "g", "--exit-at-end"]), 2, &["--group", "--exit-at-end"]);
    refused(&alone(&["consume", "t", "--group", "g", "--offset", "end"]), 2, &["--group", "--offset"]);
    refused(&alone(&["consume", "t", "--instance-id", "a"]), 2, &["--group"]);
    refused(&alone(&["topic", "delete", "t"]), 2, &["--yes"]);
    refused(&alone(&["topic", "create", "t", "-c", "retention"]), 2, &["retention", "KEY=VALUE"]);
    refused(&alone(&["group", "list", "--state", "asleep"]), 2, &["asleep", "stable", "empty"]);
    refused(&alone(&["group", "seek", "g", "--to", "start"]), 2, &["--topic"]);
    refused(&alone(&["group", "seek", "g", "--topic", "t"]), 2, &["--to", "--by"]);
    refused(&alone(&["group", "seek", "g", "--topic", "t", "--to", "middle"]), 2, &["middle", "'start'", "@-15m"]);
    refused(&alone(&["group", "delete", "g"]), 2, &["--yes", "group g"]);
    refused(&alone(&["bench", "produce", "--count", "many"]), 2, &["many"]);
    refused(&alone(&["frobnicate"]), 2, &["frobnicate"]);
}

#[test]
fn help_lists_what_there_is_and_nothing_else() {
    let help = alone(&["--help"]).ok();
    for verb in [
        "dev",
        "server",
        "topic",
        "group",
        "queue",
        "dlq",
        "message",
        "produce",
        "consume",
        "health",
        "config",
        "dump",
        "bench",
        "cluster",
        "Exit codes",
    ] {
        assert!(help.text().contains(verb), "{verb}");
    }
    assert!(!help.text().contains("\n  acl"), "it does not exist yet");
    assert_eq!(alone(&["--version"]).ok().text(), concat!("highwater ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn a_server_that_does_not_answer_is_named() {
    refused(&alone(&["topic", "list"]), 4, &["127.0.0.1:1", "highwater dev", "--server"]);
    refused(&alone(&["group", "list"]), 4, &["127.0.0.1:1", "highwater dev", "--server"]);
    refused(&alone(&["consume", "t", "--exit-at-end"]), 4, &["127.0.0.1:1"]);
    refused(&highwater(BINARY, "127.0.0.1:1", &["produce", "t"], b"line\n"), 4, &["127.0.0.1:1"]);
}

#[test]
fn health_is_that_of_one_node_now() {
    let fixture = Fixture::new();
    assert_eq!(fixture.text(&["health"]), format!("{} serves\n", fixture.node.address()));
    refused(&alone(&["health"]), 4, &["127.0.0.1:1"]);
    refused(&alone(&["health", "--server", "127.0.0.1:1,127.0.0.1:2"]), 2, &["127.0.0.1:1,127.0.0.1:2", "HOST:PORT"]);
    // It takes connections, as a node does that has not recovered yet, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    refused(&alone(&["health", "--server", &address, "--timeout", "200ms"]), 1, &[&address, "200ms", "starting"]);
    let waited = ["health", "--server", &address, "--timeout", "50ms", "--wait", "500ms"];
    refused(&alone(&waited), 1, &[&address, "50ms"]);
}

#[test]
fn what_is_not_there_has_an_exit_code_of_its_own() {
    let fixture = Fixture::new();
    refused(&fixture.run(&["consume", "absent", "--exit-at-end"]), 3, &["absent", "topic create absent"]);
    refused(&fixture.run(&["topic", "describe", "absent"]), 3, &["absent"]);
    refused(&fixture.run(&["topic", "delete", "absent", "--yes"]), 3, &["absent"]);
    refused(&fixture.run_with(&["produce", "absent"], b"x\n"), 3, &["absent", "topic create absent"]);
    fixture.topic("t");
    fixture.run_with(&["produce", "t"], b"one\ntwo\n").ok();
    refused(&fixture.run(&["consume", "t", "--partition", "7", "--exit-at-end"]), 3, &["7"]);
    refused(&fixture.run(&["consume", "t", "--offset", "99", "--exit-at-end"]), 3, &["99", "0", "2"]);
    refused(&fixture.run_with(&["produce", "t", "--partition", "7"], b"x\n"), 3, &["7"]);
}

#[test]
fn of_several_servers_the_first_that_answers_is_used() {
    let fixture = Fixture::new();
    fixture.topic("t");
    let servers = format!("127.0.0.1:1,{}", fixture.node.address());
    let listed = alone(&["topic", "list", "--server", &servers]).ok();
    assert!(listed.text().contains("\nt "), "{}", listed.text());
}
