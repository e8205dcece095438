"""`sluice cluster demo`: the whole way on real servers, from the first process to the last event, and back down."""

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from audit.running import run_audit
from commands.audit import cluster_parts
from commands.burst import Burst
from commands.demo import EXIT_WRONG, Audit, DemoResult, Sale, new_names, run_burst, show_result
from commands.stock import Policy
from deploy.local import cluster
from deploy.local.layout import DEFAULT_DIRECTORY, ClusterSpec, Endpoints
from deploy.local.services import stock_store
from relay.kafka_log import KafkaLog
from sluice.seams.event_log import TOPIC_ORDER_CREATED

DRAIN_LIMIT_S = 20.0
DRAIN_POLL_S = 0.2


def demo(
    *,
    orders: Annotated[int, typer.Option(min=1, help="orders sent at once")] = 1_000,
    units: Annotated[int, typer.Option(min=0, help="units of each SKU")] = 300,
    skus: Annotated[int, typer.Option(min=1, help="SKUs that the orders spread over")] = 1,
    channels: Annotated[int, typer.Option(min=1, help="client connections")] = 8,
    policy: Annotated[Policy, typer.Option(help="stock policy of the SKUs")] = Policy.ESCROW,
    stockd: Annotated[int, typer.Option(min=1, help="stock servers")] = 2,
    gateways: Annotated[int, typer.Option(min=1, help="gateways")] = 1,
    data_dir: Annotated[Path, typer.Option(help="data, logs and state of the cluster")] = DEFAULT_DIRECTORY,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object")] = False,
) -> None:
    """Starts a cluster, sends a burst through it, reads the events back from Kafka, audits, stops what it started."""
    spec = ClusterSpec(data_dir, stockds=stockd, gateways=gateways)
    running = cluster.up(spec, say=lambda line: typer.echo(line, err=True))
    try:
        sale = Sale(orders, units, new_names(skus), channels, policy)
        audit = audit_cluster(running.endpoints)
        result = asyncio.run(run_burst(running.endpoints.gateways, sale, audit))
        created = asyncio.run(count_created(running.endpoints.kafka, result.burst.accepted_ids()))
    finally:
        cluster.down(data_dir, say=lambda line: typer.echo(line, err=True))
    report(result, created, as_json=as_json)
    if result.findings or created != len(result.burst.accepted_ids()):
        raise typer.Exit(EXIT_WRONG)


def report(result: DemoResult, created: int, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(result.as_dict() | {"order_created_on_kafka": created}) + "\n")
        return
    show_result(result)
    accepted = len(result.burst.accepted_ids())
    Console().print(f"order-created on Kafka: {created} events for the {accepted} accepted orders")


def audit_cluster(endpoints: Endpoints) -> Audit:
    async def audit(burst: Burst, skus: Sequence[str]) -> list[str]:
        del burst, skus
        async with cluster_parts(endpoints.postgres, stock_store(endpoints), endpoints.kafka) as parts:
            found = await run_audit(parts.journal, parts.store, parts.log)
        return [f"{finding.invariant}: {finding.subject}: {finding.message}" for finding in found.findings]

    return audit


async def count_created(kafka: str, accepted: set[str]) -> int:
    """How many distinct `accepted` orders have their `order-created` on Kafka, once the relay has had time."""
    deadline = asyncio.get_running_loop().time() + DRAIN_LIMIT_S
    log = KafkaLog(kafka)
    try:
        while True:
            seen = {logged.event.key async for logged in log.read(TOPIC_ORDER_CREATED, follow=False)} & accepted
            if len(seen) == len(accepted) or asyncio.get_running_loop().time() > deadline:
                return len(seen)
            await asyncio.sleep(DRAIN_POLL_S)
    finally:
        await log.close()
