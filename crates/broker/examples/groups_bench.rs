//! Many partitions over three nodes in this process: real disks, the network in memory.
//!
//! ```text
//! cargo run --release -p highwater-broker --example groups_bench -- DIR [PARTITIONS] [WRITE_SECONDS] [IDLE_SECONDS]
//! ```
//!
//! Writes to each partition one record at a time, then is idle, then stops one node: what each of that costs, and how long
//! until every partition has a leader again.
#![allow(clippy::print_stdout, reason = "this is what it is for")]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use highwater_broker::admission::ByteBudget;
use highwater_broker::clock::Clock;
use highwater_broker::partition::{Acks, ColdReads, Partition, PartitionHandle, PartitionSpec, ProducerLimits};
use highwater_broker::peer::{Hello, MemoryNetwork, Peers};
use highwater_broker::raft::PeerNetwork;
use highwater_storage::disk::os::OsDisk;
use highwater_storage::{DataDir, DataDirOptions, Identity, LogKey, LogOptions};
use highwater_types::batch::{BatchBuilder, Compression, NO_HEADERS, ValidBatch};
use highwater_types::{ClusterId, NodeId, NodeUuid};

const NODES: u64 = 3;

type Failure = Box<dyn Error>;

struct Node {
    address: String,
    data: DataDir,
    peers: Peers,
    network: PeerNetwork,
    partitions: Vec<Partition>,
}

fn address(node: u64) -> String {
    format!("node-{node}")
}

fn start(dir: &Path, clock: &Clock, network: &MemoryNetwork, number: u64) -> Result<Node, Failure> {
    let (node, cluster) = (NodeId::new(number), ClusterId::from_bytes([1; 16]));
    let uuid = NodeUuid::from_bytes([number as u8; 16]);
    let data = DataDir::open(Arc::new(OsDisk::new()), &dir.join(address(number)), DataDirOptions::default())?;
    data.set_identity(Identity { cluster, node, uuid })?;
    let me = Hello { cluster: Some(cluster), node: Some(node), uuid };
    let address = address(number);
    let peers = Peers::new(Arc::new(network.transport(&address)), me, clock.clone());
    network.listen(&address, Arc::new(peers.clone()));
    let addresses: BTreeMap<_, _> = (1..=NODES).map(|n| (NodeId::new(n), self::address(n))).collect();
    peers.set_addresses(addresses);
    let network = PeerNetwork::new(peers.clone());
    tokio::spawn(network.clone().keep_pulse(clock.clone(), std::future::pending()));
    Ok(Node { address, data, peers, network, partitions: Vec::new() })
}

async fn open(node: &Node, number: u64, clock: &Clock, partition: u32) -> Result<Partition, Failure> {
    let key = LogKey::new([3; 16], partition);
    let options = LogOptions { segment_bytes_max: 16 << 20, ..LogOptions::default() };
    let (log, _) = node.data.open_log(key, options)?;
    // Each node begins with its third of them.
    let is_first = u64::from(partition) % NODES + 1 == number;
    let first_voters = if is_first { (1..=NODES).map(NodeId::new).collect() } else { Vec::new() };
    let opened = Partition::open(PartitionSpec {
        name: format!("bench-{partition}"),
        key,
        log,
        votes: Arc::clone(node.data.votes()),
        node: NodeId::new(number),
        first_voters,
        network: node.network.clone(),
        clock: clock.clone(),
        producers: ProducerLimits::default(),
        cold_reads: ColdReads::new(4),
    });
    Ok(opened.await?)
}

