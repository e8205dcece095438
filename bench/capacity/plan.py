"""Which runs the slopes are fitted to, and which the model must foresee without having seen them. What one order takes
alone is no slope of CPU: a server that waits works too.
"""

from dataclasses import dataclass
from typing import Literal

from bench.orders import EXACT_SKUS, HOT_SKUS, SOME_SKUS

REPETITIONS = 2
STREAM_IN_FLIGHT = 8
UNARY_WARM_S = 1.0
UNARY_S = 3.0

CART_SKUS = [f"cart-{number}" for number in range(3)]
HUNDRED_SKUS = SOME_SKUS[:100]

Purpose = Literal["fit", "check", "alone"]


@dataclass(frozen=True)
class Shape:
    """One load on the whole cluster. `batch` orders a message, `messages` in all; unary if `batch` is 0."""

    name: str
    purpose: Purpose
    skus: tuple[str, ...]
    policy: str = "escrow"
    lines: int = 1
    batch: int = 0
    messages: int = 0
    in_flight: int = STREAM_IN_FLIGHT


def _stream(
    name: str, purpose: Purpose, skus: list[str], batch: int, messages: int, policy: str = "escrow", lines: int = 1
) -> Shape:
    return Shape(name, purpose, tuple(skus), policy, lines, batch, messages)


def _unary(name: str, purpose: Purpose, in_flight: int) -> Shape:
    return Shape(name, purpose, tuple(HOT_SKUS), in_flight=in_flight)


SHAPES = (
    _stream("stream of 500", "fit", HOT_SKUS, 500, 200),
    _stream("stream of 50", "fit", HOT_SKUS, 50, 800),
    _stream("stream of 10", "fit", HOT_SKUS, 10, 1_500),
    _stream("stream of 500, three lines", "fit", CART_SKUS, 500, 60, lines=len(CART_SKUS)),
    _stream("stream of 500, exact", "fit", EXACT_SKUS, 500, 160, policy="exact"),
    _unary("unary, 1 in flight", "alone", 1),
    _unary("unary, 16 in flight", "fit", 16),
    _unary("unary, 128 in flight", "fit", 128),
    _stream("stream of 100", "check", HOT_SKUS, 100, 500),
    _stream("stream of 200, exact", "check", EXACT_SKUS, 200, 240, policy="exact"),
    _unary("unary, 64 in flight", "check", 64),
    _stream("stream of 500, 100 SKUs", "check", HUNDRED_SKUS, 500, 500),
    _stream("stream of 500, 1,000 SKUs", "fit", SOME_SKUS, 500, 100),
)
"""Those of many SKUs come last: what was taken ahead goes back for half a minute afterwards, which other runs would pay
for. The check of 100 SKUs is long, because conditional writes are foreseen for demand that lasts: in its first seconds
a SKU is refilled more often.
"""

LEDGER_WARM_S = 1.0
LEDGER_S = 3.0
LEDGER_SKUS = [f"ledger-{number:03}" for number in range(64)]

SETTLED_PARTITIONS = 16
"""Of each topic: the default of the relay's setting, which the cluster is started with."""

PARTITION_PUBLISHERS = ((1, 1), (1, 2), (16, 1))
"""Partitions, and publishers that write to all of them."""

PARTITION_WARM_EVENTS = 40_000
PARTITION_EVENTS = 200_000
"""For each publisher."""

JOURNAL_LOOPS = 3
"""As many connections as a gateway has."""

JOURNAL_WARM_BATCHES = 40
JOURNAL_BATCHES = 200
JOURNAL_BATCH = 500

CONSUMER_S = 4.0
