"""aiokafka."""

import asyncio

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

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
)

PARTITIONS = 4


async def wait_for(what, condition, seconds=40):
    """Asks until it gets something that is true, and returns that; what runs beside goes on meanwhile."""

    async def ask():
        while not (found := await condition()):
            await asyncio.sleep(0.02)
        return found

    try:
        return await asyncio.wait_for(ask(), seconds)
    except asyncio.TimeoutError:
        raise AssertionError(f"not within {seconds} s: {what}") from None


async def create(admin, topic, partitions=1):
    answer = await admin.create_topics([NewTopic(topic, partitions, NODES)])
    equal([one[1] for one in answer.topic_errors], [0], f"creating {topic}")


async def started(client):
    await asyncio.wait_for(client.start(), 40)
    return client


async def producer(**settings):
    return await started(AIOKafkaProducer(bootstrap_servers=BOOTSTRAP, **settings))


def new_consumer(*topics, group=None, **settings):
    return AIOKafkaConsumer(
        *topics,
        bootstrap_servers=BOOTSTRAP,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        **settings,
    )


async def produce(sender, topic, records):
    """Produces records, as arguments of `send`, and waits for their acknowledgements."""
    futures = [await sender.send(topic, **record) for record in records]
    return await asyncio.wait_for(asyncio.gather(*futures), 60)


async def read(reader, count):
    """So many records, from whatever is assigned."""
    return [await asyncio.wait_for(reader.getone(), 40) for _ in range(count)]


async def assigned(*partitions):
    reader = await started(new_consumer())
    reader.assign(list(partitions))
    await reader.seek_to_beginning(*partitions)
    return reader


async def administration(admin):
    await create(admin, "admin", 2)

    async def sizes():
        return [len(topic["partitions"]) for topic in await admin.describe_topics(["admin"])]

    (topic,) = await admin.describe_topics(["admin"])
    equal([len(one["replicas"]) for one in topic["partitions"]], [NODES] * 2, "replicas")
    await admin.create_partitions({"admin": NewPartitions(3)})

    async def is_grown():
        return await sizes() == [3]

    async def is_gone():
        return "admin" not in await admin.list_topics()

    await wait_for("three partitions", is_grown)
    described = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, "admin")])
    assert "retention.ms" in str(described), described
    equal(len((await admin.describe_cluster())["brokers"]), NODES, "nodes")
    await admin.delete_topics(["admin"])
    await wait_for("the topic is gone", is_gone)


async def compressions(admin):
    await create(admin, "codecs", len(CODECS))
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
        sender = await producer(compression_type=None if codec == "none" else codec, linger_ms=5)
        await produce(sender, "codecs", [{"partition": partition, **record} for record in records])
        await sender.stop()
    reader = await assigned(*[TopicPartition("codecs", partition) for partition in range(len(CODECS))])
    found = await read(reader, 50 * len(CODECS))
    for partition, codec in enumerate(CODECS):
        of_codec = [
            {"key": one.key, "value": one.value, "headers": list(one.headers), "timestamp_ms": one.timestamp}
            for one in found
            if one.partition == partition
        ]
        equal(of_codec, records, codec)
    check_compressed("codecs")
    await reader.stop()


async def times(admin):
    await create(admin, "times")
    sender = await producer()
    await produce(sender, "times", [{"value": b"%d" % n, "timestamp_ms": 2_000_000 + n * 1000} for n in range(20)])
    await sender.stop()
    partition = TopicPartition("times", 0)
    reader = await assigned(partition)
    equal(
        (await reader.offsets_for_times({partition: 2_000_000 + 6_500}))[partition].offset,
        7,
        "the first offset not before the time",
    )
    equal(
        (await reader.offsets_for_times({partition: 9_000_000}))[partition], None, "no offset is after the last record"
    )
    equal(
        (await reader.beginning_offsets([partition]), await reader.end_offsets([partition])),
        ({partition: 0}, {partition: 20}),
        "ends",
    )
    reader.seek(partition, 7)
    equal((await read(reader, 1))[0].value, b"7", "the first value read")
    await reader.stop()


async def over_grpc(admin):
    await create(admin, "both")
    sender = await producer()
    await produce(
        sender, "both", [{"key": b"k", "value": b"from Kafka", "headers": [("h", b"v")], "timestamp_ms": 1234567890123}]
    )
    await sender.stop()
    (line,) = highwater("consume", "both", "--exit-at-end", "--format", "%k|%s|%h|%T\n")
    equal(line, "k|from Kafka|h=v|1234567890123", "read over gRPC")
    highwater("produce", "both", "-k", "k2", "-H", "h2=v2", lines=["from gRPC"])
    reader = await assigned(TopicPartition("both", 0))
    found = (await read(reader, 2))[1]
    equal((found.key, found.value, list(found.headers)), (b"k2", b"from gRPC", [("h2", b"v2")]), "produced over gRPC")
    await reader.stop()


