"""One partition against ten: what more partitions cost, where it goes, and what gives it back.

The same messages at the same rate are spread over more batches, and each request to the broker costs it the same
however little is in it. Waiting a little longer for a batch is the remedy where many partitions are wanted; more
parallel work does not want them (see the lanes).
"""

from collections.abc import Mapping
from typing import Any

from bench.events.brokers import Brokers, make_topic
from bench.events.producing import CLIENT_DEFAULT, RELAY, delay, one_at_a_time, throughput
from bench.events.progress import Say

COUNTS = (1, 10)
LONE_MESSAGES = 1_000
"""As many as the measurement that is quoted had."""

FLOOD_MESSAGES = 100_000
RATE_PER_S = 5_000
SECONDS = 5.0

SETTINGS: Mapping[str, Mapping[str, Any]] = {"client's defaults": CLIENT_DEFAULT, "relay's settings": RELAY}


def measure(brokers: Brokers, say: Say, share: float) -> dict[str, Any]:
    """`share` of the messages that a full run sends."""
    lone: dict[str, Any] = {}
    flood: dict[str, dict[str, Any]] = {name: {} for name in SETTINGS}
    steady: dict[str, dict[str, Any]] = {name: {} for name in SETTINGS}
    for count in COUNTS:
        topic = make_topic(brokers, count)
        lone[str(count)] = one_at_a_time(brokers, topic, count, int(LONE_MESSAGES * share))
        for name, settings in SETTINGS.items():
            found = throughput(brokers, topic, count, settings, int(FLOOD_MESSAGES * share))
            late = delay(brokers, topic, count, settings, RATE_PER_S, SECONDS * share)
            flood[name][str(count)], steady[name][str(count)] = found, late
            say(
                f"{count:2} partitions, {name}: {found['messages_per_s']:,.0f}/s,"
                f" {late['latency_ms']['p95']:.1f} ms p95 at {RATE_PER_S:,}/s"
            )
    return {"one_at_a_time": lone, "flood": flood, "steady": steady}
