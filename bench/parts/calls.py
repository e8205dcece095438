"""Single calls in closed loop: the no-op server, the embedded gateway, the cluster under each policy."""

from bench.orders import COUNTER_SKUS, EXACT_SKUS, HOT_SKUS
from bench.stage import Stage, unary_load


def run(stage: Stage, repetition: int) -> None:
    measured = (
        (stage.noop, "hot", HOT_SKUS),
        (stage.embedded, "hot", HOT_SKUS),
        (stage.cluster, "hot", HOT_SKUS),
        (stage.cluster, "exact", EXACT_SKUS),
        (stage.cluster, "counter", COUNTER_SKUS),
    )
    for in_flight in stage.plan.concurrencies:
        for system, name, skus in measured:
            load = unary_load(stage.plan, system, skus, in_flight)
            label = f"{name}, {in_flight} in flight"
            notes = {"load": name, "in_flight": in_flight, "repetition": repetition}
            stage.run("unary", system, label, [load], notes)