async def member(topic, group, seen):
    """A member of a group and the task that reads for it. What it was given is committed."""
    reader = await started(new_consumer(topic, group=group, heartbeat_interval_ms=200, session_timeout_ms=10000))

    async def run():
        while True:
            for partition, found in (await reader.getmany(timeout_ms=100)).items():
                seen.extend(record.value for record in found)
                await reader.commit({partition: found[-1].offset + 1})

    return reader, asyncio.create_task(run())


async def leave(reader, task):
    if task.done():
        task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.wait_for(reader.stop(), 40)


async def shared(admin):
    """Two members share a group, one leaves, the other goes on from what was committed."""
    topic = group = "shared"
    await create(admin, topic, PARTITIONS)
    seen = []
    members = [await member(topic, group, seen), await member(topic, group, seen)]
    sender = await producer()

    async def has_owners():
        return check_owners([{one.partition for one in reader.assignment()} for reader, _ in members], PARTITIONS)

    async def saw(first, last):
        await produce(sender, topic, [{"value": b"%d" % n, "partition": n % PARTITIONS} for n in range(first, last)])

        async def is_seen():
            return len(seen) >= last

        await wait_for("every record", is_seen)
        equal(sorted(seen, key=int), [b"%d" % n for n in range(last)], "each record once")

    await wait_for("each partition has one owner of two", has_owners)
    await saw(0, 40)
    await leave(*members.pop(0))
    await wait_for("each partition has the owner that stayed", has_owners)
    await saw(40, 60)

    async def is_committed():
        offsets = await admin.list_consumer_group_offsets(group)
        return sorted(one.offset for one in offsets.values()) == [15] * PARTITIONS

    await wait_for("committed offsets", is_committed)
    assert group in [name for name, _ in await admin.list_consumer_groups()], "the group is listed"
    described = await admin.describe_consumer_groups([group])
    assert "Stable" in str(described), described
    await leave(*members.pop())
    await produce(sender, topic, [{"value": b"60", "partition": 0}])
    await sender.stop()
    late = await started(new_consumer(topic, group=group))
    (found,) = await read(late, 1)
    equal((found.value, found.offset), (b"60", 15), "the first record after the commit")
    await late.stop()


async def through_a_kill(admin):
    """The leader is killed in the middle of what an idempotent producer sends."""
    await create(admin, "killed", 3)
    due, futures = {0: [], 1: [], 2: []}, []
    sender = await producer(enable_idempotence=True, acks="all", linger_ms=1)
    for n in range(3000):
        futures.append(await sender.send("killed", b"%d" % n, partition=n % 3))
        due[n % 3].append(b"%d" % n)
        if n == 1000:
            await asyncio.wait_for(asyncio.shield(futures[0]), 40)
            await asyncio.to_thread(kill_leader, "killed", 0)
    await asyncio.wait_for(asyncio.gather(*futures), 60)
    await sender.stop()
    partitions = [TopicPartition("killed", partition) for partition in due]
    reader = await assigned(*partitions)
    found = {partition: [] for partition in due}
    for record in await read(reader, 3000):
        found[record.partition].append(record.value)
    equal(sum((await reader.end_offsets(partitions)).values()), 3000, "records that are there")
    check_exactly_once(due, found)
    await reader.stop()


async def session(admin):
    """A life of a topic and of a group."""
    await create(admin, "orders", 2)
    await admin.create_partitions({"orders": NewPartitions(3)})
    await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, "orders")])
    sender = await producer(enable_idempotence=True, compression_type="gzip")
    await produce(sender, "orders", [{"key": b"k", "value": b"v", "partition": 0, "timestamp_ms": 1000}])
    await sender.stop()
    reader = await started(new_consumer("orders", group="workers", heartbeat_interval_ms=200, session_timeout_ms=10000))
    await read(reader, 1)
    await reader.offsets_for_times({TopicPartition("orders", 0): 500})
    await reader.commit()
    await reader.committed(TopicPartition("orders", 0))
    await admin.list_consumer_groups()
    await admin.describe_consumer_groups(["workers"])
    await reader.stop()
    await admin.delete_topics(["orders"])


async def main():
    admin = await started(AIOKafkaAdminClient(bootstrap_servers=BOOTSTRAP))
    parts = (
        [session]
        if SESSION
        else [administration, compressions, times, over_grpc, shared] + ([through_a_kill] if NODES > 1 else [])
    )
    for part in parts:
        with step(part.__name__):
            await part(admin)
    await admin.close()


asyncio.run(main())
