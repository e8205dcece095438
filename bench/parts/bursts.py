"""The published runs of the field: a thousand requests at once on three hundred units."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from bench.stage import Stage
from bench.stocking import create_skus
from bench.systems import System

WARM_BURSTS = 1


class Sale(NamedTuple):
    """What Sluice sells: under which policy, and how orders are decided."""

    load: str
    policy: str
    mode: str = "MODE_DIRECT"


ON_CLUSTER = (
    Sale("escrow", "ESCROW"),
    Sale("exact", "EXACT"),
    Sale("counter", "COUNTER"),
    Sale("queued", "ESCROW", "MODE_QUEUED"),
)
EMBEDDED = (Sale("escrow", "ESCROW"), Sale("exact", "EXACT"), Sale("queued", "ESCROW", "MODE_QUEUED"))


def run(stage: Stage, repetition: int) -> None:
    for system, sales in ((stage.cluster, ON_CLUSTER), (stage.embedded, EMBEDDED)):
        for sale in sales:
            skus = _names(stage, f"{system.name}-{sale.load}", repetition)
            create_skus(system.endpoint, skus, sale.policy, stage.plan.burst_units)
            load = burst_load(stage, system, skus, sale.mode)
            stage.run("burst", system, f"at once, {sale.load}", [load], {"load": sale.load, "repetition": repetition})
    skus = _names(stage, "noop", repetition)
    load = burst_load(stage, stage.noop, skus)
    stage.run("burst", stage.noop, "at once", [load], {"load": "all accepted", "repetition": repetition})


def on_peer(stage: Stage, peer: System, repetition: int) -> None:
    skus = _names(stage, peer.name, repetition)
    create_skus(peer.endpoint, skus, units=stage.plan.burst_units)
    load = burst_load(stage, peer, skus)
    stage.run("burst", peer, "at once", [load], {"load": "peer", "repetition": repetition})


def burst_load(stage: Stage, system: System, skus: Sequence[str], mode: str = "MODE_DIRECT") -> dict[str, Any]:
    return {
        "kind": "at_once",
        "endpoint": system.endpoint,
        "skus": list(skus),
        "warm": WARM_BURSTS,
        "orders": stage.plan.burst_orders,
        "mode": mode,
    }


def _names(stage: Stage, what: str, repetition: int) -> list[str]:
    """A new SKU for each burst."""
    return [f"burst-{what}-{repetition}-{number}" for number in range(WARM_BURSTS + stage.plan.bursts)]
