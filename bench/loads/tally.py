"""What callers were told, and how long it took, without keeping every latency."""

from collections import Counter
from typing import Any

from bench.latencies import Latencies

ACCEPTED = "ACCEPTED"
REPLAYED = "REPLAYED"


class Tally:
    """`accepted` and `refused` hold latencies: of calls, or of whole messages on a stream."""

    def __init__(self) -> None:
        self.told: Counter[str] = Counter()
        self.accepted = Latencies()
        self.refused = Latencies()

    def refusals(self) -> dict[str, int]:
        return {reason: count for reason, count in self.told.items() if reason != ACCEPTED}

    def as_result(self, elapsed_s: float) -> dict[str, Any]:
        return {
            "accepted": self.told[ACCEPTED],
            "refused": self.refusals(),
            "elapsed_s": elapsed_s,
            "orders_per_s": self.told[ACCEPTED] / elapsed_s,
            "latency_ms": self.accepted.in_ms(),
            "latencies": self.accepted.encoded(),
        }
