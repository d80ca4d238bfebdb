//! How fast three replicas of a group write, in one process, over real links and on a real disk; and what idle groups
//! cost.
//!
//! ```text
//! cargo run --release -p highwater-broker --example peer_bench -- DIR load [BATCH_BYTES] [IN_FLIGHT] [TOTAL_MIB]
//! cargo run --release -p highwater-broker --example peer_bench -- DIR idle [GROUPS] [SECONDS]
//! ```
//!
//! Beside the load, heartbeat-like requests on the urgent lane are timed. Processor time is of all three nodes together.
#![allow(clippy::print_stdout, reason = "this is what it is for")]
#![allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use highwater_broker::clock::Clock;
use highwater_broker::peer::grpc::{GrpcTransport, PeerListener, serve};
use highwater_broker::peer::{ControlService, Hello, Peers};
use highwater_broker::raft::{ApplyError, GroupState, PeerNetwork, Proposal, Replica, ReplicaSpec, RestoreError};
use highwater_broker::usage::Usage;
use highwater_proto::internal::v1::{
    ControlRequest, ControlResponse, NodeHeartbeat, NodeHeartbeatTaken, control_request, control_response,
};
use highwater_storage::disk::os::OsDisk;
use highwater_storage::{DataDir, DataDirOptions, Entry, EntryKind, Identity, LogKey, LogOptions};
use highwater_types::batch::{BatchBuilder, Compression, NO_HEADERS};
use highwater_types::{ClusterId, NodeId, NodeUuid, Timestamp};
use tokio_util::sync::CancellationToken;

type Failed = Box<dyn Error>;

struct Node {
    id: NodeId,
    data: DataDir,
    peers: Peers,
    network: PeerNetwork,
    address: String,
}

/// A state of nothing.
struct Nothing;

impl GroupState for Nothing {
    fn apply(&mut self, _: &Entry) -> Result<(), ApplyError> {
        Ok(())
    }

    fn encode(&self) -> Bytes {
        Bytes::new()
    }

    fn restore(&mut self, _: &[u8]) -> Result<(), RestoreError> {
        Ok(())
    }
}

struct Taken;

impl ControlService for Taken {
    fn answer(&self, _: Option<NodeId>, _: ControlRequest) -> Pin<Box<dyn Future<Output = ControlResponse> + Send>> {
        let kind = Some(control_response::Kind::NodeHeartbeatTaken(NodeHeartbeatTaken {}));
        Box::pin(async move { ControlResponse { kind } })
    }
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let mut args = std::env::args().skip(1);
    let usage = "usage: peer_bench DIR load|idle [NUMBER]...";
    let dir: PathBuf = args.next().ok_or(usage)?.into();
    let what = args.next().ok_or(usage)?;
    let mut number = |default| args.next().map_or(Ok(default), |arg| arg.parse::<usize>());
    let clock = Clock::system();
    let mut nodes = Vec::new();
    for id in 1..=3 {
        nodes.push(node(&dir, id, &clock).await?);
    }
    let addresses: BTreeMap<_, _> = nodes.iter().map(|node| (node.id, node.address.clone())).collect();
    nodes.iter().for_each(|node| node.peers.set_addresses(addresses.clone()));
    match what.as_str() {
        "load" => load(&nodes, &clock, number(65_536)?, number(16)?, number(1_024)? << 20).await,
        "idle" => idle(&nodes, &clock, number(1_000)?, number(10)?).await,
        _ => Err(usage.into()),
    }
}

async fn node(dir: &Path, number: u64, clock: &Clock) -> Result<Node, Failed> {
    let (id, cluster) = (NodeId::new(number), ClusterId::from_bytes([1; 16]));
    let uuid = NodeUuid::from_bytes([u8::try_from(number)?; 16]);
    let folder = dir.join(format!("node-{number}"));
    let data = DataDir::open(Arc::new(OsDisk::new()), &folder, DataDirOptions::default())?;
    data.set_identity(Identity { cluster, node: id, uuid })?;
    let listener = PeerListener::bind(([127, 0, 0, 1], 0).into()).await?;
    let address = listener.address().to_string();
    let me = Hello { cluster: Some(cluster), node: Some(id), uuid };
    let peers = Peers::new(Arc::new(GrpcTransport), me, clock.clone());
    peers.on_request(Arc::new(Taken));
    let network = PeerNetwork::new(peers.clone());
    tokio::spawn(network.clone().keep_pulse(clock.clone(), std::future::pending()));
    tokio::spawn(serve(listener, Arc::new(peers.clone()), CancellationToken::new()));
    Ok(Node { id, data, peers, network, address })
}

/// The replicas of one group, that of its leader first.
async fn group(nodes: &[Node], number: u32, segment_bytes: u64, clock: &Clock) -> Result<Vec<Replica>, Failed> {
    let key = LogKey::new([3; 16], number);
    let mut replicas = Vec::new();
    let first = number as usize % nodes.len();
    for node in nodes.iter().cycle().skip(first).take(nodes.len()) {
        let options = LogOptions { segment_bytes_max: segment_bytes, ..LogOptions::default() };
        let (log, _) = node.data.open_log(key, options)?;
        let spec = ReplicaSpec {
            group: format!("group {number}"),
            key,
            log,
            votes: Arc::clone(node.data.votes()),
            node: node.id,
            network: node.network.clone(),
            clock: clock.clone(),
            state: Nothing,
        };
        replicas.push(Replica::open(spec).await?);
    }
    let voters: Vec<_> = nodes.iter().map(|node| node.id).collect();
    let leader = replicas.first().ok_or("no nodes")?;
    leader.initialize(&voters).await?;
    // On a busy machine another one may lead in the end.
    let serving = replicas.iter().map(|replica| Box::pin(replica.wait_until_serving()));
    let (served, leader, _) = futures_util::future::select_all(serving).await;
    served?;
    replicas.swap(0, leader);
    Ok(replicas)
}

