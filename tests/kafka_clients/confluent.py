"""confluent-kafka (librdkafka)."""

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic

from common import (
    BOOTSTRAP,
    CODECS,
    NODES,
    SESSION,
    check_compressed,
    check_exactly_once,
    check_owners,
    equal,
    highwater,
    kill_leader,
    step,
    wait_for,
)

PARTITIONS = 4
admin = AdminClient({"bootstrap.servers": BOOTSTRAP, "log_level": 0})


def done(futures):
    """What each future of an administrator's call gives."""
    return {name: future.result(timeout=40) for name, future in futures.items()}


def create(topic, partitions=1):
    done(admin.create_topics([NewTopic(topic, num_partitions=partitions, replication_factor=NODES)]))


def producer(**settings):
    return Producer(
        {
            "bootstrap.servers": BOOTSTRAP,
            "linger.ms": 5,
            "log_level": 0,
            **{key.replace("_", "."): value for key, value in settings.items()},
        }
    )


def produce(producer, topic, records):
    """Produces records, as arguments of `produce`, and waits for their acknowledgements: partition and offset of each."""
    acknowledged = []

    def on_delivery(error, message):
        assert error is None, f"not acknowledged: {error}"
        acknowledged.append((message.partition(), message.offset()))

    for record in records:
        producer.produce(topic, on_delivery=on_delivery, **record)
    equal(producer.flush(60), 0, "records left to send")
    equal(len(acknowledged), len(records), "acknowledgements")
    return acknowledged


def consumer(group="none", **settings):
    usual = {
        "bootstrap.servers": BOOTSTRAP,
        "group.id": group,
        "enable.auto.commit": False,
        "log_level": 0,
        "auto.offset.reset": "earliest",
    }
    return Consumer({**usual, **{key.replace("_", "."): value for key, value in settings.items()}})


def read(reader, count):
    """So many messages, from whatever is assigned."""
    found = []

    def poll():
        message = reader.poll(0.2)
        assert message is None or message.error() is None, message and message.error()
        found.extend([message] if message else [])
        return len(found) >= count

    wait_for(f"{count} records", poll, pause=0)
    return found


def administration():
    create("admin", 2)
    topic = admin.list_topics("admin", timeout=40).topics["admin"]
    equal(sorted(topic.partitions), [0, 1], "partitions")
    equal(len(topic.partitions[0].replicas), NODES, "replicas")
    done(admin.create_partitions([NewPartitions("admin", 3)]))
    wait_for("three partitions", lambda: len(admin.list_topics("admin", timeout=40).topics["admin"].partitions) == 3)
    (configs,) = done(admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, "admin")])).values()
    assert int(configs["retention.ms"].value) != 0, configs
    equal(len(admin.describe_cluster().result(timeout=40).nodes), NODES, "nodes")
    done(admin.delete_topics(["admin"]))
    wait_for("the topic is gone", lambda: "admin" not in admin.list_topics(timeout=40).topics)


def compressions():
    create("codecs", len(CODECS))
    records = [
        {
            "key": b"key %d" % n,
            "value": b"value %d" % n * 20,
            "headers": [("h", b"\x00%d" % n)],
            "timestamp": 1_000_000 + n,
        }
        for n in range(50)
    ]
    senders = [producer(compression_type=codec) for codec in CODECS]
    for partition, sender in enumerate(senders):
        for record in records:
            sender.produce("codecs", partition=partition, **record)
    equal([sender.flush(60) for sender in senders], [0] * len(CODECS), "records left to send")
    reader = consumer()
    reader.assign([TopicPartition("codecs", partition, 0) for partition in range(len(CODECS))])
    found = read(reader, 50 * len(CODECS))
    for partition, codec in enumerate(CODECS):
        of_codec = [
            {"key": one.key(), "value": one.value(), "headers": one.headers(), "timestamp": one.timestamp()[1]}
            for one in found
            if one.partition() == partition
        ]
        equal(of_codec, records, codec)
    check_compressed("codecs")
    reader.close()


def times():
    create("times")
    produce(producer(), "times", [{"value": b"%d" % n, "timestamp": 2_000_000 + n * 1000} for n in range(20)])
    reader = consumer()
    (at,) = reader.offsets_for_times([TopicPartition("times", 0, 2_000_000 + 6_500)], timeout=40)
    equal(at.offset, 7, "the first offset not before the time")
    (after,) = reader.offsets_for_times([TopicPartition("times", 0, 9_000_000)], timeout=40)
    equal(after.offset, -1, "no offset is after the last record")
    equal(reader.get_watermark_offsets(TopicPartition("times", 0), timeout=40), (0, 20), "watermarks")
    reader.assign([at])
    equal(read(reader, 1)[0].value(), b"7", "the first value read")
    reader.close()


def over_grpc():
    create("both")
    produce(
        producer(), "both", [{"key": "k", "value": "from Kafka", "headers": {"h": "v"}, "timestamp": 1234567890123}]
    )
    (line,) = highwater("consume", "both", "--exit-at-end", "--format", "%k|%s|%h|%T\n")
    equal(line, "k|from Kafka|h=v|1234567890123", "read over gRPC")
    highwater("produce", "both", "-k", "k2", "-H", "h2=v2", lines=["from gRPC"])
    reader = consumer()
    reader.assign([TopicPartition("both", 0, 1)])
    (found,) = read(reader, 1)
    equal((found.key(), found.value(), found.headers()), (b"k2", b"from gRPC", [("h2", b"v2")]), "produced over gRPC")
    reader.close()


