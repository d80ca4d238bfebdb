//! Requests of real clients, byte for byte as they came, and the bytes of answers.
//!
//! `fixtures` holds a short session of each client with one node: how they are made is said in `tests/tests/kafka_clients.rs`.
//! Each is replayed against a fresh node, which has to answer as the recorded one did, as far as errors go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use highwater_golden::hex::decode as hex;
use kafka_protocol::messages::{ApiKey, RequestHeader, RequestKind, ResponseHeader, ResponseKind};
use kafka_protocol::protocol::Decodable;

use super::harness::{Client, Fixture, PATIENCE};

/// What librdkafka asks first, and kafka-python.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_question_of_a_client_is_answered() {
    let fixture = Fixture::new().await;
    let asked_and_answer_begins = [
        // librdkafka 2.16: version 3, client id "rdkafka", name "confluent-kafka-python".
        (
            "0012 0003 00000001 0007 72646b61666b61 00  17 636f6e666c75656e742d6b61666b612d707974686f6e  14
             322e31362e312d7264 6b61666b612d322e31362e30 00",
            // Cut off in the middle of its text: see below.
            None,
        ),
        // Version 0 has no body. The head of the answer has no tags in any version.
        ("0012 0000 00000002 0003 61696f", Some("00000002 0000")),
        // Version 3 of a client "a" "1".
        ("0012 0003 00000003 ffff 00 02 61 02 31 00", Some("00000003 0000")),
        // A version that is not there is answered in version 0: error 35, one API, from 0 to 4.
        ("0012 0063 00000004 ffff 00 02 61 02 31 00", Some("00000004 0023 00000001 0012 0000 0004")),
        // A name of a client that is none.
        ("0012 0003 00000005 ffff 00 01 02 31 00", Some("00000005 002a")),
    ];
    let run = move |mut client: Client| {
        for (asked, answer) in asked_and_answer_begins.into_iter().skip(1) {
            let answered = client.ask(&hex(asked)).expect("an answer");
            let begins = hex(answer.unwrap());
            assert_eq!(answered[..begins.len()], begins[..], "{asked}");
        }
        // A text that is longer than its request.
        assert!(client.ask(&hex(asked_and_answer_begins[0].0)).is_none());
    };
    fixture.client(run).await;
}

/// A request of a client, and what a node answered when it was recorded.
struct Exchange {
    connection: usize,
    api: ApiKey,
    version: i16,
    asked: Vec<u8>,
    answered: Bytes,
}

/// The exchanges of a fixture, in the order of their requests.
fn exchanges(text: &str) -> Vec<Exchange> {
    let (mut found, mut open) = (Vec::new(), BTreeMap::new());
    for line in text.lines() {
        let (connection, rest) = line.split_once(' ').unwrap();
        let (direction, bytes) = rest.split_once(' ').unwrap();
        let (connection, bytes): (usize, Vec<u8>) = (connection.parse().unwrap(), hex(bytes));
        let number = |at: usize| i16::from_be_bytes([bytes[at], bytes[at + 1]]);
        if direction == ">" {
            open.insert((connection, bytes[4..8].to_vec()), found.len());
            let (api, version) = (ApiKey::try_from(number(0)).unwrap(), number(2));
            found.push(Exchange { connection, api, version, asked: bytes, answered: Bytes::new() });
        } else if let Some(index) = open.remove(&(connection, bytes[..4].to_vec())) {
            found[index].answered = bytes.into();
        }
    }
    found
}

/// What the recorded clients asked, by API.
pub(crate) fn asked_by_clients() -> BTreeMap<i16, Vec<Vec<u8>>> {
    let fixtures = [
        include_str!("fixtures/confluent.hex"),
        include_str!("fixtures/kafka_python.hex"),
        include_str!("fixtures/aio.hex"),
        include_str!("fixtures/kcat.hex"),
    ];
    let mut asked: BTreeMap<i16, Vec<Vec<u8>>> = BTreeMap::new();
    for exchange in fixtures.into_iter().flat_map(exchanges) {
        asked.entry(exchange.api as i16).or_default().push(exchange.asked);
    }
    asked
}

/// A request as generated code reads it, to its last byte.
fn read_request(exchange: &Exchange) -> RequestKind {
    let Exchange { api, version, .. } = *exchange;
    let mut bytes = Bytes::from(exchange.asked.clone());
    RequestHeader::decode(&mut bytes, api.request_header_version(version)).unwrap();
    let request = RequestKind::decode(api, &mut bytes, version).unwrap();
    assert_eq!(bytes.remaining(), 0, "{api:?} version {version}");
    request
}

/// An answer as generated code reads it, to its last byte.
fn read_answer(exchange: &Exchange, mut bytes: Bytes) -> ResponseKind {
    let Exchange { api, version, .. } = *exchange;
    let head = ResponseHeader::decode(&mut bytes, api.response_header_version(version)).unwrap();
    assert_eq!(head.correlation_id.to_be_bytes(), exchange.asked[4..8]);
    let answer = ResponseKind::decode(api, &mut bytes, version).unwrap();
    assert_eq!(bytes.remaining(), 0, "the answer of {api:?} version {version} is longer than it says");
    answer
}

/// What a node says while a topic or the place of a group is being made; clients ask again.
/// `LEADER_NOT_AVAILABLE`, `COORDINATOR_LOAD_IN_PROGRESS` and `COORDINATOR_NOT_AVAILABLE`.
const NOT_YET: [i16; 3] = [5, 14, 15];

