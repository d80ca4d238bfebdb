//! Requests of real clients with damage, and made-up ones, for every API and version that is served: each is answered, or its
//! connection ends; no task panics, no memory stays taken, and the server goes on.
//!
//! A seed is printed with a failure; `HIGHWATER_SEED` runs one again. `just fuzz-kafka SECONDS` goes on for long.
#![allow(clippy::cast_possible_wrap, clippy::cast_sign_loss, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use highwater_broker::front::kafka::api::Api;
use kafka_protocol::messages::ApiVersionsRequest;

use super::harness::{Client, Fixture};
use super::transcripts::asked_by_clients;

/// How long is mutated where nothing else is said.
const RUN: Duration = Duration::from_secs(5);
/// So long an answer is waited for: a fetch or a join may be meant to wait.
const ANSWER: Duration = Duration::from_millis(30);
/// Numbers at which decoders go wrong.
const EDGES: [i32; 10] = [0, -1, -2, 1, 2, 0x7f, 0x7fff, 0xffff, i32::MAX, i32::MIN];

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// `SplitMix64`.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// A request for an API: one of a client where there is one, else a made-up body; in a version that is served.
fn request(dice: &mut Dice, corpus: &BTreeMap<i16, Vec<Vec<u8>>>) -> Vec<u8> {
    let api = *dice.of(Api::ALL);
    let (first, last) = api.versions();
    let version = first + dice.below((last - first + 1) as usize) as i16;
    match corpus.get(&api.key()) {
        Some(asked) if dice.below(4) > 0 => {
            let mut bytes = dice.of(asked).clone();
            // Most often the version that it was written for, or it would never get far.
            if dice.below(4) == 0 {
                bytes[2..4].copy_from_slice(&version.to_be_bytes());
            }
            bytes
        }
        _ => {
            let mut bytes = [&api.key().to_be_bytes()[..], &version.to_be_bytes(), &[0, 0, 0, 9, 0xff, 0xff]].concat();
            let small = [0_u8, 0, 0, 1, 1, 2, 3, b'a', 0x80, 0xff];
            bytes.extend((0..dice.below(60)).map(|_| *dice.of(&small)));
            bytes
        }
    }
}

/// Damages a request behind its API and version.
fn damage(dice: &mut Dice, bytes: &mut Vec<u8>) {
    const HEAD: usize = 4;
    for _ in 0..dice.below(4) {
        let at = HEAD + dice.below(bytes.len() - HEAD);
        let left = bytes.len() - at;
        let edge = match dice.below(3) {
            0 => left as i32 + 1,
            _ => *dice.of(&EDGES),
        };
        match dice.below(7) {
            0 => bytes[at] ^= 1 << dice.below(8),
            1 if left >= 4 => bytes[at..at + 4].copy_from_slice(&edge.to_be_bytes()),
            2 if left >= 2 => bytes[at..at + 2].copy_from_slice(&(edge as i16).to_be_bytes()),
            3 if left >= 5 => bytes[at..at + 5].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x0f]),
            4 => bytes.truncate((at + 1).max(HEAD + 1)),
            5 => bytes.insert(at, edge as u8),
            _ => {
                let copied = bytes[at..at + dice.below(left).min(40)].to_vec();
                bytes.splice(at..at, copied);
            }
        }
    }
}

/// Sends a request; whether the connection may be used for another.
fn send(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    let framed = [&(bytes.len() as i32).to_be_bytes(), bytes].concat();
    let mut length = [0; 4];
    if stream.write_all(&framed).is_err() || stream.read_exact(&mut length).is_err() {
        return false;
    }
    let length = i32::from_be_bytes(length);
    assert!((4..64 << 20).contains(&length), "an answer of {length} bytes");
    let mut answer = vec![0; length as usize];
    stream.read_exact(&mut answer).is_ok() && answer[..4] == bytes[4..8]
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(ANSWER)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_requests_harm_nobody() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = number("HIGHWATER_SEED").unwrap_or_else(|| std::process::id().into());
    let run = number("HIGHWATER_FUZZ_SECONDS").map_or(RUN, Duration::from_secs);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // Those of this test's own thread fail it by themselves.
        PANICS.fetch_add(1, Ordering::Relaxed);
        before(panic);
    }));
    // Damage must not make thousands of partitions, which is well formed and takes its time.
    let fixture = Fixture::with(&[("limits.replicas", "200")]).await;
    let corpus = asked_by_clients();
    let address = fixture.address();
    let mutate = move |_: Client| {
        let (mut dice, began, mut sent) = (Dice(seed), Instant::now(), 0_u64);
        let mut stream = connect(address);
        while began.elapsed() < run {
            let mut bytes = request(&mut dice, &corpus);
            damage(&mut dice, &mut bytes);
            sent += 1;
            if !send(&mut stream, &bytes) {
                stream = connect(address);
            }
            let panics = PANICS.load(Ordering::Relaxed);
            assert_eq!(panics, 0, "HIGHWATER_SEED={seed}: request {sent} made a task panic: {bytes:02x?}");
        }
        println!("HIGHWATER_SEED={seed} {sent} requests");
        // A new one: an old one that asked nothing for ten minutes is closed.
        assert_eq!(Client::connect(address).call(0, &ApiVersionsRequest::default()).error_code, 0);
    };
    fixture.client(mutate).await;
    let budget = fixture.server.produce_budget();
    let free = async {
        while budget.available() < budget.total() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), free).await.expect("all permits come back");
}
