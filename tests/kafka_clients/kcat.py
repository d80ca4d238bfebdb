"""kcat (librdkafka), driven by its command line: the program is in KCAT."""

import json
import os
import queue
import re
import signal
import subprocess
import threading
import time

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


def command(*arguments):
    return [os.environ["KCAT"], "-b", BOOTSTRAP, "-X", "log_level=0", *arguments]


def kcat(*arguments, lines=()):
    """Runs it to its end; the lines that it prints."""
    ran = subprocess.run(
        command(*arguments), input="".join(f"{line}\n" for line in lines), text=True, capture_output=True, timeout=40
    )
    assert ran.returncode == 0, f"kcat {arguments}: {ran.returncode}: {ran.stderr}"
    return ran.stdout.splitlines()


def consume(topic, *arguments, form="%s"):
    return kcat("-C", "-t", topic, "-e", "-q", "-f", form + "\n", *arguments)


def create(topic, partitions=None):
    """By asking for it, or over gRPC where a number of partitions is wanted: kcat has no other way."""
    if partitions:
        highwater("topic", "create", topic, "-p", str(partitions), "-r", str(NODES))
        wait_for(f"{topic} with its leaders", lambda: ready(topic, partitions))
    else:
        kcat("-P", "-t", topic, "-X", "allow.auto.create.topics=true", lines=[])


def described(topic):
    found = json.loads("".join(kcat("-L", "-J", "-t", topic)))
    return found, found["topics"][0].get("partitions", [])


def ready(topic, partitions):
    _, found = described(topic)
    return len(found) == partitions and all(one["leader"] > 0 for one in found)


def metadata():
    kcat("-P", "-t", "made", lines=["made by a producer"])
    whole, partitions = described("made")
    equal((len(whole["brokers"]), len(partitions[0]["replicas"])), (NODES, NODES), "nodes and replicas")


def compressions():
    create("codecs", len(CODECS))
    for partition, codec in enumerate(CODECS):
        kcat(
            "-P",
            "-t",
            "codecs",
            "-p",
            str(partition),
            "-z",
            codec,
            "-K:",
            "-H",
            "h=v",
            lines=[f"key {n}:" + f"value {n} " * 20 for n in range(50)],
        )
    for partition, codec in enumerate(CODECS):
        found = consume("codecs", "-p", str(partition), "-o", "beginning", form="%o|%k|%s|%h")
        equal(found, [f"{n}|key {n}|" + f"value {n} " * 20 + "|h=v" for n in range(50)], codec)
    check_compressed("codecs")


def times():
    before = [f"old {n}" for n in range(5)]
    kcat("-P", "-t", "times", lines=before)
    # Records have the time at which they were produced: the next ones are later by more than a millisecond.
    last = max(int(time) for time in consume("times", "-o", "beginning", form="%T"))
    wait_for("a later time", lambda: time.time() * 1000 > last + 20)
    between = last + 10
    kcat("-P", "-t", "times", lines=["new 0", "new 1"])
    equal(consume("times", "-o", f"s@{between}"), ["new 0", "new 1"], "records since a time")
    equal(kcat("-Q", "-t", f"times:0:{between}"), ["times [0] offset 5"], "the offset of a time")
    equal(consume("times", "-o", "-1"), ["new 1"], "the last record")


def over_grpc():
    kcat("-P", "-t", "both", "-k", "k", "-H", "h=v", lines=["from Kafka"])
    (seen,) = consume("both", "-o", "beginning", form="%k|%s|%h|%T")
    (line,) = highwater("consume", "both", "--exit-at-end", "--format", "%k|%s|%h|%T\n")
    equal(line, seen, "read over gRPC")
    highwater("produce", "both", "-k", "k2", "-H", "h2=v2", lines=["from gRPC"])
    equal(consume("both", "-o", "1", form="%k|%s|%h"), ["k2|from gRPC|h2=v2"], "produced over gRPC")


