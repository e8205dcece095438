"""Runs every shape on a whole local cluster and notes what it cost: CPU by process, rows, bytes, conditional writes."""

import asyncio
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import asyncpg

from bench.capacity import plan
from bench.capacity.plan import Shape
from bench.fleets import consumer
from bench.machine import describe_machine, describe_servers
from bench.measure import read_clock
from bench.measuring import measured
from bench.orders import EXACT_SKUS, HOT_SKUS, SOME_SKUS
from bench.plan import FULL
from bench.settling import metric_total, wait_until_given_back, wait_until_quiet
from bench.stocking import LOCAL_DC, create_skus, make_bench_database
from bench.systems import System, nothing_but, whole_cluster
from bench.workers import worker
from deploy.local.layout import Endpoints
from deploy.local.processes import identify, terminate
from deploy.local.services import KEYSPACE
from sluice.seams.event_log import TOPIC_ORDER_CREATED, TOPIC_STOCK_CHANGED

FORMAT = 1
CONSUMER = "compensation"
HANDLED = "sluice_consumer_events_handled_total"
CONSUMER_STARTS_S = 60.0

WARM_SHARE = 2
"""Half as many messages as count come before them: demand is an average over a second, and in its first seconds a SKU
is refilled more often than later."""

_ROWS = """
SELECT (SELECT count(*) FROM spends) AS reservations,
       (SELECT last_value FROM outbox_id_seq) AS transactions,
       (SELECT count(*) FROM orders) AS orders,
       pg_total_relation_size('orders') AS order_bytes,
       pg_total_relation_size('spends') AS spend_bytes,
       pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint AS log_bytes
"""

Say = Callable[[str], None]


def measure(directory: Path, document: dict[str, Any], say: Say) -> None:
    """Fills `document` as it goes; nothing is left running."""
    document |= {"format": FORMAT, "machine": describe_machine(directory), "runs": []}
    document |= {"ledger": [], "partitions": [], "journal": []}
    with whole_cluster(directory, say) as (cluster, ends):
        document["servers"] = describe_servers(directory / "cluster", ends.postgres)
        document["servers"]["postgresql"]["max_connections"] = asyncio.run(_setting(ends.postgres, "max_connections"))
        skus = HOT_SKUS + plan.CART_SKUS + SOME_SKUS + plan.LEDGER_SKUS
        create_skus(cluster.endpoint, skus)
        create_skus(cluster.endpoint, EXACT_SKUS, "EXACT")
        bare = make_bench_database(ends.postgres)
        say("once without counting it: servers in Java are slow until their code is compiled")
        for shape in plan.SHAPES:
            _run(shape, cluster, ends, directory)
        wait_until_given_back(cluster.metrics)
        for repetition in range(plan.REPETITIONS):
            for shape in plan.SHAPES:
                run = _run(shape, cluster, ends, directory)
                document["runs"].append({"repetition": repetition, **asdict(shape), "skus": len(shape.skus), **run})
                say(f"{shape.name:28}{run['orders_per_s']:>10,.0f} orders/s  {run['refused'] or ''}")
            wait_until_given_back(cluster.metrics)
            for ledgers, writers in ((1, 1), (1, 4), (len(plan.LEDGER_SKUS), 1)):
                document["ledger"].append({"repetition": repetition, **_ledger(ledgers, writers, cluster, ends)})
            for partitions, publishers in plan.PARTITION_PUBLISHERS:
                run = _partitions(partitions, publishers, cluster, ends)
                document["partitions"].append({"repetition": repetition, **run})
            document["journal"].append({"repetition": repetition, **_journal(bare, cluster)})
        document["consumer"] = _consumer(directory, cluster, ends)
        document["bytes"] = _kafka_bytes(directory) | {"orders": asyncio.run(_rows(ends.postgres))["orders"]}
        document["bytes"] |= _cassandra_bytes(directory, cluster) | {"skus": len(skus) + len(EXACT_SKUS)}
        for name in ("ledger", "partitions", "journal", "consumer", "bytes"):
            say(f"{name}: {document[name]}")


def _run(shape: Shape, cluster: System, ends: Endpoints, directory: Path) -> dict[str, Any]:
    """What was answered, and what was used and written from the end of the warm-up until all events are on Kafka."""
    wait_until_quiet(cluster.metrics, FULL.quiet_s)
    seen: list[dict[str, Any]] = []

    def drain() -> None:
        cluster.drain()
        seen.append(asyncio.run(_rows(ends.postgres)) | _kafka_bytes(directory))

    with worker(*_load(shape, cluster.endpoint)) as load:
        (result,), cost = measured([load], replace(cluster, drain=drain))
    before, after = seen
    return {**result, **cost, "written": {name: after[name] - before[name] for name in after}}


