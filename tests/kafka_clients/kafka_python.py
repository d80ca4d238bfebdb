"""kafka-python."""

import threading

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, NewPartitions, NewTopic

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
SERVERS = BOOTSTRAP.split(",")
admin = KafkaAdminClient(bootstrap_servers=SERVERS)


def create(topic, partitions=1):
    admin.create_topics([NewTopic(topic, partitions, NODES)])


def producer(**settings):
    return KafkaProducer(bootstrap_servers=SERVERS, **settings)


def consumer(group=None, **settings):
    return KafkaConsumer(
        bootstrap_servers=SERVERS, group_id=group, enable_auto_commit=False, auto_offset_reset="earliest", **settings
    )


def sent(futures):
    return [future.get(timeout=40) for future in futures]


def read(reader, count):
    """So many records, from whatever is assigned."""
    found = []

    def poll():
        for records in reader.poll(timeout_ms=200).values():
            found.extend(records)
        return len(found) >= count

    wait_for(f"{count} records", poll, pause=0)
    return found


def assigned(*partitions):
    reader = consumer()
    reader.assign(list(partitions))
    reader.seek_to_beginning()
    return reader


def administration():
    create("admin", 2)
    (topic,) = admin.describe_topics(["admin"])
    equal([len(one["replica_nodes"]) for one in topic["partitions"]], [NODES] * 2, "replicas")
    admin.create_partitions({"admin": NewPartitions(3)})
    wait_for("three partitions", lambda: len(admin.describe_topics(["admin"])[0]["partitions"]) == 3)
    described = admin.describe_configs([ConfigResource("topic", "admin")], config_filter="all")
    assert "retention.ms" in str(described), described
    equal(len(admin.describe_cluster()["brokers"]), NODES, "nodes")
    admin.delete_topics(["admin"])
    wait_for("the topic is gone", lambda: "admin" not in admin.list_topics())


def compressions():
    create("codecs", len(CODECS))
    records = [
        {
            "key": b"key %d" % n,
            "value": b"value %d" % n * 20,
            "headers": [("h", b"\x00%d" % n)],
            "timestamp_ms": 1_000_000 + n,
        }
        for n in range(50)
    ]
    for partition, codec in enumerate(CODECS):
        sender = producer(compression_type=None if codec == "none" else codec, linger_ms=5)
        sent([sender.send("codecs", partition=partition, **record) for record in records])
        sender.close()
    reader = assigned(*[TopicPartition("codecs", partition) for partition in range(len(CODECS))])
    found = read(reader, 50 * len(CODECS))
    for partition, codec in enumerate(CODECS):
        of_codec = [
            {
                "key": one.key,
                "value": one.value,
                "headers": [tuple(header) for header in one.headers],
                "timestamp_ms": one.timestamp,
            }
            for one in found
            if one.partition == partition
        ]
        equal(of_codec, records, codec)
    check_compressed("codecs")
    reader.close()


def times():
    create("times")
    sender = producer()
    sent([sender.send("times", b"%d" % n, timestamp_ms=2_000_000 + n * 1000) for n in range(20)])
    sender.close()
    partition = TopicPartition("times", 0)
    reader = assigned(partition)
    equal(
        reader.offsets_for_times({partition: 2_000_000 + 6_500})[partition].offset,
        7,
        "the first offset not before the time",
    )
    equal(reader.offsets_for_times({partition: 9_000_000})[partition], None, "no offset is after the last record")
    equal(
        (reader.beginning_offsets([partition]), reader.end_offsets([partition])),
        ({partition: 0}, {partition: 20}),
        "ends",
    )
    reader.seek(partition, 7)
    equal(read(reader, 1)[0].value, b"7", "the first value read")
    reader.close()


def over_grpc():
    create("both")
    sender = producer()
    sent([sender.send("both", b"from Kafka", key=b"k", headers=[("h", b"v")], timestamp_ms=1234567890123)])
    sender.close()
    (line,) = highwater("consume", "both", "--exit-at-end", "--format", "%k|%s|%h|%T\n")
    equal(line, "k|from Kafka|h=v|1234567890123", "read over gRPC")
    highwater("produce", "both", "-k", "k2", "-H", "h2=v2", lines=["from gRPC"])
    reader = assigned(TopicPartition("both", 0))
    found = read(reader, 2)[1]
    equal(
        (found.key, found.value, [tuple(header) for header in found.headers]),
        (b"k2", b"from gRPC", [("h2", b"v2")]),
        "produced over gRPC",
    )
    reader.close()