/// Waits until each partition has a leader among `nodes`, and says how long that took.
async fn until_led(nodes: &[Node], clock: &Clock) -> Vec<PartitionHandle> {
    let began = clock.instant();
    let count = nodes.first().map_or(0, |node| node.partitions.len());
    let mut at = BTreeMap::new();
    let mut leaders: Vec<Option<PartitionHandle>> = vec![None; count];
    while leaders.iter().any(Option::is_none) {
        for node in nodes {
            for (slot, partition) in leaders.iter_mut().zip(&node.partitions) {
                let handle = partition.handle();
                if slot.is_none() && handle.leadership().serves_writes {
                    *slot = Some(handle);
                    *at.entry(began.elapsed().as_millis()).or_insert(0) += 1;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut times: Vec<u128> = at.iter().flat_map(|(ms, count)| std::iter::repeat_n(*ms, *count)).collect();
    times.sort_unstable();
    let at = |share: f64| times.get(((times.len() as f64 * share) as usize).min(times.len() - 1)).copied();
    println!("leaders: half after {:?} ms, 99% {:?} ms, all {:?} ms", at(0.5), at(0.99), at(1.0));
    leaders.into_iter().flatten().collect()
}

fn proc(field: usize) -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    fields.get(field).and_then(|field| field.parse().ok()).unwrap_or(0.0)
}

/// Seconds of processor time so far.
fn cpu() -> f64 {
    (proc(11) + proc(12)) / 100.0
}

fn anonymous_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

async fn write(leaders: &[PartitionHandle], clock: &Clock, seconds: u64) -> Result<(), Failure> {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.append(clock.now(), None, Some(&[b'x'; 1_000]), NO_HEADERS)?;
    let batch = ValidBatch::check(builder.finish()?, usize::MAX)?;
    let (stop, acks, budget) = (AtomicBool::new(false), AtomicU64::new(0), ByteBudget::new(64 << 20));
    let one = async |handle: &PartitionHandle| {
        while !stop.load(Ordering::Relaxed) {
            let Ok(permit) = budget.acquire(batch.bytes().len()).await else { return };
            let Ok(ticket) = handle.append(batch.clone(), Acks::Quorum, permit).await else { return };
            match ticket.await {
                Ok(_) => drop(acks.fetch_add(1, Ordering::Relaxed)),
                Err(error) => println!("not stored: {error}"),
            }
        }
    };
    let (began, before) = (clock.instant(), cpu());
    let all = stream::iter(leaders).for_each_concurrent(None, one);
    let end = async {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(all, end);
    let (took, count) = (began.elapsed().as_secs_f64(), acks.load(Ordering::Relaxed));
    println!(
        "write: {:.0} acks/s over {} partitions, {:.2} cores, {:.0} us of processor an ack",
        count as f64 / took,
        leaders.len(),
        (cpu() - before) / took,
        (cpu() - before) * 1e6 / count as f64
    );
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let dir: PathBuf = args.next().ok_or("usage: groups_bench DIR [PARTITIONS] [WRITE_SECONDS] [IDLE_SECONDS]")?.into();
    let mut number = |default| args.next().map_or(Ok(default), |arg| arg.parse::<u64>());
    let (count, write_seconds, idle_seconds) = (number(100)? as u32, number(10)?, number(10)?);
    let clock = Clock::system();
    let network = MemoryNetwork::new(clock.clone());
    let mut nodes = (1..=NODES).map(|n| start(&dir, &clock, &network, n)).collect::<Result<Vec<_>, _>>()?;
    let (began, memory) = (clock.instant(), anonymous_mib());
    for (number, node) in (1..).zip(&mut nodes) {
        let opening = stream::iter(0..count).map(|partition| open(node, number, &clock, partition));
        let opened: Vec<_> = opening.buffered(64).collect().await;
        node.partitions = opened.into_iter().collect::<Result<_, _>>()?;
    }
    println!("opened {count} partitions on {NODES} nodes in {:?}", began.elapsed());
    let leaders = until_led(&nodes, &clock).await;
    let replicas = f64::from(count) * NODES as f64;
    let per_replica = |mib: f64| (mib - memory) * 1024.0 / replicas;
    println!("memory: {:.0} KiB a replica when new", per_replica(anonymous_mib()));
    if write_seconds > 0 {
        write(&leaders, &clock, write_seconds).await?;
        let (rounds, of): (Vec<_>, _) = (nodes.iter().map(|node| node.data.flusher().counts()).collect(), NODES);
        println!("flush rounds of {of} nodes: {rounds:?}");
        println!("memory: {:.0} KiB a replica after writing", per_replica(anonymous_mib()));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (began, before) = (clock.instant(), cpu());
    tokio::time::sleep(Duration::from_secs(idle_seconds)).await;
    let cores = (cpu() - before) / began.elapsed().as_secs_f64();
    println!(
        "idle: {:.1}% of a core a node, {:.3} ms/s a replica",
        cores * 100.0 / NODES as f64,
        cores * 1e3 / replicas
    );
    drop(leaders);
    let gone = nodes.pop().ok_or("no node")?;
    network.vanish(&gone.address);
    // A replica that is only dropped goes on: it is cut off from all others for good.
    for other in &nodes {
        network.cut(&gone.address, &other.address);
    }
    let leaders = until_led(&nodes, &clock).await;
    println!("memory: {:.0} KiB a replica at the end", per_replica(anonymous_mib()));
    drop(leaders);
    nodes.push(gone);
    for node in &nodes {
        node.peers.shutdown().await;
    }
    std::process::exit(0);
}