def _load(shape: Shape, endpoint: str) -> tuple[str, dict[str, Any]]:
    common = {"endpoint": endpoint, "skus": list(shape.skus), "in_flight": shape.in_flight}
    if not shape.batch:
        return "bench.loads", common | {"kind": "unary", "warm_s": plan.UNARY_WARM_S, "seconds": plan.UNARY_S}
    stream = common | {"batch": shape.batch, "warm_messages": shape.messages // WARM_SHARE, "messages": shape.messages}
    if shape.lines > 1:
        return "bench.capacity.carts", stream
    # The first units of a SKU are taken while orders of the warm-up wait: of many SKUs, a message at a time.
    return "bench.loads", stream | {"kind": "stream", "warm_in_flight": shape.in_flight if len(shape.skus) == 1 else 1}


def _ledger(skus: int, writers: int, cluster: System, ends: Endpoints) -> dict[str, Any]:
    settings = {
        "cassandra": ends.cassandra,
        "keyspace": KEYSPACE,
        "local_dc": LOCAL_DC,
        "skus": plan.LEDGER_SKUS[:skus],
        "writers": writers,
        "warm_s": plan.LEDGER_WARM_S,
        "seconds": plan.LEDGER_S,
    }
    with worker("bench.capacity.ledger_loop", settings) as loop:
        (result,), cost = measured([loop], nothing_but("ledger", {"cassandra-1": cluster.pids["cassandra-1"]}))
    return {"skus": skus, "writers": writers, **result, "cpu_s": cost["cpu_s"]}


def _partitions(partitions: int, publishers: int, cluster: System, ends: Endpoints) -> dict[str, Any]:
    settings = {
        "kafka": ends.kafka,
        "topic": f"capacity-{partitions}",
        "partitions": partitions,
        "warm_events": plan.PARTITION_WARM_EVENTS,
        "events": plan.PARTITION_EVENTS,
    }
    with ExitStack() as started:
        loops = [started.enter_context(worker("bench.capacity.partition_loop", settings)) for _ in range(publishers)]
        results, cost = measured(loops, nothing_but("log", {"kafka": cluster.pids["kafka"]}))
    events = sum(result["events"] for result in results)
    elapsed_s = max(result["elapsed_s"] for result in results)
    return {
        "partitions": partitions,
        "publishers": publishers,
        "events": events,
        "elapsed_s": elapsed_s,
        "cpu_s": cost["cpu_s"],
    }


def _journal(target: str, cluster: System) -> dict[str, Any]:
    """The bare journal function with the rows of a gateway: what one database takes when nothing else is at work."""
    settings = {
        "target": target,
        "skus": HOT_SKUS,
        "batch": plan.JOURNAL_BATCH,
        "loops": plan.JOURNAL_LOOPS,
        "warm_batches": plan.JOURNAL_WARM_BATCHES,
        "batches": plan.JOURNAL_BATCHES,
    }
    with worker("bench.journal_loop", settings) as loop:
        (result,), cost = measured([loop], nothing_but("journal", {"postgres": cluster.pids["postgres"]}))
    return {**result, "cpu_s": cost["cpu_s"]}


def _consumer(directory: Path, cluster: System, ends: Endpoints) -> dict[str, Any]:
    """How fast the consumer that every cluster runs works down the events of all the runs before."""
    with consumer(CONSUMER, directory, ends, cluster.stockds) as (pid, page):
        deadline = time.monotonic() + CONSUMER_STARTS_S
        while not (before := metric_total([page], HANDLED)) and time.monotonic() < deadline:
            time.sleep(0.05)
        started = read_clock({CONSUMER: pid})
        time.sleep(plan.CONSUMER_S)
        handled = metric_total([page], HANDLED) - before
        ended = read_clock({CONSUMER: pid})
    return {
        "name": CONSUMER,
        "events": handled,
        "elapsed_s": ended.wall_s - started.wall_s,
        "cpu_s": ended.processes[CONSUMER] - started.processes[CONSUMER],
    }


async def _rows(journal_url: str) -> dict[str, int]:
    connection = await asyncpg.connect(journal_url)
    try:
        return dict(await connection.fetchrow(_ROWS) or {})
    finally:
        await connection.close()


async def _setting(journal_url: str, name: str) -> int:
    connection = await asyncpg.connect(journal_url)
    try:
        return int(await connection.fetchval(f"SHOW {name}"))
    finally:
        await connection.close()


def _kafka_bytes(directory: Path) -> dict[str, int]:
    """Segments only: index files are allocated in full long before they are needed."""
    found = {}
    for topic in (TOPIC_ORDER_CREATED, TOPIC_STOCK_CHANGED):
        segments = (directory / "cluster").glob(f"**/{topic}-[0-9]*/*.log")
        found[f"{topic}_bytes"] = sum(segment.stat().st_size for segment in segments)
    return found


def _cassandra_bytes(directory: Path, cluster: System) -> dict[str, int]:
    """What the ledger has on disk. A node that is told to stop writes everything that it has in memory to its tables,
    so this is the last thing that is measured.
    """
    node = identify(cluster.pids["cassandra-1"])
    assert node
    terminate(node)
    tables = [path for path in (directory / "cluster").glob(f"**/{KEYSPACE}/ledger-*/**/*") if path.is_file()]
    if not tables:
        raise FileNotFoundError(f"Cassandra has no files of the table {KEYSPACE}.ledger")
    return {"ledger_bytes": sum(path.stat().st_size for path in tables if "snapshots" not in path.parts)}
