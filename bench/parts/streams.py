"""Orders in messages over one stream, and the bare journal function beside them."""

from collections.abc import Sequence

from bench.measuring import measured
from bench.orders import EXACT_SKUS, HOT_SKUS, MANY_SKUS, SOME_SKUS
from bench.plan import ORDERS_A_MESSAGE
from bench.stage import Stage, stream_load
from bench.systems import System, nothing_but
from bench.workers import worker

JOURNAL_LOOPS = {"postgresql": (2, 3), "sqlite": (2,)}
"""The gateway commits over three connections (two in flight on SQLite); the faster of these is the reference."""

RELAYS = ("relay-0",)
"""How fast orders are accepted and how fast their events drain are two figures; they share the cores in a third."""


def run(stage: Stage, repetition: int) -> None:
    plan, cluster, embedded = stage.plan, stage.cluster, stage.embedded
    some, many = SOME_SKUS[: plan.skus_at_most], MANY_SKUS[: plan.skus_at_most]
    _stream(stage, stage.noop, "hot", HOT_SKUS, plan.messages, repetition)
    for loops in JOURNAL_LOOPS["postgresql"]:
        _journal(stage, "postgresql", loops, repetition)
    _stream(stage, cluster, "accept", HOT_SKUS, plan.messages, repetition, standing_still=RELAYS)
    _stream(stage, cluster, "hot", HOT_SKUS, plan.messages, repetition)
    _stream(stage, cluster, "exact", EXACT_SKUS, plan.messages, repetition)
    _stream(stage, cluster, "some", some, plan.messages, repetition)
    _stream(stage, cluster, "many", many, plan.many_messages, repetition)
    for loops in JOURNAL_LOOPS["sqlite"]:
        _journal(stage, "sqlite", loops, repetition)
    _stream(stage, embedded, "hot", HOT_SKUS, plan.messages, repetition)
    _stream(stage, embedded, "some", some, plan.messages, repetition)


def _stream(
    stage: Stage,
    system: System,
    name: str,
    skus: Sequence[str],
    messages: int,
    repetition: int,
    standing_still: Sequence[str] = (),
) -> None:
    load = stream_load(stage.plan, system, skus, messages)
    stage.run("stream", system, name, [load], {"load": name, "repetition": repetition}, standing_still)


def _journal(stage: Stage, kind: str, loops: int, repetition: int) -> None:
    settings = {
        "target": stage.targets[kind],
        "skus": HOT_SKUS,
        "batch": ORDERS_A_MESSAGE,
        "loops": loops,
        "warm_batches": stage.plan.warm_messages,
        "batches": stage.plan.messages,
    }
    pids = {"postgres": stage.cluster.pids["postgres"]} if kind == "postgresql" else {}
    with worker("bench.journal_loop", settings) as loop:
        (result,), cost = measured([loop], nothing_but(kind, pids))
    stage.note("journal", kind, f"{loops} loops", result | cost | {"loops": loops, "repetition": repetition})
