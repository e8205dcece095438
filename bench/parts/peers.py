"""Every peer: a thousand orders at once on few units, then single calls in closed loop on one SKU of which there is
enough for everybody.
"""

from bench.parts import bursts
from bench.peer_systems import Missing, peer
from bench.peers.known import PEERS
from bench.stage import Stage, unary_load
from bench.stocking import create_skus

PEER_UNITS = 100_000
"""More than any of them sells in the time; the peer with a row for each unit must make them all."""


def run(stage: Stage, repetition: int) -> None:
    for name in PEERS:
        try:
            _measure(stage, name, repetition)
        except Missing as missing:
            stage.leave_out(PEERS[name].label, str(missing))


def _measure(stage: Stage, name: str, repetition: int) -> None:
    plan = stage.plan
    server = PEERS[name].server
    program = stage.programs.get("redis" if server == "redis_aof" else server)
    database = stage.targets["postgresql"]
    with peer(name, stage.directory, stage.ends, database, stage.cluster, program) as system:
        if system.facts:
            stage.document["servers"][server] = dict(system.facts)
        bursts.on_peer(stage, system, repetition)
        sku = f"peer-{name}-{repetition}"
        create_skus(system.endpoint, [sku], units=PEER_UNITS)
        load = unary_load(plan, system, [sku], plan.unary_reference)
        load |= {"warm_s": plan.peer_warm_s, "seconds": plan.peer_seconds}
        label = f"{plan.unary_reference} in flight"
        notes = {"load": "peer", "in_flight": plan.unary_reference, "repetition": repetition}
        stage.run("unary", system, label, [load], notes)
