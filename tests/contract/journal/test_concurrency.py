"""Many at once, about the same orders: each id stands once, nobody deadlocks, nothing is half done."""

import asyncio
import random

from journal.protocol import Committed, Journal, OrdersExist
from sluice.model import NewOrder
from tests.contract.journal.standing import standing
from tests.journals import new_order, registered, sale


async def test_overlapping_batches_insert_every_id_once(journal: Journal) -> None:
    incarnation = await registered(journal)
    rng = random.Random(7)
    pool = [new_order() for _ in range(120)]
    seqs = iter(range(1, 10_000))

    async def place(orders: list[NewOrder]) -> int:
        """As a gateway does: drop what stands already and try the rest. Returns how many were new."""
        while orders:
            result = await journal.commit(sale(incarnation, next(seqs), orders))
            if result == Committed():
                return len(orders)
            assert isinstance(result, OrdersExist)
            assert result.orders
            orders = [order for order in orders if order.order_id not in result.orders]
        return 0

    placed = await asyncio.gather(*(place(rng.sample(pool, 40)) for _ in range(16)))
    after = await standing(journal)
    assert len(after.orders) == sum(placed)
    assert after.spends == {incarnation: {"tea": sum(placed)}}
    assert sum(row.event_count for row in after.outbox) == sum(placed)


async def test_the_same_batch_from_many_at_once_stands_once(journal: Journal) -> None:
    incarnation = await registered(journal)
    batch = sale(incarnation, 1, [new_order() for _ in range(50)])
    results = await asyncio.gather(*(journal.commit(batch) for _ in range(8)))
    assert [type(result) for result in results].count(Committed) == 1
    after = await standing(journal)
    assert len(after.outbox) == 1
    assert after.spends == {incarnation: {"tea": 50}}


async def test_owners_named_in_any_order_do_not_deadlock(journal: Journal) -> None:
    owners = [await registered(journal, f"stockd-{n}") for n in range(4)]
    rng = random.Random(11)

    async def commit(number: int) -> None:
        chosen = rng.sample(owners, 3)
        batch = sale(chosen[0], number, [new_order()])
        spends = [batch.spends[0]._replace(incarnation=owner) for owner in chosen]
        assert await journal.commit(batch._replace(spends=spends)) == Committed()

    await asyncio.gather(*(commit(number) for number in range(1, 41)))