def shared(strategy):
    """Two members share a group, one leaves, the other goes on from what was committed."""
    topic = group = f"shared.{strategy}"
    create(topic, PARTITIONS)
    settings = {"partition_assignment_strategy": strategy, "heartbeat_interval_ms": 200, "session_timeout_ms": 10000}
    members = [consumer(group, **settings), consumer(group, **settings)]
    seen, sender = [], producer()

    def turn():
        for member in members:
            message = member.poll(0.02)
            if message is not None and not message.error():
                seen.append(message.value())
                member.commit(message, asynchronous=False)

    def owners():
        turn()
        return check_owners([{one.partition for one in member.assignment()} for member in members], PARTITIONS)

    def saw(first, last):
        records = [{"value": b"%d" % n, "partition": n % PARTITIONS} for n in range(first, last)]
        produce(sender, topic, records)
        wait_for("every record", lambda: turn() or len(seen) >= last, pause=0)
        equal(sorted(seen, key=int), [b"%d" % n for n in range(last)], "each record once")

    for member in members:
        member.subscribe([topic])
    wait_for("each partition has one owner of two", owners, pause=0)
    saw(0, 40)
    members.pop(0).close()
    wait_for("each partition has the owner that stayed", owners, pause=0)
    saw(40, 60)
    if strategy == "range":
        groups(group)
    members.pop().close()
    produce(sender, topic, [{"value": b"60", "partition": 0}])
    late = consumer(group, **settings)
    late.subscribe([topic])
    (found,) = read(late, 1)
    equal((found.value(), found.offset()), (b"60", 15), "the first record after the commit")
    late.close()
    done(admin.delete_consumer_groups([group]))


def groups(group):
    listed = admin.list_consumer_groups().result(timeout=40)
    assert group in [one.group_id for one in listed.valid], listed.valid
    (described,) = done(admin.describe_consumer_groups([group])).values()
    equal((described.state.name, len(described.members)), ("STABLE", 1), "the group")
    (offsets,) = done(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])).values()
    equal(sorted(one.offset for one in offsets.topic_partitions), [15] * PARTITIONS, "committed offsets")


def through_a_kill():
    """The leader is killed in the middle of what an idempotent producer sends."""
    create("killed", 3)
    sent, failed, acknowledged = {0: [], 1: [], 2: []}, [], []
    sender = producer(enable_idempotence=True, linger_ms=1)
    reader = consumer("kept")
    reader.commit(offsets=[TopicPartition("killed", 0, 5)], asynchronous=False)

    def on_delivery(error, message):
        (failed if error else acknowledged).append(error or message.offset())

    for n in range(6000):
        sender.produce("killed", b"%d" % n, partition=n % 3, on_delivery=on_delivery)
        sent[n % 3].append(b"%d" % n)
        sender.poll(0)
        if n == 2000:
            wait_for("a first acknowledgement", lambda: sender.poll(0.05) or acknowledged)
            kill_leader("killed", 0)
    equal((sender.flush(60), failed, len(acknowledged)), (0, [], 6000), "left, failed, acknowledged")
    (kept,) = reader.committed([TopicPartition("killed", 0)], timeout=40)
    equal(kept.offset, 5, "what a group committed before the kill")
    reader.assign([TopicPartition("killed", partition, 0) for partition in sent])
    found = {partition: [] for partition in sent}
    for message in read(reader, 6000):
        found[message.partition()].append(message.value())
    ends = [reader.get_watermark_offsets(TopicPartition("killed", partition), timeout=40)[1] for partition in sent]
    equal(sum(ends), 6000, "records that are there")
    check_exactly_once(sent, found)
    reader.close()


def session():
    """A life of a topic and of a group."""
    create("orders", 2)
    done(admin.create_partitions([NewPartitions("orders", 3)]))
    done(admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, "orders")]))
    produce(
        producer(enable_idempotence=True, compression_type="gzip"),
        "orders",
        [{"key": "k", "value": "v", "partition": 0, "timestamp": 1000}],
    )
    reader = consumer("workers")
    reader.offsets_for_times([TopicPartition("orders", 0, 500)], timeout=40)
    reader.subscribe(["orders"])
    (message,) = read(reader, 1)
    reader.commit(message, asynchronous=False)
    reader.committed([TopicPartition("orders", 0)], timeout=40)
    admin.list_consumer_groups().result(timeout=40)
    done(admin.describe_consumer_groups(["workers"]))
    reader.close()
    done(admin.delete_consumer_groups(["workers"]))
    done(admin.delete_topics(["orders"]))


if SESSION:
    session()
    raise SystemExit
for part in [administration, compressions, times, over_grpc]:
    with step(part.__name__):
        part()
for strategy in ["range", "cooperative-sticky"]:
    with step(f"shared, {strategy}"):
        shared(strategy)
if NODES > 1:
    with step("through_a_kill"):
        through_a_kill()
