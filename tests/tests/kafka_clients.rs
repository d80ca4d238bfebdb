//! Clients of Kafka that other people wrote, against one node and against three, one of which is killed: the scripts of
//! `tests/kafka_clients`. Where a client cannot be installed, its tests say SKIPPED.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "it writes the transcripts")]

use std::io::Write as _;
use std::path::Path;

use highwater_tests::binary::highwater_binary;
use highwater_tests::cluster::Cluster;
use highwater_tests::compose::root;
use highwater_tests::kafka_clients::{Script, Tap, Tool, installed, run};

/// Runs one script against so many nodes.
async fn works(script: &str, tool: Tool, nodes: u64) {
    let tools = Path::new(env!("CARGO_TARGET_TMPDIR"));
    if let Err(why) = installed(tool, tools) {
        // Not captured by the test runner: what was skipped must be seen.
        let _ = writeln!(std::io::stderr(), "SKIPPED: 1 test, {script} against {nodes} nodes: {why}");
        return;
    }
    let mut cluster = Cluster::new(&highwater_binary(), nodes, &[]).await;
    cluster.start().await;
    let script = Script { name: script, tool, tools, bootstrap: None, is_session: false };
    run(script, &mut cluster).await.expect("it was installed just now");
}

/// Writes anew what `crates/broker/tests/kafka/transcripts.rs` replays: when a client of another version is installed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it writes into the tree: cargo test -p highwater-tests --test kafka_clients -- --ignored"]
async fn record_the_transcripts() {
    let tools = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let python = Tool::Python;
    for (name, tool) in [("confluent", python), ("kafka_python", python), ("aio", python), ("kcat", Tool::Kcat)] {
        let tap = Tap::listen().await;
        let mut cluster = Cluster::new(&highwater_binary(), 1, &[("kafka.advertised", tap.address())]).await;
        cluster.start().await;
        let (file, onward) = (format!("{name}.py"), cluster.kafka_addresses());
        let script = Script { name: &file, tool, tools, bootstrap: Some(tap.address()), is_session: true };
        tokio::select! {
            ran = run(script, &mut cluster) => ran.expect("it can be installed"),
            () = tap.serve(&onward) => {}
        }
        let fixture = root().join(format!("crates/broker/tests/kafka/fixtures/{name}.hex"));
        std::fs::write(fixture, tap.transcript()).expect("the tree can be written");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confluent_kafka_works_with_one_node() {
    works("confluent.py", Tool::Python, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confluent_kafka_works_with_three_nodes() {
    works("confluent.py", Tool::Python, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_python_works_with_one_node() {
    works("kafka_python.py", Tool::Python, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_python_works_with_three_nodes() {
    works("kafka_python.py", Tool::Python, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aiokafka_works_with_one_node() {
    works("aio.py", Tool::Python, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aiokafka_works_with_three_nodes() {
    works("aio.py", Tool::Python, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kcat_works_with_one_node() {
    works("kcat.py", Tool::Kcat, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kcat_works_with_three_nodes() {
    works("kcat.py", Tool::Kcat, 3).await;
}
