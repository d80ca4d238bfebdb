//! Listeners with names: who comes in through one is told the nodes' addresses of that name, by every API that tells any.

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    ApiVersionsRequest, BrokerId, DescribeClusterRequest, FindCoordinatorRequest, MetadataRequest, TopicName,
};

use super::harness::{Client, Fixture, PATIENCE, text};

/// What a client is told, as HOST:PORT: by `Metadata`, `DescribeCluster` and `FindCoordinator`.
fn told(client: &mut Client) -> [String; 3] {
    let topic = MetadataRequestTopic::default().with_name(Some(TopicName(text("orders"))));
    let request = MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(true);
    let metadata = client.call(9, &request);
    assert_eq!(metadata.topics[0].partitions[0].leader_id, BrokerId(1));
    let cluster = client.call(1, &DescribeClusterRequest::default().with_endpoint_type(1));
    assert_eq!((metadata.brokers.len(), cluster.brokers.len()), (1, 1));
    let request = FindCoordinatorRequest::default().with_key(text("workers"));
    let deadline = std::time::Instant::now() + PATIENCE;
    let place = loop {
        let place = client.call(2, &request);
        match place.error_code {
            0 => break place,
            // The topic of the coordinators is being made.
            code => assert!(code == 15 && std::time::Instant::now() < deadline, "{place:?}"),
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    };
    let (node, broker) = (&metadata.brokers[0], &cluster.brokers[0]);
    [(&node.host, node.port), (&broker.host, broker.port), (&place.host, place.port)]
        .map(|(host, port)| format!("{host}:{port}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_listener_tells_the_addresses_of_its_name() {
    let settings = [
        ("kafka.advertised", "inside.example:9092"),
        ("kafka.listeners", "outside://127.0.0.1:0,own://127.0.0.1:0"),
        ("kafka.advertised_listeners", "outside://outside.example:19092"),
    ];
    let fixture = Fixture::with(&settings).await;
    let places = fixture.server.kafka_listeners();
    assert_eq!(places.len(), 2);
    let (outside, own) = (places["outside"], places["own"]);
    let run = move |mut client: Client| {
        assert_eq!(told(&mut client), ["inside.example:9092"; 3].map(str::to_owned));
        assert_eq!(told(&mut Client::connect(outside)), ["outside.example:19092"; 3].map(str::to_owned));
        // Nothing is said of where this one is reached: where it listens.
        assert_eq!(told(&mut Client::connect(own)), [(); 3].map(|()| own.to_string()));
    };
    fixture.client(run).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_counted_over_all_listeners() {
    let settings = [("limits.connections", "2"), ("kafka.listeners", "outside://127.0.0.1:0")];
    let fixture = Fixture::with(&settings).await;
    let outside = fixture.server.kafka_listeners()["outside"];
    let inside = fixture.server.kafka_address().unwrap();
    let run = move |mut client: Client| {
        let mut other = Client::connect(outside);
        // Each listener accepts by itself: these two are in when they are answered.
        for first in [&mut client, &mut other] {
            assert_eq!(first.call(0, &ApiVersionsRequest::default()).error_code, 0);
        }
        for full in [inside, outside] {
            assert!(Client::connect(full).answer().is_none(), "closed at once");
        }
        drop((client, other));
    };
    fixture.client(run).await;
}
