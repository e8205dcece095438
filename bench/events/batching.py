"""One message at a time against batches, without compression and with each kind that the client has."""

from collections.abc import Mapping
from typing import Any

from bench.events.brokers import Brokers, make_topic
from bench.events.producing import UNCOMPRESSED, one_at_a_time, throughput
from bench.events.progress import Say

PARTITIONS = 16
"""What the relay makes."""

LONE_MESSAGES = 1_000
MESSAGES = 200_000

BATCHED: Mapping[str, Mapping[str, Any]] = {
    "none": UNCOMPRESSED,
    "lz4": UNCOMPRESSED | {"compression.type": "lz4"},
    "zstd": UNCOMPRESSED | {"compression.type": "zstd", "compression.level": 1},
}

LINGERS_MS = (0, 5, 25, 50, 100)


def measure(brokers: Brokers, say: Say, share: float) -> dict[str, Any]:
    """`share` of the messages that a full run sends."""
    topic = make_topic(brokers, PARTITIONS)
    lone = one_at_a_time(brokers, topic, PARTITIONS, int(LONE_MESSAGES * share))
    say(f"one message at a time: {lone['messages_per_s']:,.0f}/s")
    batched = {}
    for name, settings in BATCHED.items():
        batched[name] = throughput(brokers, topic, PARTITIONS, settings, int(MESSAGES * share))
        say(f"batches, compression {name}: {batched[name]['messages_per_s']:,.0f}/s")
    lingers = {}
    for linger_ms in LINGERS_MS:
        settings = {"compression.type": "lz4", "linger.ms": linger_ms, "batch.num.messages": 10_000}
        lingers[str(linger_ms)] = throughput(brokers, topic, PARTITIONS, settings, int(MESSAGES * share / 2))
        say(f"lz4, linger {linger_ms} ms: {lingers[str(linger_ms)]['messages_per_s']:,.0f}/s")
    return {"partitions": PARTITIONS, "one_at_a_time": lone, "batched": batched, "lingers": lingers}
