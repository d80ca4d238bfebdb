//! Groups that read one topic of a cluster whose nodes are killed: fan-out, offsets, a rewind.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use highwater_client::{Client, Commit, CommitOffset, Offset, OffsetReset, PartitionId, Position, Record, SeekGroup};
use highwater_types::TopicName;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::harness::{Cluster, PATIENCE, Wire, run, until};

const PARTITIONS: u32 = 3;

/// What a member of a group was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    partition: u32,
    offset: u64,
    value: String,
}

/// A member that reads until it is told to stop, commits often, and tells what it was given.
pub(super) struct Worker {
    seen: mpsc::UnboundedReceiver<Seen>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Worker {
    pub(super) fn start(client: &Client, group: &str) -> Self {
        let (tell, seen) = mpsc::unbounded_channel();
        let stop = Arc::new(AtomicBool::new(false));
        let (client, group, stopping) = (client.clone(), group.to_owned(), Arc::clone(&stop));
        let task = tokio::spawn(async move {
            let builder = client.consumer(group).topics(["orders"]).on_no_offset(OffsetReset::Earliest);
            let builder = builder.commit(Commit::Every(Duration::from_millis(50)));
            let mut consumer = builder.session_timeout(Duration::from_secs(10)).open().await.unwrap();
            while !stopping.load(Ordering::Relaxed) {
                let next = tokio::time::timeout(Duration::from_millis(100), consumer.next_record()).await;
                let Ok(Some(record)) = next else { continue };
                let record = record.unwrap();
                let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
                let (partition, offset) = (record.partition.get(), record.offset.get());
                tell.send(Seen { partition, offset, value }).unwrap();
            }
            consumer.close().await.unwrap();
        });
        Self { seen, stop, task }
    }

    /// Waits until so many different records came, beside those that came before.
    pub(super) async fn until_seen(&mut self, log: &mut Vec<Seen>, count: usize) {
        let mut different: BTreeSet<(u32, u64)> = log.iter().map(|seen| (seen.partition, seen.offset)).collect();
        while different.len() < count {
            let next = tokio::time::timeout(PATIENCE, self.seen.recv()).await;
            let seen = next.unwrap_or_else(|_| panic!("only {} of {count} records came", different.len())).unwrap();
            different.insert((seen.partition, seen.offset));
            log.push(seen);
        }
    }

    pub(super) async fn stop(mut self, log: &mut Vec<Seen>) {
        self.stop.store(true, Ordering::Relaxed);
        tokio::time::timeout(PATIENCE, self.task).await.expect("a member leaves").unwrap();
        while let Ok(seen) = self.seen.try_recv() {
            log.push(seen);
        }
    }
}

/// Every record at least once, and those of a partition in order: after a step back nothing is left out.
pub(super) fn check(log: &[Seen], sent: &BTreeSet<String>) {
    let values: BTreeSet<String> = log.iter().map(|seen| seen.value.clone()).collect();
    assert_eq!(&values, sent, "each record comes at least once, and no other");
    let mut next: BTreeMap<u32, u64> = BTreeMap::new();
    for Seen { partition, offset, .. } in log {
        let expected = next.entry(*partition).or_default();
        assert!(offset <= expected, "partition {partition} jumps from {expected} to {offset}");
        *expected = offset + 1;
    }
}

async fn produce(client: &Client, range: std::ops::Range<u32>, sent: &mut BTreeSet<String>) {
    let producer = client.producer().build();
    for number in range {
        let value = format!("order {number}");
        let record = Record::new(value.clone()).key(format!("customer {}", number % 17));
        producer.send_and_wait("orders", record).await.unwrap();
        sent.insert(value);
    }
}

/// The committed offsets of a group, which must never go back.
async fn committed(client: &Client, group: &str) -> Option<BTreeMap<u32, u64>> {
    let described = client.admin().describe_group(group).await.ok()?;
    Some(described.offsets.iter().filter_map(|at| Some((at.partition.get(), at.offset?.get()))).collect())
}

/// Watches a group's committed offsets until it is told to stop; fails when one goes back.
fn watch(client: &Client, group: &str) -> (Arc<AtomicBool>, JoinHandle<u32>) {
    let stop = Arc::new(AtomicBool::new(false));
    let (client, group, stopping) = (client.clone(), group.to_owned(), Arc::clone(&stop));
    let task = tokio::spawn(async move {
        let (mut before, mut looks) = (BTreeMap::<u32, u64>::new(), 0);
        while !stopping.load(Ordering::Relaxed) {
            if let Some(now) = committed(&client, &group).await {
                looks += 1;
                for (partition, offset) in &before {
                    let later = now.get(partition).copied();
                    assert!(
                        later >= Some(*offset),
                        "group {group}: partition {partition} went from {offset} to {later:?}"
                    );
                }
                before = now;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        looks
    });
    (stop, task)
}

async fn coordinator(client: &Client, cluster: &Cluster, group: &str) -> usize {
    let node = client.admin().describe_group(group).await.unwrap().coordinator;
    cluster.number_of(node).expect("the coordinator runs")
}

async fn connect(cluster: &Cluster) -> Client {
    let servers: Vec<String> =
        cluster.running().into_iter().map(|number| cluster.server(number).address().to_string()).collect();
    Client::connect(&servers.join(",")).await.unwrap()
}

#[test]
fn three_groups_read_everything_while_their_coordinators_are_killed_and_one_is_rewound() {
    run(async {
        const GROUPS: [&str; 3] = ["e-mail", "inventory", "invoice"];
        let mut cluster = Cluster::start(3, Wire::Grpc).await;
        cluster.create_topic("orders", PARTITIONS, 3).await;
        let client = connect(&cluster).await;
        let mut sent = BTreeSet::new();
        let mut logs: BTreeMap<&str, Vec<Seen>> = GROUPS.map(|group| (group, Vec::new())).into();
        let mut workers: BTreeMap<&str, Worker> = GROUPS.map(|group| (group, Worker::start(&client, group))).into();
        produce(&client, 0..60, &mut sent).await;
        for group in GROUPS {
            workers.get_mut(group).unwrap().until_seen(logs.get_mut(group).unwrap(), 60).await;
        }
        let watches: Vec<_> = GROUPS.map(|group| watch(&client, group)).into();
        for (round, group) in GROUPS.into_iter().enumerate() {
            let leads = coordinator(&client, &cluster, group).await;
            cluster.kill(leads).await;
            let first = 60 + 40 * u32::try_from(round).unwrap();
            produce(&client, first..first + 40, &mut sent).await;
            cluster.start_one(leads).await.unwrap();
        }
        for group in GROUPS {
            workers.get_mut(group).unwrap().until_seen(logs.get_mut(group).unwrap(), 180).await;
        }
        for (stop, watched) in watches {
            stop.store(true, Ordering::Relaxed);
            assert!(watched.await.unwrap() > 10, "the offsets were looked at");
        }
        // One of the groups reads everything again; the others do not notice.
        let mut rewound = workers.remove("invoice").unwrap();
        let seek = SeekGroup::new("invoice").topic("orders", Position::Start);
        let refused = client.admin().seek_group(seek.clone()).await.unwrap_err();
        assert!(refused.to_string().contains("has members"), "{refused}");
        client.admin().seek_group(seek.force(true)).await.unwrap();
        let mut again = Vec::new();
        rewound.until_seen(&mut again, 180).await;
        check(&again, &sent);
        rewound.stop(&mut again).await;
        for (group, worker) in workers {
            worker.stop(logs.get_mut(group).unwrap()).await;
        }
        for (group, log) in &logs {
            check(log, &sent);
            let ends = committed(&client, group).await.unwrap();
            assert_eq!(ends.values().sum::<u64>(), 180, "what was done is committed: {ends:?}");
        }
        cluster.stop_all().await;
    });
}

#[test]
fn members_come_and_go_while_nodes_are_killed_and_nothing_is_left_out() {
    run(async {
        let mut cluster = Cluster::start(3, Wire::Grpc).await;
        cluster.create_topic("orders", PARTITIONS, 3).await;
        let client = connect(&cluster).await;
        let (mut sent, mut log) = (BTreeSet::new(), Vec::new());
        let mut first = Worker::start(&client, "workers");
        produce(&client, 0..30, &mut sent).await;
        first.until_seen(&mut log, 30).await;
        // The coordinator goes in the middle of a rebalance.
        let leads = coordinator(&client, &cluster, "workers").await;
        let second = Worker::start(&client, "workers");
        cluster.kill(leads).await;
        produce(&client, 30..60, &mut sent).await;
        until("both members have partitions", async || {
            let described = client.admin().describe_group("workers").await;
            described.is_ok_and(|group| {
                group.members.len() == 2 && group.members.iter().all(|member| !member.partitions.is_empty())
            })
        })
        .await;
        cluster.start_one(leads).await.unwrap();
        produce(&client, 60..90, &mut sent).await;
        first.stop(&mut log).await;
        produce(&client, 90..120, &mut sent).await;
        let mut other = Vec::new();
        until("everything was read and committed", async || {
            committed(&client, "workers").await.is_some_and(|ends| ends.values().sum::<u64>() == 120)
        })
        .await;
        second.stop(&mut other).await;
        log.extend(other);
        let values: BTreeSet<String> = log.iter().map(|seen| seen.value.clone()).collect();
        assert_eq!(values, sent);
        cluster.stop_all().await;
    });
}

#[test]
fn groups_of_a_cluster_that_grows_are_kept_on_more_nodes() {
    run(async {
        let mut cluster = Cluster::start(1, Wire::Grpc).await;
        cluster.create_topic("orders", 1, 1).await;
        let client = connect(&cluster).await;
        let offset = CommitOffset::new(TopicName::new("orders").unwrap(), PartitionId::new(0), Offset::ZERO);
        client.admin().commit_group_offsets("workers", vec![offset]).await.unwrap();
        for number in 2..=3 {
            cluster.add(number);
            cluster.start_one(number).await.unwrap();
        }
        until("the coordinators have three replicas each", async || {
            let server = cluster.server(1);
            let image = server.node().router().image();
            let topic = image.topics().find(|topic| topic.is_internal()).expect("it is there");
            topic.numbered_partitions().all(|(_, held)| held.replicas.len() == 3 && !held.is_moving())
        })
        .await;
        assert_eq!(committed(&client, "workers").await.unwrap(), BTreeMap::from([(0, 0)]));
        cluster.stop_all().await;
    });
}
