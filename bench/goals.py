"""What is promised of speed, each goal held against the figures of one run. What is missed is said to be missed."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from bench.client import BY_HAND, WAYS
from bench.figures import Spread, ratios, spread
from bench.plan import BELOW_PEAK, BEYOND_PEAK
from bench.report import wording
from bench.report.selecting import (
    SERVING,
    Document,
    Run,
    fastest_journal,
    fastest_tigerbeetle,
    own_cpu_us,
    rates,
    reference_in_flight,
    refusals,
    select,
)

AGAINST_TIGERBEETLE = 1.0
AGAINST_JOURNAL = 0.75
EMBEDDED_AGAINST_NOOP = 0.8
CLUSTER_AGAINST_NOOP = 0.7
HOT_AGAINST_MANY = 0.9
BURST_AGAINST_REDIS = 1.5
BURST_AGAINST_LWT = 0.2
STREAM_CPU_US = 8.0
UNARY_CPU_US = 160.0
CLIENT_CPU_US = 20.0
CLIENT_AGAINST_BATCHES = 0.6
CPU_AT_SCALE = 1.2
DRAIN_AGAINST_ACCEPTANCE = 1.0
P99_BELOW_PEAK_MS = 25.0
GOODPUT_BEYOND_PEAK = 0.9
REFUSED_WITHIN_MS = 100.0

TOLERATED_REFUSALS = 0.01
"""Share of refused orders up to which a rate is still one."""

EXCESS_REFUSED = 0.9
"""Share of what was offered beyond the goodput that must be refused. The rest may be on its way when the time ends."""


class Goal(NamedTuple):
    """One promise, what came out, and whether it holds: None if this run does not say. `key` is short: P1, P1b ..."""

    key: str
    promise: str
    measured: str
    holds: bool | None


NOT_MEASURED = "not measured in this run"


def judge(document: Document) -> list[Goal]:
    judges: Sequence[Callable[[Document], list[Goal]]] = (
        _against_tigerbeetle,
        _against_journal,
        _against_noop,
        _hot_against_many,
        _bursts,
        _cpu,
        _client,
        _cpu_at_scale,
        _drain,
        _open_loop,
    )
    return [goal for judged in judges for goal in judged(document)]


def at_least(key: str, promise: str, values: Sequence[float], bound: float) -> Goal:
    return _bounded(key, promise, values, wording.ratio, lambda middle: middle >= bound)


def at_most(
    key: str, promise: str, values: Sequence[float], bound: float, word: Callable[[Spread], str] = wording.ratio
) -> Goal:
    return _bounded(key, promise, values, word, lambda middle: middle <= bound)


def refused_share(runs: Sequence[Run]) -> float:
    told = sum(refusals(runs).values())
    accepted: int = sum(run["accepted"] for run in runs)
    return told / max(1, told + accepted)


_CONDITIONS = (("accept", "relay standing still"), ("hot", "relay at work on the same cores"))


def _against_tigerbeetle(document: Document) -> list[Goal]:
    best = fastest_tigerbeetle(document)
    how = f" ({best[0]['clients']} clients, {best[0]['batch']:,} a batch)" if best else ""
    reference = [run["orders_per_s"] for run in best]
    return [
        at_least(
            "P1",
            f"durable orders/s, cluster, stream, {condition}: at least {AGAINST_TIGERBEETLE:g} of TigerBeetle{how}",
            _compared(rates(document, "stream", "cluster", load=load), reference),
            AGAINST_TIGERBEETLE,
        )
        for load, condition in _CONDITIONS
    ]


def _against_journal(document: Document) -> list[Goal]:
    reference = fastest_journal(document, "postgresql")
    return [
        at_least(
            "P1b",
            f"the same, {condition}: at least {AGAINST_JOURNAL:g} of the bare journal function",
            _compared(rates(document, "stream", "cluster", load=load), reference),
            AGAINST_JOURNAL,
        )
        for load, condition in _CONDITIONS
    ]


def _against_noop(document: Document) -> list[Goal]:
    at = reference_in_flight(document)
    noop = rates(document, "unary", "noop", load="hot", in_flight=at)
    return [
        at_least(
            "P2",
            f"unary, {system}: at least {bound:g} of the no-op rate",
            _compared(rates(document, "unary", system, load="hot", in_flight=at), noop),
            bound,
        )
        for system, bound in (("embedded", EMBEDDED_AGAINST_NOOP), ("cluster", CLUSTER_AGAINST_NOOP))
    ]


def _hot_against_many(document: Document) -> list[Goal]:
    promise = f"one hot SKU, cluster, stream: at least {HOT_AGAINST_MANY:g} of 10,000 SKUs"
    many = select(document, "stream", "cluster", load="many")
    if (share := refused_share(many)) > TOLERATED_REFUSALS:
        return [Goal("P3", promise, f"no comparison: {share:.0%} of the orders on 10,000 SKUs were refused", False)]
    hot = rates(document, "stream", "cluster", load="hot")
    return [at_least("P3", promise, _compared(hot, [run["orders_per_s"] for run in many]), HOT_AGAINST_MANY)]


def burst_p95_ms(runs: Sequence[Run]) -> list[float]:
    """By repetition."""
    return [spread([burst["latency_ms"]["p95"] for burst in run["bursts"]]).middle for run in runs]


def _bursts(document: Document) -> list[Goal]:
    ours = burst_p95_ms(select(document, "burst", "cluster", load="escrow"))
    compared = (
        ("redis", "Redis, one Lua script, nothing kept", BURST_AGAINST_REDIS),
        ("lwt_per_order", "one conditional write per order", BURST_AGAINST_LWT),
    )
    orders, units = document["plan"].get("burst_orders", 1_000), document["plan"].get("burst_units", 300)
    return [
        at_most(
            "P4",
            f"{orders:,} at once on {units:,} units, cluster: p95 at most {bound:g} times that of {name}",
            _compared(ours, burst_p95_ms(select(document, "burst", peer))),
            bound,
        )
        for peer, name, bound in compared
    ]


def _cpu(document: Document) -> list[Goal]:
    at = reference_in_flight(document)
    stream = own_cpu_us(select(document, "stream", "cluster", load="hot"))
    unary = own_cpu_us(select(document, "unary", "cluster", load="hot", in_flight=at))
    return [
        at_most(
            "P5", f"CPU of gateway and stock servers, {what}: at most {bound:g} µs an order", values, bound, _micros
        )
        for what, values, bound in (
            ("stream, 500 a message", stream, STREAM_CPU_US),
            ("unary", unary, UNARY_CPU_US),
        )
    ]


def _client(document: Document) -> list[Goal]:
    by_hand = rates(document, "client", "cluster", way=BY_HAND)
    found = []
    for way in (way for way in WAYS if "coroutines" in way):
        runs = select(document, "client", "cluster", way=way)
        cpu = own_cpu_us(runs, (*SERVING, "load generator"))
        promise = f"`sluice.client`, {way}"
        cheap = f"{promise}: CPU of gateway, stock servers and client at most {CLIENT_CPU_US:g} µs an order"
        fast = f"{promise}: at least {CLIENT_AGAINST_BATCHES:g} of batches by hand"
        found += [
            at_most("P5", cheap, cpu, CLIENT_CPU_US, _micros),
            at_least("", fast, _compared([run["orders_per_s"] for run in runs], by_hand), CLIENT_AGAINST_BATCHES),
        ]
    return found


def _cpu_at_scale(document: Document) -> list[Goal]:
    hot = own_cpu_us(select(document, "stream", "cluster", load="hot"))
    most = select(document, "skus", "cluster")
    skus = f"{most[0]['skus']:,}" if most else "very many"
    by_stockds = {
        run["stockds"]: own_cpu_us([run])
        for run in document["runs"]
        if run["kind"] == "stockds" and run["load"] == "some"
    }
    fewest, largest = (min(by_stockds), max(by_stockds)) if by_stockds else (1, 8)
    promise = f"at most {CPU_AT_SCALE:g} times the CPU an order"
    return [
        at_most(
            "P6",
            f"from 1 to {skus} SKUs (the goal: 1,000,000): {promise}",
            _compared(own_cpu_us(most), [spread(hot).middle] if hot and most else []),
            CPU_AT_SCALE,
        ),
        at_most(
            "P6",
            f"from {fewest} to {largest} stock servers (the goal: 1 to 8), 1,000 SKUs: {promise}",
            _compared(by_stockds.get(largest, []), by_stockds.get(fewest, [])),
            CPU_AT_SCALE,
        ),
    ]


def _drain(document: Document) -> list[Goal]:
    behind = select(document, "drain", "cluster", load="behind")
    beside = select(document, "drain", "cluster", load="beside")
    promise = f"relay and consumer drain at least {DRAIN_AGAINST_ACCEPTANCE:g} times as fast as orders are accepted"
    alone = [run["accepted"] / (run["drained_s"] - run["answered_s"]) / run["orders_per_s"] for run in behind]
    together = [run["handled_meanwhile"] / run["accepted"] for run in beside]
    return [
        at_least("P7", f"{promise}, each with the cores to itself", alone, DRAIN_AGAINST_ACCEPTANCE),
        at_least("P7", f"{promise}, all at once on the same cores", together, DRAIN_AGAINST_ACCEPTANCE),
    ]


def _open_loop(document: Document) -> list[Goal]:
    below = select(document, "at_rate", "embedded", share_of_peak=BELOW_PEAK)
    beyond = select(document, "at_rate", "embedded", share_of_peak=BEYOND_PEAK)
    p99 = wording.known(run["latency_ms"]["p99"] for run in below)
    goodput = [run["orders_per_s"] / run["peak"] for run in beyond]
    return [
        at_most(
            "P8",
            f"open loop at {BELOW_PEAK:g} of the peak, embedded, unary: p99 at most {P99_BELOW_PEAK_MS:g} ms",
            p99,
            P99_BELOW_PEAK_MS,
            wording.milliseconds,
        ),
        at_least(
            "P8",
            f"offered {BEYOND_PEAK:g} times the peak: goodput at least {GOODPUT_BEYOND_PEAK:g} of it",
            goodput,
            GOODPUT_BEYOND_PEAK,
        ),
        _refused_in_time(beyond),
    ]


def _refused_in_time(runs: Sequence[Run]) -> Goal:
    promise = f"the excess is answered UNAVAILABLE within {REFUSED_WITHIN_MS:g} ms"
    if not runs:
        return Goal("P8", promise, NOT_MEASURED, None)
    excess = [max(1.0, (run["offered_per_s"] - run["orders_per_s"]) * run["seconds"]) for run in runs]
    shares = [run["refused"].get("OVERLOADED", 0) / beyond for run, beyond in zip(runs, excess, strict=True)]
    slowest = wording.known(run["refused_latency_ms"]["max"] for run in runs)
    said = f"{spread(shares).middle:.0%} of it refused" + (
        f", the slowest after {max(slowest):,.0f} ms" if slowest else ""
    )
    in_time = bool(slowest) and max(slowest) <= REFUSED_WITHIN_MS
    return Goal("P8", promise, said, in_time and spread(shares).middle >= EXCESS_REFUSED)


def _bounded(
    key: str, promise: str, values: Sequence[float], word: Callable[[Spread], str], holds: Callable[[float], bool]
) -> Goal:
    if not values:
        return Goal(key, promise, NOT_MEASURED, None)
    found = spread(values)
    return Goal(key, promise, word(found), holds(found.middle))


def _micros(found: Spread) -> str:
    return f"{wording.micros(found.middle)} ({wording.micros(found.low)} to {wording.micros(found.high)})"


def _compared(measured: Sequence[float], reference: Sequence[float]) -> list[float]:
    """Nothing if one of them was not measured."""
    return ratios(measured, reference) if measured and reference else []
