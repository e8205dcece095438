"""How long and how often: everything that decides how long a measurement takes, in one place."""

from dataclasses import dataclass

ORDERS_A_MESSAGE = 500
STREAM_IN_FLIGHT = 8

REFERENCE_IN_FLIGHT = 128
"""Concurrency at which peers, the unary profile and the CPU table are taken."""


BELOW_PEAK = 0.7
BEYOND_PEAK = 2.0
"""Rates in open loop for which something is promised, as shares of the closed loop's."""

FLOOD = 4.0
"""More than a gateway can even refuse, as a share of the closed loop's rate."""


@dataclass(frozen=True)
class Plan:
    """`warm_s` and `seconds` for single calls; `warm_messages` and `messages` of ORDERS_A_MESSAGE for streams."""

    repetitions: int
    quiet_s: float
    """Before each run the stock servers must have written nothing for this long: longer than two looks of their
    housekeeping, and nothing where figures do not count.
    """
    concurrencies: tuple[int, ...]
    warm_s: float
    seconds: float
    peer_warm_s: float
    peer_seconds: float
    warm_messages: int
    """Two passes over 10,000 SKUs: what is measured is selling them, not asking for each for the first time."""
    messages: int
    warm_drains: int
    """Before what is counted. Kafka's CPU for an order, with a consumer, in drains of 120,000 orders from its start:
    14, 12, 6, 5, 3, 4, 8, 4, 6, 16, 4, 5, 3 µs; what its compilers take is all of the difference (measured).
    """
    drain_messages: int
    """So many that starting and the last batch of a drain, some tenths of a second, do not count."""
    skus_at_most: int
    """Of the 1,000 and 10,000 that the loads are named after; fewer only where figures do not count."""
    many_skus: int
    """As many SKUs as it can be made to have in the time; a million is stated in the goal."""
    many_messages: int
    """With many SKUs nearly every order is the first of its SKU: fewer orders take as long. They are sent one message
    at a time: what is asked is what an order costs, and not how many are refused.
    """
    stockds: tuple[int, ...]
    journals: tuple[int, ...]
    bursts: int
    burst_orders: int
    burst_units: int
    tigerbeetle_clients: tuple[int, ...]
    tigerbeetle_batches: tuple[int, ...]
    tigerbeetle_transfers: int
    """For a second or two: as long as the streams that they are compared with."""
    client_orders: int
    rate_shares: tuple[float, ...]
    """Of the closed loop's rate, offered in open loop for the curve of latency over rate."""
    rate_warm_s: float
    """Longer than a gateway takes a queue for a crowd: what is measured is overload that lasts."""
    rate_seconds: float
    soak_minutes: float

    @property
    def unary_reference(self) -> int:
        """The concurrency at which CPU and profile are taken."""
        return REFERENCE_IN_FLIGHT if REFERENCE_IN_FLIGHT in self.concurrencies else self.concurrencies[0]


FULL = Plan(
    repetitions=2,
    quiet_s=1.2,
    concurrencies=(128,),
    warm_s=1.5,
    seconds=4.0,
    peer_warm_s=1.0,
    peer_seconds=2.0,
    warm_messages=40,
    messages=240,
    warm_drains=2,
    drain_messages=480,
    skus_at_most=10_000,
    many_skus=100_000,
    many_messages=40,
    stockds=(1, 2, 4, 8),
    journals=(1, 4),
    bursts=3,
    burst_orders=1_000,
    burst_units=300,
    tigerbeetle_clients=(1, 2, 4),
    tigerbeetle_batches=(500, 2_000, 8_189),
    tigerbeetle_transfers=160_000,
    client_orders=120_000,
    rate_shares=(0.3, 0.5, 0.7, 0.9, 1.2),
    rate_warm_s=3.0,
    rate_seconds=4.0,
    soak_minutes=3.0,
)

SMOKE = Plan(
    repetitions=1,
    quiet_s=0.0,
    concurrencies=(16,),
    warm_s=0.2,
    seconds=0.3,
    peer_warm_s=0.1,
    peer_seconds=0.2,
    warm_messages=2,
    messages=8,
    warm_drains=1,
    drain_messages=8,
    skus_at_most=100,
    many_skus=200,
    many_messages=8,
    stockds=(2,),
    journals=(2,),
    bursts=1,
    burst_orders=60,
    burst_units=20,
    tigerbeetle_clients=(1, 2),
    tigerbeetle_batches=(500,),
    tigerbeetle_transfers=2_000,
    client_orders=4_000,
    rate_shares=(),
    rate_warm_s=0.2,
    rate_seconds=0.3,
    soak_minutes=0.02,
)
