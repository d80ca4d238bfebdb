//! Work shared on a cluster whose nodes are killed, beside streams of the same topic: every message is done or dead, whoever led
//! and whoever worked, and every stream sees them all.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use highwater_client::{
    Client, DeadFilter, MessageOutcome, QueueBackoff, QueueMessage, QueuePartition, QueueSettings, QueueStart, Record,
    Settled, WorkerHandle,
};
use tokio::task::JoinHandle;

use super::groups::{Worker as Reader, check};
use super::harness::{Cluster, PATIENCE, Wire, run, until};

const TOPIC: &str = "orders";
const GROUP: &str = "mail";
const PARTITIONS: u32 = 3;
const MESSAGES: u32 = 150;
/// The worker that fails whatever it gets.
const BROKEN: &str = "broken";

/// What the workers saw and were told, over all of them.
#[derive(Debug, Default)]
struct Books {
    seen: BTreeSet<String>,
    /// Partition and offset of what is acked for sure, and what was handled after that.
    acked: BTreeSet<(u32, u64)>,
    handled_after_its_ack: Vec<(u32, u64)>,
    is_mended: bool,
}

fn is_poison(value: &str) -> bool {
    value.ends_with("13")
}

fn start(client: &Client, name: &'static str, books: &Arc<Mutex<Books>>) -> (WorkerHandle, JoinHandle<()>) {
    let told = Arc::clone(books);
    let worker = client.worker(TOPIC, GROUP).name(name).concurrency(4).on_settled(move |settled| {
        if matches!(settled.result, Ok(Settled::Acked)) {
            told.lock().unwrap().acked.insert((settled.partition.get(), settled.offset.get()));
        }
    });
    let worker = worker.build();
    let (handle, books) = (worker.handle(), Arc::clone(books));
    let task = tokio::spawn(async move {
        let stats = worker.run(move |message: QueueMessage| {
            let books = Arc::clone(&books);
            async move {
                let value = String::from_utf8(message.value().to_vec()).unwrap();
                let mut books = books.lock().unwrap();
                let at = (message.record.partition.get(), message.record.offset.get());
                if books.acked.contains(&at) {
                    books.handled_after_its_ack.push(at);
                }
                books.seen.insert(value.clone());
                match (is_poison(&value) || name == BROKEN) && !books.is_mended {
                    true => MessageOutcome::fail("the address is not known"),
                    false => MessageOutcome::Ack,
                }
            }
        });
        stats.await.unwrap();
    });
    (handle, task)
}

/// How many messages are acked and dead, over all partitions.
async fn counts(client: &Client) -> Option<(u64, u64)> {
    let described = client.admin().describe_queue(TOPIC, GROUP).await.ok()?;
    let sum = |of: fn(&QueuePartition) -> u64| described.partitions.iter().map(of).sum();
    Some((sum(|at| at.acked), sum(|at| at.dead)))
}

#[test]
fn streams_fan_out_replay_and_a_queue_on_one_topic_while_leaders_and_workers_are_killed() {
    run(async {
        let mut cluster = Cluster::start(3, Wire::Grpc).await;
        let topic = cluster.create_topic(TOPIC, PARTITIONS, 3).await;
        let servers: Vec<String> =
            cluster.running().into_iter().map(|number| cluster.server(number).address().to_string()).collect();
        let client = Client::connect(&servers.join(",")).await.unwrap();
        let settings = QueueSettings::new().backoff(QueueBackoff::None);
        client.admin().set_queue(TOPIC, GROUP, settings, QueueStart::Kept).await.unwrap();
        let mut readers = ["stream", "fan-out"].map(|group| (Reader::start(&client, group), Vec::new()));
        let books = Arc::new(Mutex::new(Books::default()));
        let workers = ["one", "two", "three", "four", "five", "six", BROKEN].map(|name| start(&client, name, &books));
        // It is gone without a word in the middle of its work.
        let victim = start(&client, "victim", &books).1;
        let producer = client.producer().build();
        let mut sent = BTreeSet::new();
        for number in 0..MESSAGES {
            let value = format!("order {number}");
            let record = Record::new(value.clone()).key(format!("customer {}", number % 17));
            producer.send_and_wait(TOPIC, record).await.unwrap();
            sent.insert(value);
            match number {
                40 => victim.abort(),
                50 | 100 => {
                    let leader = cluster.leader(&topic, number / 50 - 1).await;
                    cluster.kill(leader).await;
                    cluster.start_one(leader).await.unwrap();
                }
                _ => {}
            }
        }
        until("everything is done or dead", async || {
            counts(&client).await.is_some_and(|(acked, dead)| acked + dead == u64::from(MESSAGES))
        })
        .await;
        let dead = client.admin().list_dead(TOPIC, GROUP, &DeadFilter::new(), 1_000, false).await.unwrap().messages;
        let poison = sent.iter().filter(|value| is_poison(value)).count();
        assert!(dead.len() >= poison, "{} of at least {poison} are dead", dead.len());
        assert!(dead.iter().all(|dead| dead.status.attempts == 5), "{dead:?}");
        assert!(dead.iter().all(|dead| dead.status.journal.len() == 5), "each failure is told: {dead:?}");
        books.lock().unwrap().is_mended = true;
        let moved = client.admin().redrive(TOPIC, GROUP, &DeadFilter::new(), None, false).await.unwrap();
        assert_eq!(moved.messages, u64::try_from(dead.len()).unwrap());
        until("what was dead is done", async || counts(&client).await == Some((u64::from(MESSAGES), 0))).await;
        for (reader, log) in &mut readers {
            reader.until_seen(log, sent.len()).await;
        }
        let (mut replay, mut again) = (Reader::start(&client, "replay"), Vec::new());
        replay.until_seen(&mut again, sent.len()).await;
        replay.stop(&mut again).await;
        check(&again, &sent);
        for (reader, mut log) in readers {
            reader.stop(&mut log).await;
            check(&log, &sent);
        }
        for (handle, task) in workers {
            handle.stop();
            tokio::time::timeout(PATIENCE, task).await.expect("a worker drains").unwrap();
        }
        drop(producer);
        cluster.stop_all().await;
        let books = books.lock().unwrap();
        assert_eq!(books.seen, sent, "every message came");
        assert_eq!(books.handled_after_its_ack, [], "what is acked does not come again");
    });
}

#[test]
fn a_worker_at_any_node_gets_what_other_nodes_lead() {
    run(async {
        let mut cluster = Cluster::start(3, Wire::Grpc).await;
        cluster.create_topic(TOPIC, PARTITIONS, 1).await;
        let client = Client::connect(&cluster.server(2).address().to_string()).await.unwrap();
        let producer = client.producer().build();
        for number in 0..60 {
            producer.send_and_wait(TOPIC, Record::new(format!("order {number}"))).await.unwrap();
        }
        let worker = client.worker(TOPIC, GROUP).concurrency(1).exit_when_empty(true).build();
        let stats =
            tokio::time::timeout(PATIENCE, worker.run(|_| async { MessageOutcome::Ack })).await.unwrap().unwrap();
        assert_eq!(stats.acked, 60);
        drop(producer);
        cluster.stop_all().await;
    });
}