/// Every error code of an answer, wherever it stands.
fn error_codes(answer: &ResponseKind) -> Vec<i16> {
    let shown = format!("{answer:?}");
    let codes = shown.match_indices("error_code: ").map(|(at, name)| {
        let digits: String = shown[at + name.len()..].chars().take_while(|c| *c == '-' || c.is_ascii_digit()).collect();
        digits.parse().unwrap()
    });
    codes.collect()
}

/// What the recorded node chose by chance, and what the one of now chose instead.
#[derive(Default)]
struct Chosen(BTreeMap<Vec<u8>, Vec<u8>>);

impl Chosen {
    fn learn(&mut self, recorded: &ResponseKind, found: &ResponseKind) {
        let pairs: Vec<(Vec<u8>, Vec<u8>)> = match (recorded, found) {
            (ResponseKind::JoinGroup(old), ResponseKind::JoinGroup(new)) => {
                vec![(old.member_id.as_bytes().to_vec(), new.member_id.as_bytes().to_vec())]
            }
            (ResponseKind::CreateTopics(old), ResponseKind::CreateTopics(new)) => {
                let both = old.topics.iter().zip(&new.topics);
                both.map(|(old, new)| (old.topic_id.into_bytes().into(), new.topic_id.into_bytes().into())).collect()
            }
            (ResponseKind::Metadata(old), ResponseKind::Metadata(new)) => {
                let both = old.topics.iter().zip(&new.topics);
                both.map(|(old, new)| (old.topic_id.into_bytes().into(), new.topic_id.into_bytes().into())).collect()
            }
            // It stands in batches below a checksum, so it cannot be replaced there.
            (ResponseKind::InitProducerId(old), ResponseKind::InitProducerId(new)) => {
                assert_eq!(old.producer_id, new.producer_id, "a fresh node gives the same ids");
                Vec::new()
            }
            _ => Vec::new(),
        };
        self.0.extend(pairs.into_iter().filter(|(old, _)| old.iter().any(|byte| *byte != 0)));
    }

    /// A request with what was chosen now. What is chosen has one length, so nothing else changes.
    fn put_into(&self, request: &[u8]) -> Vec<u8> {
        let mut bytes = request.to_vec();
        for (old, new) in &self.0 {
            assert_eq!(old.len(), new.len());
            while let Some(at) = bytes.windows(old.len()).position(|window| window == old && old != new) {
                bytes[at..at + new.len()].copy_from_slice(new);
            }
        }
        bytes
    }
}

/// The answer to a request, which is asked again while the node is not ready for it.
fn settled(client: &mut Client, exchange: &Exchange, asked: &[u8]) -> ResponseKind {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = client.ask(asked).unwrap_or_else(|| panic!("no answer to {:?}", read_request(exchange)));
        let answer = read_answer(exchange, answer);
        if !error_codes(&answer).iter().any(|code| NOT_YET.contains(code)) {
            return answer;
        }
        assert!(Instant::now() < deadline, "the node does not become ready: {answer:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Replays a session; the names of the APIs that it used.
async fn replay(text: &'static str) -> BTreeSet<String> {
    let fixture = Fixture::new().await;
    let address = fixture.address();
    let run = move |_: Client| {
        let (mut connections, mut chosen, mut used) = (BTreeMap::new(), Chosen::default(), BTreeSet::new());
        for exchange in exchanges(text) {
            let asked = chosen.put_into(&exchange.asked);
            let request = read_request(&exchange);
            let client = connections.entry(exchange.connection).or_insert_with(|| Client::connect(address));
            let found = settled(client, &exchange, &asked);
            used.insert(format!("{:?}", exchange.api));
            // A client that went away did not wait for this one.
            if exchange.answered.is_empty() {
                continue;
            }
            let recorded = read_answer(&exchange, exchange.answered.clone());
            assert_eq!(
                error_codes(&found),
                error_codes(&recorded),
                "{request:?}\nrecorded {recorded:?}\nfound {found:?}"
            );
            chosen.learn(&recorded, &found);
        }
        used
    };
    fixture.client(run).await
}

/// What every client asks in such a session.
const BY_ALL: [&str; 13] = [
    "ApiVersions",
    "Metadata",
    "Produce",
    "Fetch",
    "ListOffsets",
    "FindCoordinator",
    "JoinGroup",
    "SyncGroup",
    "OffsetCommit",
    "OffsetFetch",
    "LeaveGroup",
    "InitProducerId",
    "Heartbeat",
];

/// And what those ask that administrate.
const BY_ADMINISTRATORS: [&str; 6] =
    ["CreateTopics", "CreatePartitions", "DescribeConfigs", "DescribeGroups", "ListGroups", "DeleteTopics"];

fn assert_used(used: &BTreeSet<String>, due: &[&str]) {
    for api in due {
        assert!(used.contains(*api), "the session does not use {api}: {used:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_confluent_kafka_is_answered_as_it_was() {
    let used = replay(include_str!("fixtures/confluent.hex")).await;
    assert_used(&used, &BY_ALL);
    assert_used(&used, &BY_ADMINISTRATORS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_kafka_python_is_answered_as_it_was() {
    let used = replay(include_str!("fixtures/kafka_python.hex")).await;
    assert_used(&used, &BY_ALL);
    assert_used(&used, &BY_ADMINISTRATORS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_aiokafka_is_answered_as_it_was() {
    let used = replay(include_str!("fixtures/aio.hex")).await;
    assert_used(&used, &BY_ALL);
    assert_used(&used, &BY_ADMINISTRATORS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_kcat_is_answered_as_it_was() {
    assert_used(&replay(include_str!("fixtures/kcat.hex")).await, &BY_ALL);
}
