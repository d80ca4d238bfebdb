//! What damaged and hostile clients send: each is told what is wrong, or its connection ends, and nothing else happens.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiVersionsRequest, MetadataRequest, ProduceRequest, TopicName};

use super::batches::batch;
use super::harness::{Client, Fixture, text};

/// Key, version, correlation id, and no client id.
fn head(key: i16, version: i16) -> Vec<u8> {
    [&key.to_be_bytes()[..], &version.to_be_bytes(), &[0, 0, 0, 9], &[0xff, 0xff]].concat()
}

fn is_well(client: &mut Client) {
    assert_eq!(client.call(0, &ApiVersionsRequest::default()).error_code, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lengths_that_cannot_be_end_the_connection() {
    let fixture = Fixture::new().await;
    let address = fixture.address();
    let run = move |mut well: Client| {
        for length in [0, -1, 1, 7, i32::MIN, i32::MAX, 17 << 20] {
            let mut client = Client::connect(address);
            client.write(&i32::to_be_bytes(length));
            assert!(client.answer().is_none(), "{length}");
        }
        // Too long for a request without records.
        let mut client = Client::connect(address);
        client.write(&[&i32::to_be_bytes(5 << 20)[..], &[0, 3]].concat());
        assert!(client.answer().is_none());
        is_well(&mut well);
    };
    fixture.client(run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lengths_inside_a_request_are_held_against_what_came() {
    let fixture = Fixture::new().await;
    let address = fixture.address();
    let run = move |mut well: Client| {
        // (key, an old version, a flexible version) of APIs that begin with an array or a text.
        let first = [(3, 1, 12), (0, 3, 9), (19, 2, 7), (20, 1, 6), (21, 0, 2), (32, 1, 4), (33, 0, 2)];
        let more = [(35, 1, 4), (37, 0, 3), (44, 0, 1)];
        for (key, old, flexible) in first.into_iter().chain(more) {
            for length in [0x7fff_ffff_i32, 0x7fff, -2, i32::MIN, 1_000] {
                let mut client = Client::connect(address);
                let body = [head(key, old), length.to_be_bytes().to_vec(), vec![0; 3]].concat();
                assert!(client.ask(&body).is_none(), "{key} v{old} {length}");
                let mut client = Client::connect(address);
                let compact = [0xff, 0xff, 0xff, 0xff, 0x0f];
                let body = [head(key, flexible), vec![0], compact.to_vec(), vec![0; 3]].concat();
                assert!(client.ask(&body).is_none(), "{key} v{flexible}");
            }
        }
        // Every cut of a good request.
        let good = [head(3, 1), vec![0, 0, 0, 2, 0, 1, b'a', 0, 1, b'b']].concat();
        for end in 8..good.len() {
            assert!(Client::connect(address).ask(&good[..end]).is_none(), "{end}");
        }
        // Tags without end, and a head of the other encoding.
        let mut client = Client::connect(address);
        assert!(client.ask(&[head(3, 12), vec![0xff, 0xff, 0xff, 0xff, 0x0f]].concat()).is_none());
        is_well(&mut well);
    };
    fixture.client(run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_served_ends_the_connection() {
    let fixture = Fixture::new().await;
    let address = fixture.address();
    let run = move |mut well: Client| {
        for (key, version) in [(999, 0), (-1, 0), (3, 99), (3, -1), (0, 2), (0, 13), (24, 0)] {
            assert!(Client::connect(address).ask(&head(key, version)).is_none(), "{key} v{version}");
        }
        is_well(&mut well);
    };
    fixture.client(run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_request_and_silence_ends_the_connection_and_nothing_is_held() {
    let fixture = Fixture::new().await;
    let run = move |mut client: Client| {
        let started = Instant::now();
        client.write(&[&i32::to_be_bytes(1 << 20)[..], &head(0, 9)].concat());
        assert!(client.answer().is_none());
        assert!((8..19).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    };
    fixture.client(run).await;
    let budget = fixture.server.produce_budget();
    let free = async {
        while budget.available() < budget.total() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), free).await.expect("all permits come back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_batches_are_refused_one_by_one() {
    let fixture = Fixture::new().await;
    let run = move |mut client: Client| {
        let topic = || TopicName(text("auto"));
        let named =
            kafka_protocol::messages::metadata_request::MetadataRequestTopic::default().with_name(Some(topic()));
        let made = client
            .call(9, &MetadataRequest::default().with_topics(Some(vec![named])).with_allow_auto_topic_creation(true));
        assert_eq!(made.topics[0].error_code, 0, "made when it was asked for");
        let good = batch(&[b"one"]);
        let with = |at: usize, byte: u8| {
            let mut bytes = good.to_vec();
            bytes[at] ^= byte;
            Bytes::from(bytes)
        };
        let cases: [(&str, Option<Bytes>, i16); 8] = [
            ("a wrong checksum", Some(with(20, 1)), 2),
            ("damaged records", Some(with(65, 1)), 2),
            ("magic 0", Some(with(16, 2)), 87),
            ("magic 1", Some(with(16, 3)), 87),
            ("two batches", Some([&good[..], &good].concat().into()), 87),
            ("nothing", Some(Bytes::new()), 87),
            ("null", None, 87),
            ("too large", Some(batch(&[&vec![0; 2 << 20]])), 10),
        ];
        for (what, records, code) in cases {
            let data = PartitionProduceData::default().with_index(0).with_records(records);
            let topic = TopicProduceData::default().with_name(topic()).with_partition_data(vec![data]);
            let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(5_000).with_topic_data(vec![topic]);
            let answer = client.call(9, &request);
            let refused = &answer.responses[0].partition_responses[0];
            assert_eq!((refused.error_code, refused.base_offset), (code, -1), "{what}");
            assert!(refused.error_message.is_some(), "{what}");
        }
        is_well(&mut client);
    };
    fixture.client(run).await;
}
