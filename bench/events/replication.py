"""What three copies of each message cost, two of them acknowledged, by the number of partitions."""

from pathlib import Path
from typing import Any

from bench.events.brokers import Brokers, delete_topic, make_topic, running_brokers
from bench.events.producing import RELAY, one_at_a_time, throughput
from bench.events.progress import Say

PARTITION_COUNTS = (8, 64, 512)
MESSAGES = 100_000
LONE_MESSAGES = 300


def measure(directory: Path, alone: Brokers, say: Say, share: float) -> dict[str, Any]:
    """`alone` is a broker that runs already; three more are started beside it. `share` of what a full run sends."""
    found = {"1": _with(alone, say, share)}
    with running_brokers(directory, 3) as three:
        found["3"] = _with(three, say, share)
    return found


def _with(brokers: Brokers, say: Say, share: float) -> dict[str, Any]:
    by_partitions = {}
    for partitions in PARTITION_COUNTS:
        topic = make_topic(brokers, partitions)
        flood = throughput(brokers, topic, partitions, RELAY, int(MESSAGES * share))
        lone = one_at_a_time(brokers, topic, partitions, int(LONE_MESSAGES * share))
        delete_topic(brokers, topic)
        by_partitions[str(partitions)] = {"flood": flood, "one_at_a_time": lone}
        say(
            f"{brokers.copies} copies, {partitions} partitions: {flood['messages_per_s']:,.0f}/s,"
            f" alone {lone['latency_ms']['p50']:.1f} ms"
        )
    return by_partitions