class Member(threading.Thread):
    """A member of a group, which polls until it is told to leave. What it was given is committed."""

    def __init__(self, topic, group, seen):
        super().__init__(daemon=True)
        self.consumer = consumer(group, heartbeat_interval_ms=200, session_timeout_ms=10000)
        self.consumer.subscribe([topic])
        self.seen, self.owned, self.leaving, self.failed = seen, set(), False, None
        self.start()

    def run(self):
        try:
            while not self.leaving:
                found = self.consumer.poll(timeout_ms=50)
                values = [record.value for records in found.values() for record in records]
                if values:
                    self.consumer.commit()
                    self.seen.extend(values)
                self.owned = {one.partition for one in self.consumer.assignment()}
            self.consumer.close()
        except BaseException as failed:
            self.failed = failed

    def leave(self):
        self.leaving = True
        self.join(40)
        assert not self.is_alive() and self.failed is None, f"the member did not leave: {self.failed}"


def shared():
    """Two members share a group, one leaves, the other goes on from what was committed."""
    topic = group = "shared"
    create(topic, PARTITIONS)
    seen = []
    members = [Member(topic, group, seen), Member(topic, group, seen)]
    sender = producer()

    def owners():
        assert not any(member.failed for member in members), [member.failed for member in members]
        return check_owners([member.owned for member in members], PARTITIONS)

    def saw(first, last):
        sent([sender.send(topic, b"%d" % n, partition=n % PARTITIONS) for n in range(first, last)])
        wait_for("every record", lambda: len(seen) >= last)
        equal(sorted(seen, key=int), [b"%d" % n for n in range(last)], "each record once")

    wait_for("each partition has one owner of two", owners)
    saw(0, 40)
    members.pop(0).leave()
    wait_for("each partition has the owner that stayed", owners)
    saw(40, 60)
    groups(group)
    members.pop().leave()
    sent([sender.send(topic, b"60", partition=0)])
    sender.close()
    late = consumer(group)
    late.subscribe([topic])
    (found,) = read(late, 1)
    equal((found.value, found.offset), (b"60", 15), "the first record after the commit")
    late.close()
    admin.delete_groups([group])


def groups(group):
    assert group in str(admin.list_groups()), admin.list_groups()
    described = admin.describe_groups([group])[group]
    equal((described["group_state"], len(described["members"])), ("Stable", 1), "the group")
    offsets = admin.list_group_offsets({group: None})[group]
    equal(sorted(one.offset for one in offsets.values()), [15] * PARTITIONS, "committed offsets")


def through_a_kill():
    """The leader is killed in the middle of what an idempotent producer sends."""
    create("killed", 3)
    due, futures = {0: [], 1: [], 2: []}, []
    sender = producer(
        enable_idempotence=True, acks="all", linger_ms=1, delivery_timeout_ms=60000, request_timeout_ms=20000
    )
    for n in range(3000):
        futures.append(sender.send("killed", b"%d" % n, partition=n % 3))
        due[n % 3].append(b"%d" % n)
        if n == 1000:
            futures[0].get(timeout=40)
            kill_leader("killed", 0)
    for future in futures:
        future.get(timeout=60)
    sender.close()
    partitions = [TopicPartition("killed", partition) for partition in due]
    reader = assigned(*partitions)
    found = {partition: [] for partition in due}
    for record in read(reader, 3000):
        found[record.partition].append(record.value)
    equal(sum(reader.end_offsets(partitions).values()), 3000, "records that are there")
    check_exactly_once(due, found)
    reader.close()


def session():
    """A life of a topic and of a group."""
    create("orders", 2)
    admin.create_partitions({"orders": NewPartitions(3)})
    admin.describe_configs([ConfigResource("topic", "orders")])
    sender = producer(compression_type="gzip")
    sent([sender.send("orders", b"v", key=b"k", partition=0, timestamp_ms=1000)])
    sender.close()
    reader = consumer("workers", heartbeat_interval_ms=200, session_timeout_ms=10000)
    reader.subscribe(["orders"])
    read(reader, 1)
    reader.offsets_for_times({TopicPartition("orders", 0): 500})
    reader.commit()
    reader.committed(TopicPartition("orders", 0))
    admin.list_groups()
    admin.describe_groups(["workers"])
    admin.describe_cluster()
    reader.close()
    admin.delete_groups(["workers"])
    admin.delete_topics(["orders"])


if SESSION:
    session()
    raise SystemExit
for part in [administration, compressions, times, over_grpc, shared] + ([through_a_kill] if NODES > 1 else []):
    with step(part.__name__):
        part()
