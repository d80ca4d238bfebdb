//! Producing: order, durability, retries, plain records.

use bytes::Bytes;
use futures_util::StreamExt;
use highwater_proto::v1::{self, ErrorCode, produce_request, produce_response};
use highwater_types::batch::Compression;
use tonic::Code;

use crate::batches::{batch, batch_with, sequenced};
use crate::harness::{Fixture, TOPIC, at_start, code, details, produce, read_from, values};

fn ack(response: &v1::ProduceResponse) -> &v1::ProduceAck {
    match &response.result {
        Some(produce_response::Result::Ack(ack)) => ack,
        other => panic!("{other:?} is no acknowledgement"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pipelined_batches_are_answered_and_stored_in_order() {
    let fixture = Fixture::new().await;
    let requests: Vec<_> = (0..2_000_u64)
        .map(|number| produce(number, (number % 2) as u32, batch(&[number.to_string().as_bytes()])))
        .collect();
    let stream = fixture.producer().produce_stream(tokio_stream::iter(requests)).await.unwrap().into_inner();
    let responses: Vec<_> = stream.map(Result::unwrap).collect().await;
    assert_eq!(responses.len(), 2_000);
    for partition in 0..2 {
        let own: Vec<_> = responses.iter().filter(|response| ack(response).partition == partition).collect();
        let correlations: Vec<_> = own.iter().map(|response| response.correlation).collect();
        assert!(correlations.is_sorted(), "answers of a partition come in the order of its requests");
        let offsets: Vec<_> = own.iter().map(|response| ack(response).base_offset).collect();
        assert_eq!(offsets, (0..1_000).collect::<Vec<_>>());
    }
    let read = fixture.reader().read(read_from(at_start())).await.unwrap().into_inner();
    let stored: Vec<_> =
        values(&read.batches).iter().map(|value| String::from_utf8_lossy(value).into_owned()).collect();
    assert_eq!(stored, (0..1_000).map(|number| (number * 2).to_string()).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_durability_says_what_it_is() {
    let fixture = Fixture::new().await;
    let mut offsets = Vec::new();
    for acks in [v1::Acks::Unspecified, v1::Acks::None, v1::Acks::Leader, v1::Acks::Quorum] {
        let request = v1::ProduceRequest { acks: acks.into(), ..produce(9, 0, batch(&[b"a", b"b"])) };
        let response = fixture.producer().produce(request).await.unwrap().into_inner();
        let ack = ack(&response);
        assert_eq!(response.correlation, 9);
        assert_eq!(ack.record_count, 2);
        assert!(ack.timestamp_ms > 1_600_000_000_000);
        let expected = if acks == v1::Acks::Unspecified { v1::Acks::Quorum } else { acks };
        assert_eq!(ack.durability(), expected);
        offsets.push(ack.base_offset);
    }
    assert_eq!(offsets, [0, -1, 4, 6]);
    assert_eq!(fixture.end(0).await, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_sent_again_is_stored_once() {
    let fixture = Fixture::new().await;
    let init = fixture.producer().init_producer(v1::InitProducerRequest {}).await.unwrap().into_inner();
    let other = fixture.producer().init_producer(v1::InitProducerRequest {}).await.unwrap().into_inner();
    assert_ne!(init.producer_id, other.producer_id);
    let send = |sequence| fixture.produce(sequenced(init.producer_id, 0, sequence));
    for sequence in 0..3 {
        let ack = send(sequence).await.unwrap();
        assert_eq!((ack.base_offset, ack.duplicate), (i64::from(sequence), false));
    }
    for sequence in 0..3 {
        let ack = send(sequence).await.unwrap();
        assert_eq!((ack.base_offset, ack.duplicate), (i64::from(sequence), true));
    }
    let gap = send(7).await.unwrap_err();
    assert_eq!((code(&gap), gap.code()), (ErrorCode::OutOfOrderSequence, Code::FailedPrecondition));
    assert_eq!(details(&gap).expected_sequence, Some(3), "{gap}");
    fixture.produce(sequenced(init.producer_id, 1, 0)).await.unwrap();
    let fenced = send(3).await.unwrap_err();
    assert_eq!(code(&fenced), ErrorCode::ProducerFenced, "{fenced}");
    assert_eq!(fixture.end(0).await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_repeats_itself_is_stored_once() {
    let fixture = Fixture::new().await;
    let id = fixture.producer().init_producer(v1::InitProducerRequest {}).await.unwrap().into_inner().producer_id;
    let sequences = [0, 1, 2, 0, 1, 2, 3, 9, 4];
    let requests: Vec<_> =
        sequences.iter().zip(0..).map(|(sequence, n)| produce(n, 0, sequenced(id, 0, *sequence))).collect();
    let stream = fixture.producer().produce_stream(tokio_stream::iter(requests)).await.unwrap().into_inner();
    let responses: Vec<_> = stream.map(Result::unwrap).collect().await;
    for (response, sequence) in responses.iter().zip(sequences) {
        match &response.result {
            Some(produce_response::Result::Error(error)) => {
                assert_eq!(
                    (sequence, error.code(), error.expected_sequence),
                    (9, ErrorCode::OutOfOrderSequence, Some(4))
                );
            }
            _ => assert_eq!(ack(response).base_offset, i64::from(sequence)),
        }
    }
    assert_eq!(fixture.end(0).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_stored_as_they_came() {
    let fixture = Fixture::new().await;
    let codecs = [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
    let sent: Vec<_> = codecs.iter().map(|codec| batch_with(&[&[1; 3_000], b"", b"x"], *codec, None)).collect();
    for bytes in &sent {
        fixture.produce(bytes.clone()).await.unwrap();
    }
    let read = fixture.reader().read(read_from(at_start())).await.unwrap().into_inner();
    assert_eq!(read.batches.len(), sent.len());
    for (got, sent) in read.batches.iter().zip(&sent) {
        // All but the base offset and the leader epoch, which are the server's to write.
        assert_eq!((&got[8..12], &got[16..]), (&sent[8..12], &sent[16..]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_records_are_made_a_batch_of() {
    let fixture = Fixture::new().await;
    let record = |key: Option<&'static str>, value: &'static str| v1::Record {
        key: key.map(Bytes::from),
        value: Some(Bytes::from(value)),
        headers: vec![v1::Header { name: "trace".to_owned(), value: Some(Bytes::from_static(b"1")) }],
        ..Default::default()
    };
    let request = |records| v1::ProduceRequest {
        topic: TOPIC.to_owned(),
        payload: Some(produce_request::Payload::Records(v1::PlainRecords { records })),
        ..Default::default()
    };
    let send = async |records| {
        let response = fixture.producer().produce(request(records)).await.unwrap().into_inner();
        *ack(&response)
    };
    let keyed = send(vec![record(Some("k"), "1"), record(Some("k"), "2")]).await;
    assert_eq!(keyed.record_count, 2);
    assert_eq!(send(vec![record(Some("k"), "3")]).await.partition, keyed.partition, "a key stays in its partition");
    let turns = [send(vec![record(None, "4")]).await.partition, send(vec![record(None, "5")]).await.partition];
    assert_ne!(turns[0], turns[1], "records without a key go round");
    let mixed = fixture.producer().produce(request(vec![record(Some("k"), "1"), record(None, "2")])).await.unwrap_err();
    assert_eq!(code(&mixed), ErrorCode::InvalidRequest);
    let read = v1::ReadRequest { partition: keyed.partition, form: v1::Form::Records.into(), ..read_from(at_start()) };
    let first = &fixture.reader().read(read).await.unwrap().into_inner().records[0];
    assert_eq!((first.key.as_deref(), first.value.as_deref()), (Some(&b"k"[..]), Some(&b"1"[..])));
    assert_eq!(first.headers[0].name, "trace");
    assert!(first.timestamp_ms.unwrap() > 1_600_000_000_000, "the server's time");
}

#[tokio::test(flavor = "multi_thread")]
async fn below_the_floor_of_free_bytes_records_are_refused_and_all_else_goes_on() {
    let fixture = Fixture::with(&[("data.free_bytes_min", "1024TiB")]).await;
    let full = fixture.produce(batch(&[b"x"])).await.unwrap_err();
    assert_eq!((code(&full), full.code()), (ErrorCode::DiskFull, Code::ResourceExhausted), "{full}");
    assert!(details(&full).retryable);
    assert_eq!(fixture.end(0).await, 0);
    fixture.admin().delete_topic(v1::DeleteTopicRequest { name: TOPIC.to_owned() }).await.unwrap();
}
