"""What the scripts share: named steps, waits with a deadline, the gRPC side, and whoever runs them.

A script is run as `python CLIENT.py BOOTSTRAP NODES [session]`, with HIGHWATER_BINARY and HIGHWATER_SERVER in its environment. It ends
with code 0, or with a traceback. It may ask on standard output for a node to be killed, and reads the answer from standard
input (see `kill_leader`).
"""

import contextlib
import faulthandler
import json
import os
import subprocess
import sys
import time

BOOTSTRAP, NODES = sys.argv[1], int(sys.argv[2])

# Whether to do little, once: what transcripts are made of (see `record_the_transcripts`).
SESSION = "session" in sys.argv[3:]

# The whole script: whatever hangs, even in a client, ends with a traceback of every thread.
faulthandler.dump_traceback_later(150, exit=True)

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


@contextlib.contextmanager
def step(name):
    """Says what comes and how long it took, for whoever reads why a test failed or what it costs."""
    print(f"{name} ...", flush=True)
    begun = time.monotonic()
    yield
    print(f"{name}: {time.monotonic() - begun:.1f} s", flush=True)


def wait_for(what, condition, seconds=40, pause=0.02):
    """Asks until it gets something that is true, and returns that. A condition that waits by itself needs no pause."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(pause)


def equal(found, due, what):
    assert found == due, f"{what}: found {found!r}, due {due!r}"


def highwater(*arguments, lines=()):
    """Runs a verb of the binary, which speaks gRPC, to its end; the lines that it prints."""
    command = [os.environ["HIGHWATER_BINARY"], *arguments]
    ran = subprocess.run(
        command, input="".join(f"{line}\n" for line in lines), text=True, capture_output=True, timeout=40
    )
    assert ran.returncode == 0, f"highwater {arguments}: {ran.stderr}"
    return ran.stdout.splitlines()


def kill_leader(topic, partition):
    """Has the node killed that leads this partition; returns when it is dead."""
    print(f"KILL LEADER {topic} {partition}", flush=True)
    answer = sys.stdin.readline()
    assert answer.startswith("KILLED "), f"the harness answers {answer!r}"


def check_owners(assigned, partitions):
    """Whether each partition is owned by exactly one member, and each member owns one; `assigned` is a set of each."""
    owned = [partition for of_member in assigned for partition in of_member]
    return all(assigned) and sorted(owned) == list(range(partitions))


def check_exactly_once(sent, found):
    """Both: the values of each partition. What was acknowledged is there once, in the order in which it was sent."""
    for partition, values in sent.items():
        equal(len(found[partition]), len(values), f"records of partition {partition}")
        equal(found[partition], values, f"order in partition {partition}")


def check_compressed(topic):
    """Whether what was sent compressed is stored so: partition n has what was sent with codec n, the same records each."""

    def is_smaller():
        described = json.loads(highwater("topic", "describe", topic, "-o", "json")[0])
        sizes = [partition["size_bytes"] for partition in described["partitions"]]
        return all(size < sizes[0] / 2 for size in sizes[1:])

    wait_for("compressed batches are smaller", is_smaller, seconds=10)
