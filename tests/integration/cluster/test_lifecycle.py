"""Lifecycle on the real log: every order is confirmed or cancelled by a check, once, though its process is killed."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.local.cluster import Cluster
from deploy.local.layout import address
from deploy.local.ports import free_port
from deploy.local.processes import Process
from deploy.local.services import shows_metrics
from sluice.model import OrderState
from tests.integration.buying import Client, create_skus, order, quiet_stock
from tests.integration.cluster.conftest import audit_whole

GOOD, BLOCKED, LARGE, HELD = 300, 20, 20, 20
CHECKS = ("--check-blocked-customers", "mallory", "--check-max-order-units", "5", "--lifecycle-share", "1")


@pytest.fixture
def lifecycle(running: Cluster, tmp_path: Path) -> Iterator[Process]:
    """Not started yet, beside the consumers of the cluster."""
    known = running.process("consume-0").command
    port = free_port()
    command = replace(
        known,
        name="lifecycle",
        argv=(*known.argv[: known.argv.index("consume") + 1], "lifecycle", *CHECKS),
        directory=tmp_path,
        log=tmp_path / "lifecycle.log",
        environment={**known.environment, "SLUICE_METRICS_LISTEN": address(port)},
        listens=(("127.0.0.1", port),),
    )
    process = Process(command, lambda: shows_metrics(f"http://{address(port)}/metrics"))
    try:
        yield process
    finally:
        process.kill()


async def last_turn(client: Client, order_id: str) -> tuple[int, OrderState, str]:
    *_, last = [each.order async for each in client.watch_order(order_id, timeout_s=90)]
    return last.version, OrderState(last.state), last.reason


async def test_each_order_ends_as_its_checks_say(
    running: Cluster, clients: list[Client], lifecycle: Process, name: str
) -> None:
    await create_skus(clients[0], [name], 10_000)
    requests = [order({name: 1}) for _ in range(GOOD)]
    requests += [order({name: 1}, customer_id="mallory") for _ in range(BLOCKED)]
    requests += [order({name: 6}) for _ in range(LARGE)]
    requests += [order({name: 1}, customer_id="mallory", hold_s=600) for _ in range(HELD)]
    await asyncio.to_thread(lifecycle.start)
    await asyncio.gather(*(clients[0].place_order(each, timeout=30) for each in requests[::2]))
    watching = [asyncio.ensure_future(last_turn(clients[1], each.order_id)) for each in requests[::2]]
    await asyncio.wait(watching, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.to_thread(lifecycle.kill)
    await asyncio.gather(*(clients[1].place_order(each, timeout=30) for each in requests[1::2]))
    watching += [asyncio.ensure_future(last_turn(clients[0], each.order_id)) for each in requests[1::2]]
    await asyncio.to_thread(lifecycle.start)

    ends = Counter(await asyncio.gather(*watching))
    assert ends == {
        (3, OrderState.CONFIRMED, ""): GOOD,
        (2, OrderState.CANCELLED, "CUSTOMER_BLOCKED"): BLOCKED + HELD,
        (2, OrderState.CANCELLED, "TOO_MANY_UNITS"): LARGE,
    }
    assert (await quiet_stock(clients[0], [name], limit_s=40.0))[name].sold == GOOD
    assert (await audit_whole(running)).findings == []