fn batch(bytes: usize) -> Result<Bytes, Failed> {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.append(Timestamp::from_ms(1_000_000), None, Some(&vec![b'x'; bytes]), NO_HEADERS)?;
    Ok(builder.finish()?)
}

fn print_quantiles(what: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let at = |share: usize| took.get(((took.len() * share) / 1_000).min(took.len().saturating_sub(1))).copied();
    println!(
        "{what}: {} times, p50 {:?} p99 {:?} p99.9 {:?} max {:?}",
        took.len(),
        at(500).unwrap_or_default(),
        at(990).unwrap_or_default(),
        at(999).unwrap_or_default(),
        at(1_000).unwrap_or_default()
    );
}

async fn load(
    nodes: &[Node],
    clock: &Clock,
    batch_bytes: usize,
    in_flight: usize,
    total_bytes: usize,
) -> Result<(), Failed> {
    let replicas = group(nodes, 0, 256 << 20, clock).await?;
    let leader = replicas.first().ok_or("no replica")?;
    let batch = batch(batch_bytes)?;
    let mut alone = Vec::new();
    for _ in 0..500 {
        let since = clock.instant();
        leader.propose(EntryKind::Data, batch.clone()).await?;
        alone.push(since.elapsed());
    }
    print_quantiles("one write at a time", alone);

    let stop = CancellationToken::new();
    let beats = tokio::spawn(beats(nodes.first().ok_or("no node")?.peers.clone(), clock.clone(), stop.clone()));
    let (used, since) = (Usage::read()?, clock.instant());
    let mut waiting = VecDeque::new();
    for _ in 0..total_bytes / batch_bytes {
        if waiting.len() == in_flight
            && let Some((since, ticket)) = waiting.pop_front()
        {
            let _: &tokio::time::Instant = &since;
            Pin::from(ticket).await?;
        }
        let proposal =
            Proposal { kind: EntryKind::Data, payload: batch.clone(), term: None, on_append: None, fence: None };
        waiting.push_back((clock.instant(), Box::new(leader.submit(proposal).await)));
    }
    for (_, ticket) in waiting {
        Pin::from(ticket).await?;
    }
    let (took, cpu) = (since.elapsed().as_secs_f64(), Usage::read()?.cpu_seconds - used.cpu_seconds);
    let gib = total_bytes as f64 / (1_u64 << 30) as f64;
    println!(
        "{batch_bytes} B x {in_flight} in flight: {:.0} MB/s, {:.0}/s, {:.2} CPU-s per GiB (three nodes)",
        total_bytes as f64 / took / 1e6,
        (total_bytes / batch_bytes) as f64 / took,
        cpu / gib
    );
    stop.cancel();
    print_quantiles("urgent requests beside it", beats.await?);
    Ok(())
}

/// How long requests on the urgent lane take.
async fn beats(peers: Peers, clock: Clock, stop: CancellationToken) -> Vec<Duration> {
    let mut took = Vec::new();
    while !stop.is_cancelled() {
        let since = clock.instant();
        let kind = Some(control_request::Kind::NodeHeartbeat(NodeHeartbeat::default()));
        if peers.ask(NodeId::new(2), ControlRequest { kind }).await.is_ok() {
            took.push(since.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    took
}

async fn idle(nodes: &[Node], clock: &Clock, groups: usize, seconds: usize) -> Result<(), Failed> {
    let numbers = 0..u32::try_from(groups)?;
    let opening = futures_util::stream::iter(numbers.map(|number| group(nodes, number, 1 << 20, clock)));
    let _all: Vec<_> = opening.buffer_unordered(64).try_collect().await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let sent = || {
        nodes
            .iter()
            .map(|node| node.peers.sent())
            .fold((0, 0, 0), |sum, sent| (sum.0 + sent.frames, sum.1 + sent.messages, sum.2 + sent.bytes))
    };
    let (used, before, since) = (Usage::read()?, sent(), clock.instant());
    tokio::time::sleep(Duration::from_secs(seconds as u64)).await;
    let (now, took) = (sent(), since.elapsed().as_secs_f64());
    let per_second = |now: u64, before: u64| (now - before) as f64 / took;
    println!(
        "{groups} idle groups on three nodes: {:.0} messages/s in {:.0} frames/s, {:.0} KB/s, {:.0} % of a core",
        per_second(now.1, before.1),
        per_second(now.0, before.0),
        per_second(now.2, before.2) / 1e3,
        (Usage::read()?.cpu_seconds - used.cpu_seconds) / took * 100.0
    );
    let usage = Usage::read()?;
    println!("resident: {:.0} MiB", usage.rss_bytes as f64 / (1 << 20) as f64);
    Ok(())
}
