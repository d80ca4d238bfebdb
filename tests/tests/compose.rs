//! The containers of `deploy/`, under load: one is disconnected from its network, the leader's is killed, and the history
//! is checked. Needs Docker and docker-compose; without them it says SKIPPED.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "deadlines come from the machine itself")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use highwater_client::NewTopic;
use highwater_tests::chaos::workload::{Crowd, Setting, Workload};
use highwater_tests::chaos::{Dice, finish};
use highwater_tests::compose::{Compose, available, image};
use highwater_tests::history::{Answer, Call, Kind, Recorder, Requirements, judge};
use highwater_tests::kafka_clients::{Tool, installed};

const PARTITIONS: u32 = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn containers_that_are_disconnected_and_killed_lose_nothing() {
    if let Err(why) = available() {
        // Not captured by the test runner: what was skipped must be seen.
        let _ = writeln!(std::io::stderr(), "SKIPPED: 1 test, three containers: {}", why.lines().next().unwrap_or(""));
        return;
    }
    let compose = Compose::new(&image());
    compose.run(&["up", "-d", "--no-build"]);
    let history = Recorder::default();
    let setting = Setting {
        history: history.clone(),
        topic: "chaos".to_owned(),
        partitions: PARTITIONS,
        replicas: 3,
        first: 0,
        addresses: Arc::new(Mutex::new((1..=3).map(|node| (node, compose.address(node))).collect())),
        value_bytes: 200,
        pause: Duration::from_millis(5),
    };
    make_topic(&setting, &compose).await;
    kafka_inside_and_outside(&compose);
    let crowd = Crowd { producers: 2, readers: 1, thin: 1, topic_makers: 0 };
    let mut workload = Workload::start(&setting, crowd, &Dice::new(1));
    advance(&history, &compose, 500).await;

    let first = leader(&setting).await;
    fault(&history, "disconnect", &format!("node {first}"));
    compose.disconnect(first);
    advance(&history, &compose, 500).await;
    compose.connect(first);
    history.note(Kind::FaultOver { class: "disconnect".to_owned() });
    advance(&history, &compose, 500).await;

    let second = leader(&setting).await;
    let service = format!("node-{second}");
    fault(&history, "kill", &service);
    compose.run(&["kill", &service]);
    advance(&history, &compose, 500).await;
    compose.run(&["start", &service]);
    history.note(Kind::FaultOver { class: "kill".to_owned() });

    history.note(Kind::Healed);
    finish::fresh_writes(&history).await;
    workload.stop_producing().await;
    finish::final_reads(&setting).await;
    workload.stop().await;
    let required = Requirements {
        faults: BTreeMap::from([("disconnect".to_owned(), 1), ("kill".to_owned(), 1)]),
        acknowledged_min: 2_000,
        acknowledged_during: BTreeMap::from([("disconnect".to_owned(), 100), ("kill".to_owned(), 100)]),
        end_lookups_min: 50,
        final_reads_min: (finish::FINAL_READS_OF_OUR_CLIENT + 3) * PARTITIONS as usize,
        acknowledged_after_healing: 100,
        acknowledged_thin: 100,
        ..Requirements::default()
    };
    let report = judge(&history.events(), &required);
    let _ = writeln!(std::io::stdout(), "{}", report.text());
    assert!(report.is_good(), "{}\n{}", report.text(), compose.logs());
}

async fn make_topic(setting: &Setting, compose: &Compose) {
    let deadline = Instant::now() + Duration::from_secs(120);
    let op = setting.history.invoke(Call::CreateTopic { name: setting.topic.clone() });
    loop {
        let new = NewTopic::new(&setting.topic).partitions(PARTITIONS).replicas(3);
        match setting.client_of(1).admin().create_topic(new).await {
            Ok(_) => break,
            Err(error) if finish::describe_at(setting, 1).await.is_ok() => {
                setting.history.note(Kind::Note { text: error.to_string() });
                break;
            }
            Err(error) => assert!(Instant::now() < deadline, "no topic: {error}\n{}", compose.logs()),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for node in 1..=3 {
        while finish::describe_at(setting, node).await.is_err() {
            assert!(Instant::now() < deadline, "node {node} does not know the topic\n{}", compose.logs());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    setting.history.note(Kind::Done { op, answer: Answer::Plain });
}

/// Programs of this machine reach every node by Kafka's protocol, and those in the network are told other addresses.
fn kafka_inside_and_outside(compose: &Compose) {
    let kcat = match installed(Tool::Kcat, Path::new(env!("CARGO_TARGET_TMPDIR"))) {
        Ok(kcat) => kcat,
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "SKIPPED: a part of 1 test, Kafka from outside the containers: {why}");
            return;
        }
    };
    let kcat = |at: &str, arguments: &[&str]| {
        let ran =
            Command::new("timeout").arg("20").arg(&kcat).args(["-b", at]).args(arguments).output().expect("kcat runs");
        assert!(ran.status.success(), "{}\n{}", String::from_utf8_lossy(&ran.stderr), compose.logs());
        String::from_utf8_lossy(&ran.stdout).into_owned()
    };
    let outside = compose.kafka_addresses();
    let (first, second) = (outside.first().expect("three nodes"), outside.get(1).expect("three nodes"));
    let tells = |at: &str, due: &[String]| {
        let deadline = Instant::now() + Duration::from_secs(60);
        // A node is told of once the others hear of it.
        loop {
            let seen = kcat(at, &["-L", "-t", "chaos"]);
            if due.iter().all(|address| seen.contains(&format!("at {address}"))) {
                return;
            }
            assert!(Instant::now() < deadline, "{at} does not tell {due:?}: {seen}");
        }
    };
    tells(first, &outside);
    tells(&compose.kafka_address_inside(1), &[1, 2, 3].map(|node| format!("node-{node}:9092")));
    // From all nodes, wherever the leaders of the partitions are.
    kcat(second, &["-C", "-t", "chaos", "-o", "beginning", "-e", "-q"]);
}

/// Waits until so many more records are acknowledged.
async fn advance(history: &Recorder, compose: &Compose, records: u64) {
    let wanted = history.acknowledged() + records;
    let deadline = Instant::now() + Duration::from_secs(60);
    while history.acknowledged() < wanted {
        assert!(Instant::now() < deadline, "no progress\n{}", compose.logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn leader(setting: &Setting) -> u64 {
    let topic = finish::describe(setting).await;
    let first = topic.partitions.first().expect("the topic has partitions");
    first.leader.expect("every partition has a leader").get()
}

fn fault(history: &Recorder, class: &str, target: &str) {
    history.note(Kind::Fault { class: class.to_owned(), target: target.to_owned() });
}
