"""Of each goal that is missed: what an order costs, what the goal leaves for it on these cores, and what would help."""

from collections.abc import Callable, Mapping, Sequence

from bench import goals
from bench.figures import spread
from bench.report import wording
from bench.report.selecting import (
    Document,
    Run,
    cpu_us_per_order,
    fastest_journal,
    fastest_tigerbeetle,
    own_cpu_us,
    reference_in_flight,
    role_of,
    select,
)


def remedies(document: Document, missed: Sequence[str]) -> list[str]:
    """A line for each of the goals, by key, that is known here."""
    return [f"{key}: {_OF[key](document)}" for key in missed if key in _OF]


def _tigerbeetle(document: Document) -> str:
    rate = spread([run["orders_per_s"] for run in fastest_tigerbeetle(document)]).middle
    return (
        f"{_stream_budget(document, rate * goals.AGAINST_TIGERBEETLE)} PostgreSQL needs cores of its own, or must write"
        " less: TigerBeetle keeps 128 bytes a transfer, and neither an order nor its events."
    )


def _journal(document: Document) -> str:
    rate = spread(fastest_journal(document, "postgresql")).middle
    return (
        f"{_stream_budget(document, rate * goals.AGAINST_JOURNAL)} The journal alone has all cores in the run that it"
        " is compared with. A core for the gateway would do, or its way of an order (reading, checking, encoding"
        " events) outside of Python."
    )


def _stream_budget(document: Document, orders_per_s: float) -> str:
    runs = select(document, "stream", "cluster", load="accept")
    whole = spread([_until_answered_us(run) for run in runs]).middle
    postgres = spread([_until_answered_us(run, "postgres") for run in runs]).middle
    return (
        f"an order costs {wording.micros(whole)} µs of all programs until it is answered, PostgreSQL"
        f" {wording.micros(postgres)} of them; the goal leaves {wording.micros(_left_us(document, orders_per_s))}."
    )


def _calls(document: Document) -> str:
    at = reference_in_flight(document)
    servers = (("noop", "no-op server"), ("embedded", "embedded gateway"), ("cluster", "gateway"))
    noop, embedded, gateway = (
        cpu_us_per_order(select(document, "unary", system, load="hot", in_flight=at))[role] for system, role in servers
    )
    compared = (
        ("embedded", embedded, goals.EMBEDDED_AGAINST_NOOP),
        ("cluster, the gateway alone", gateway, goals.CLUSTER_AGAINST_NOOP),
    )
    found = [
        f"{name} {wording.micros(us)} µs of its core, the goal leaves {wording.micros(noop / bound)}"
        for name, us, bound in compared
    ]
    return f"a single call costs the no-op server {wording.micros(noop)} µs; {'; '.join(found)}. {_FEWER_CALLS}"


def _cpu(document: Document) -> str:
    at = reference_in_flight(document)
    unary = own_cpu_us(select(document, "unary", "cluster", load="hot", in_flight=at))
    if not unary:
        return _FEWER_CALLS
    us = wording.micros(spread(unary).middle)
    return f"a single call costs {us} µs, of which gRPC's own part is the largest. {_FEWER_CALLS}"


_FEWER_CALLS = (
    "Orders that travel together cost a tenth: `sluice.client` sends those that callers place one by one over one"
    " stream. Single calls get cheaper only if more of what gRPC does for each is done outside of Python."
)


def _at_scale(document: Document) -> str:
    del document
    return (
        "for the first order of a SKU its stock server looks at the SKU, notes that it may hold some and takes. Others"
        " share these requests, but each SKU is tended by itself, and looking could be saved. A group of orders is"
        " divided over the stock servers that own its SKUs, and each has a part of it to read, answer and settle: more"
        " load per server makes the parts larger."
    )


def _drain(document: Document) -> str:
    behind = select(document, "drain", "cluster", load="behind")
    relay, consumer, kafka = (
        wording.micros(spread(own_cpu_us(behind, (role,))).middle) for role in ("relay", "consumer", "kafka")
    )
    accepted = spread([run["orders_per_s"] for run in behind]).middle
    return (
        f"until its events are handled an order needs {relay} µs of the relay, {consumer} of a consumer and {kafka} of"
        f" Kafka; orders were accepted every {wording.micros(1e6 / accepted)} µs, with all cores. A journal's relay is"
        " one process: several journals have as many, if there are cores for them. With one, handing events and their"
        " headers to Kafka's client would have to leave Python."
    )


def _until_answered_us(run: Run, *roles: str) -> float:
    used: Mapping[str, float] = run["cpu_until_answered_s"]
    seconds = sum(each for name, each in used.items() if not roles or role_of(name) in roles)
    accepted: int = run["accepted"]
    return 1e6 * seconds / accepted


def _left_us(document: Document, orders_per_s: float) -> float:
    cores: int = document["machine"]["cores"]
    return 1e6 * cores / orders_per_s


_OF: Mapping[str, Callable[[Document], str]] = {
    "P1": _tigerbeetle,
    "P1b": _journal,
    "P2": _calls,
    "P5": _cpu,
    "P6": _at_scale,
    "P7": _drain,
}
