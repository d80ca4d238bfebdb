//! What the front costs: figures, not judgements. By hand, on a release build and a quiet machine:
//! `cargo test --release -p highwater-broker --test grpc -- --ignored --nocapture speed`
#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use highwater_broker::server::Server;
use highwater_proto::v1;
use highwater_proto::v1::produce_service_client::ProduceServiceClient;
use highwater_proto::v1::read_service_client::ReadServiceClient;
use tokio::runtime::{Builder, Runtime};

use crate::batches::batch;
use crate::harness::{TOPIC, at_start, config, produce};

const GIB: f64 = (1_u64 << 30) as f64;
const TOTAL_BYTES: usize = 2 << 30;
const CREDIT_BYTES: u64 = 64 << 20;

fn runtime(name: &str) -> Runtime {
    Builder::new_multi_thread().worker_threads(2).thread_name(name).enable_all().build().unwrap()
}

/// Processor seconds of all threads of this process whose name does not start so.
fn server_cpu_seconds(client: &str) -> f64 {
    let mut ticks = 0_u64;
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let Ok(stat) = std::fs::read_to_string(task.unwrap().path().join("stat")) else { continue };
        let (name, fields) = stat.rsplit_once(')').unwrap();
        if !name.contains(&format!("({client}")) {
            ticks += fields
                .split_ascii_whitespace()
                .skip(11)
                .take(2)
                .map(|field| field.parse::<u64>().unwrap())
                .sum::<u64>();
        }
    }
    ticks as f64 / 100.0
}

struct Measured {
    what: String,
    from: Instant,
    cpu_seconds: f64,
}

impl Measured {
    fn begin(what: String) -> Self {
        Self { what, from: Instant::now(), cpu_seconds: server_cpu_seconds("client") }
    }

    fn end(self, bytes: usize) {
        let seconds = self.from.elapsed().as_secs_f64();
        let cpu = server_cpu_seconds("client") - self.cpu_seconds;
        let (rate, cost) = (bytes as f64 / seconds / 1e6, cpu / (bytes as f64 / GIB));
        println!("{}: {rate:.0} MB/s, server {cost:.2} CPU-s per GiB", self.what);
    }
}

async fn fill(mut client: ProduceServiceClient<tonic::transport::Channel>, batch: Bytes, in_flight: usize) {
    let (sender, requests) = tokio::sync::mpsc::channel(in_flight);
    let stream = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut answers = client.produce_stream(stream).await.unwrap().into_inner();
    let count = TOTAL_BYTES / batch.len();
    let send = async move {
        for number in 0..count {
            sender.send(produce(number as u64, 0, batch.clone())).await.unwrap();
        }
    };
    let receive = async {
        while let Some(answer) = answers.message().await.unwrap() {
            assert!(matches!(answer.result, Some(v1::produce_response::Result::Ack(_))), "{answer:?}");
        }
    };
    tokio::join!(send, receive);
}

async fn drain(mut client: ReadServiceClient<tonic::transport::Channel>, until: i64) -> u64 {
    let (sender, requests) = tokio::sync::mpsc::channel(64);
    let open = v1::ReadOpen {
        topic: TOPIC.to_owned(),
        from: Some(at_start()),
        credit_bytes: CREDIT_BYTES,
        until_offset: Some(until),
        ..Default::default()
    };
    sender.send(v1::ReadStreamRequest { kind: Some(v1::read_stream_request::Kind::Open(open)) }).await.unwrap();
    let stream = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut answers = client.read_stream(stream).await.unwrap().into_inner();
    let (mut next, mut total) = (0, 0);
    while let Some(answer) = answers.next().await {
        let answer = answer.unwrap();
        let bytes: u64 = answer.batches.iter().map(|batch| batch.len() as u64).sum();
        total += bytes;
        next = answer.next_offset;
        let credit = v1::Credit { bytes };
        let credit = v1::ReadStreamRequest { kind: Some(v1::read_stream_request::Kind::Credit(credit)) };
        // At the end nobody takes any.
        let _ended = sender.send(credit).await;
    }
    assert_eq!(next, until);
    total
}

#[test]
#[ignore = "measures, for minutes"]
fn speed() {
    for (name, records) in [("1 KiB batches", 1), ("64 KiB batches", 64), ("1 MiB batches", 1_000)] {
        let (server_runtime, client_runtime) = (runtime("server"), runtime("client"));
        let data = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let server =
            server_runtime.block_on(async { tokio::spawn(Server::start(config(&data, &[]))).await.unwrap().unwrap() });
        let endpoint = crate::harness::endpoint(&server);
        let batch = batch(&vec![&[7_u8; 1_024][..]; records]);
        let count = TOTAL_BYTES / batch.len();
        client_runtime.block_on(async {
            tokio::spawn(async move {
                let channel = endpoint.connect().await.unwrap();
                let mut admin = v1::admin_service_client::AdminServiceClient::new(channel.clone());
                // The records are old; they are to stay nonetheless.
                let config = std::collections::HashMap::from([("retention.ms".to_owned(), "-1".to_owned())]);
                let topic =
                    v1::CreateTopicRequest { name: TOPIC.to_owned(), partitions: 1, config, ..Default::default() };
                admin.create_topic(topic).await.unwrap();
                let measured = Measured::begin(format!("produce {name}"));
                fill(ProduceServiceClient::new(channel.clone()), batch.clone(), 1_000).await;
                measured.end(TOTAL_BYTES);
                for turn in ["first", "second"] {
                    let measured = Measured::begin(format!("consume {name}, {turn} time"));
                    let client = ReadServiceClient::new(channel.clone()).max_decoding_message_size(32 << 20);
                    let bytes = drain(client, (count * records) as i64).await;
                    assert_eq!(bytes, (count * batch.len()) as u64);
                    measured.end(count * batch.len());
                }
            })
            .await
            .unwrap();
        });
        server_runtime.block_on(server.shutdown()).unwrap();
        client_runtime.shutdown_timeout(Duration::from_secs(1));
    }
}
