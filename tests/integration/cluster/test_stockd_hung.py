"""A stock server that hangs without dying: the next in rank sells its SKUs, and nobody else notices."""

import asyncio
import time

from commands.burst import ACCEPTED
from deploy.local.cluster import Cluster
from sluice.ranking import ranking_table
from sluice.slots import slot_of
from tests.integration.buying import Client, accepted, ask, create_skus, order, quiet_stock, units_of
from tests.integration.cluster.conftest import audit_whole
from tests.integration.cluster.load import steady_load

HUNG = "stockd-1"
PLENTY = 100_000
NEXT_IN_RANK_WITHIN_S = 2.0
AWAY_S = 4.0
NOTICED_S = 1.0
"""A bystander's order may share the machine with retries, but never waits for the hung server's time limit."""


def owned_by(owner: str, name: str, count: int) -> list[str]:
    """Names of SKUs that the three stock servers rank `owner` first for."""
    table = ranking_table({f"stockd-{number}": 1.0 for number in range(3)})
    found = (f"{name}-{owner}-{number}" for number in range(1_000))
    return [sku for sku in found if table[slot_of(sku)][0] == owner][:count]


async def test_the_next_in_rank_sells_meanwhile(running: Cluster, clients: list[Client], name: str) -> None:
    theirs = owned_by(HUNG, name, 3)
    others = [*owned_by("stockd-0", name, 2), *owned_by("stockd-2", name, 1)]
    await create_skus(clients[0], [*theirs, *others], PLENTY)
    stockd = running.process(HUNG)

    async with steady_load(clients, [*theirs, *others]) as load:
        await asyncio.sleep(1.0)
        hung = time.monotonic()
        await asyncio.to_thread(stockd.stop)
        await asyncio.sleep(AWAY_S)
        await asyncio.to_thread(stockd.cont)
        await asyncio.sleep(2.0)

    replies = load.since(0)
    assert {reply.told for reply in replies} == {ACCEPTED}
    meanwhile = load.since(hung, hung + AWAY_S)
    for_theirs = [reply for reply in meanwhile if reply.request.lines[0].sku in theirs]
    for_others = [reply for reply in meanwhile if reply.request.lines[0].sku in others]
    assert for_theirs
    assert for_others
    assert max(reply.latency_s for reply in for_theirs) < NEXT_IN_RANK_WITHIN_S
    assert max(reply.latency_s for reply in for_others) < NOTICED_S
    later = [reply for reply in load.since(hung + NEXT_IN_RANK_WITHIN_S) if reply.request.lines[0].sku in theirs]
    assert max(reply.latency_s for reply in later) < NOTICED_S, "its SKUs are sold at once once it is known to hang"

    bought = units_of(accepted(replies))
    for sku, stock in (await quiet_stock(clients[0], [*theirs, *others], limit_s=30.0)).items():
        assert stock.sold == bought[sku], sku
    assert (await audit_whole(running)).findings == []


async def test_what_a_hung_server_was_asked_for_is_not_sold_twice(
    running: Cluster, clients: list[Client], name: str
) -> None:
    """It wakes up and grants what its gateways have long bought elsewhere: nobody commits that, and it comes back."""
    (sku,) = owned_by(HUNG, name, 1)
    await create_skus(clients[0], [sku], 40)
    stockd = running.process(HUNG)
    await asyncio.to_thread(stockd.stop)
    try:
        replies = await asyncio.gather(*(ask(c.place_order, order({sku: 1})) for c in clients for _ in range(4)))
    finally:
        await asyncio.to_thread(stockd.cont)
    assert {reply.told for reply in replies} == {ACCEPTED}
    stock = (await quiet_stock(clients[0], [sku], limit_s=30.0))[sku]
    assert (stock.sold, stock.available) == (len(replies), 40 - len(replies))
    assert (await audit_whole(running)).findings == []
