"""Memory over minutes: single calls all the time and bursts of full messages on top."""

from bench.measure import watch_memory
from bench.orders import HOT_SKUS, SOME_SKUS
from bench.plan import ORDERS_A_MESSAGE, STREAM_IN_FLIGHT
from bench.stage import LOADS, Stage, unary_load
from bench.workers import worker

BURST_MESSAGES = 20
BURST_INTERVAL_S = 8.0
IN_FLIGHT = 64
RSS_INTERVAL_S = 1.0
SKUS = HOT_SKUS + SOME_SKUS[:15]


def run(stage: Stage) -> None:
    plan, system = stage.plan, stage.cluster
    if not plan.soak_minutes:
        return
    seconds = plan.soak_minutes * 60
    stage.say(f"soak        {system.name}: {plan.soak_minutes:g} minutes")
    unary = unary_load(plan, system, HOT_SKUS, IN_FLIGHT) | {"seconds": seconds}
    bursts = {
        "kind": "messages",
        "endpoint": system.endpoint,
        "skus": SKUS,
        "batch": ORDERS_A_MESSAGE,
        "in_flight": STREAM_IN_FLIGHT,
        "messages": BURST_MESSAGES,
        "interval_s": BURST_INTERVAL_S,
        "seconds": seconds,
    }
    pids = {name: system.pids[name] for name in system.python}
    with worker(LOADS, unary) as steady, worker(LOADS, bursts) as bursting:
        for load in (steady, bursting):
            load.wait_until_warm()
        with watch_memory(pids | {"client": steady.pid}, RSS_INTERVAL_S) as memory:
            steady.begin()
            bursting.begin()
            results = [steady.result(), bursting.result()]
    system.drain()
    kinds = ("soak, unary", "soak, bursts")
    stage.document["soak"] = {
        "minutes": plan.soak_minutes,
        "rss_mib": memory.series,
        "results": [
            {"kind": kind, "system": system.name, **result} for kind, result in zip(kinds, results, strict=True)
        ],
    }