class Member:
    """A process that consumes as a member of a group. It commits when it leaves."""

    def __init__(self, group, topic, seen):
        settings = [
            "-X",
            "heartbeat.interval.ms=200",
            "-X",
            "session.timeout.ms=10000",
            "-X",
            "auto.offset.reset=earliest",
            "-X",
            "auto.commit.interval.ms=100",
        ]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command(*settings, "-u", "-f", "%s\n", "-G", group, topic), **pipes)
        self.owned, self.said = set(), queue.SimpleQueue()
        threading.Thread(
            target=lambda: [seen.append(line.strip()) for line in self.process.stdout], daemon=True
        ).start()
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stderr:
            self.said.put(line)
            if "assigned:" in line:
                self.owned = {int(number) for number in re.findall(r"\[(\d+)\]", line)}
            elif "revoked:" in line:
                self.owned = set()

    def leave(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(40)


def shared():
    """Two members share a group, one leaves, the other goes on from what was committed."""
    topic = group = "shared"
    create(topic, PARTITIONS)
    seen = []
    members = [Member(group, topic, seen), Member(group, topic, seen)]

    def has_owners():
        assert all(member.process.poll() is None for member in members), "a member ended"
        return check_owners([member.owned for member in members], PARTITIONS)

    def saw(first, last):
        for partition in range(PARTITIONS):
            kcat("-P", "-t", topic, "-p", str(partition), lines=range(first + partition, last, PARTITIONS))
        wait_for("every record", lambda: len(seen) >= last)
        equal(sorted(seen, key=int), [str(n) for n in range(last)], "each record once")

    wait_for("each partition has one owner of two", has_owners)
    saw(0, 40)
    members.pop(0).leave()
    wait_for("each partition has the owner that stayed", has_owners)
    saw(40, 60)
    members.pop().leave()
    kcat("-P", "-t", topic, "-p", "0", lines=["60"])
    late = Member(group, topic, seen)
    wait_for("the record after the commit", lambda: len(seen) >= 61)
    equal(seen[60:], ["60"], "what is read after the commit")
    late.leave()


def through_a_kill():
    """The leader is killed in the middle of what an idempotent producer sends."""
    create("killed", 3)
    due = {partition: [f"{partition} {n}" for n in range(1000)] for partition in range(3)}
    senders = {}
    for partition in due:
        arguments = command(
            "-X", "enable.idempotence=true", "-X", "linger.ms=1", "-P", "-t", "killed", "-p", str(partition)
        )
        senders[partition] = subprocess.Popen(arguments, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def send(first, last):
        for partition, sender in senders.items():
            sender.stdin.writelines(f"{line}\n" for line in due[partition][first:last])
            sender.stdin.flush()

    send(0, 300)
    wait_for("a first record", lambda: consume("killed", "-p", "0", "-o", "beginning"))
    send(300, 600)
    kill_leader("killed", 0)
    send(600, 1000)
    for partition, sender in senders.items():
        _, said = sender.communicate(timeout=60)
        equal(sender.returncode, 0, f"kcat of partition {partition}: {said}")
    check_exactly_once(
        due, {partition: consume("killed", "-p", str(partition), "-o", "beginning") for partition in due}
    )


def session():
    """A life of a topic that comes by itself, and of a group."""
    kcat("-P", "-t", "orders", "-k", "k", "-z", "gzip", "-X", "enable.idempotence=true", lines=["v"])
    kcat("-L", "-t", "orders")
    kcat("-Q", "-t", "orders:0:500")
    consume("orders", "-o", "beginning")
    seen = []
    reader = Member("workers", "orders", seen)
    wait_for("the record", lambda: seen)
    reader.leave()


if SESSION:
    session()
    raise SystemExit
for part in [metadata, compressions, times, over_grpc, shared] + ([through_a_kill] if NODES > 1 else []):
    with step(part.__name__):
        part()
