"""The outbox: each committed batch gets one number, in an order without gaps, and is there until it is deleted."""

import asyncio

from journal.protocol import Backlog, Journal
from tests.journals import new_order, registered, sale


async def test_the_lease_is_held_by_one_at_a_time(journal: Journal) -> None:
    async with journal.lease_outbox() as held:
        assert held is not None
        async with journal.lease_outbox() as refused:
            assert refused is None
    async with journal.lease_outbox() as again:
        assert again is not None


async def test_rows_are_read_by_number_and_forgotten_when_deleted(journal: Journal) -> None:
    incarnation = await registered(journal)
    batches = [sale(incarnation, seq, [new_order() for _ in range(seq)]) for seq in range(1, 6)]
    for batch in batches:
        await journal.commit(batch)
    async with journal.lease_outbox() as lease:
        assert lease is not None
        await lease.number_new()
        rows = await lease.read(0, 100)
        assert [row.number for row in rows] == [1, 2, 3, 4, 5]
        assert [(row.events, row.event_count, row.create_time) for row in rows] == [
            (batch.events, batch.event_count, batch.create_time) for batch in batches
        ]
        assert [row.number for row in await lease.read(2, 2)] == [3, 4]
        assert await lease.read(5, 10) == []
        await lease.delete([1, 2, 4])
        await lease.delete([])
        assert [row.number for row in await lease.read(0, 100)] == [3, 5]
        await lease.delete([3, 5])
    assert await journal.backlog() == Backlog(0, 0, None)


async def test_a_number_is_not_used_again(journal: Journal) -> None:
    incarnation = await registered(journal)
    for seq in range(1, 4):
        await journal.commit(sale(incarnation, seq, [new_order()]))
        async with journal.lease_outbox() as lease:
            assert lease is not None
            await lease.number_new()
            assert [row.number for row in await lease.read(0, 100)] == [seq]
            await lease.delete([seq])


async def test_a_refused_batch_takes_no_number(journal: Journal) -> None:
    incarnation = await registered(journal)
    order = new_order()
    await journal.commit(sale(incarnation, 1, [order]))
    await journal.commit(sale(incarnation, 2, [order]))
    await journal.commit(sale(incarnation, 3, [new_order()]))
    async with journal.lease_outbox() as lease:
        assert lease is not None
        await lease.number_new()
        assert [row.number for row in await lease.read(0, 100)] == [1, 2]


async def test_numbering_beside_busy_writers_skips_and_repeats_nothing(journal: Journal) -> None:
    incarnation = await registered(journal)
    committed: list[bytes] = []

    async def sell(worker: int) -> None:
        for count in range(30):
            batch = sale(incarnation, 1 + worker + 4 * count, [new_order()])
            await journal.commit(batch)
            committed.append(batch.events)

    published: dict[int, bytes] = {}
    async with journal.lease_outbox() as lease:
        assert lease is not None

        async def publish() -> int:
            await lease.number_new()
            rows = await lease.read(max(published, default=0), 7)
            published.update((row.number, row.events) for row in rows)
            return len(rows)

        selling = asyncio.gather(*(sell(worker) for worker in range(4)))
        while not selling.done():
            await publish()
        await selling
        while await publish():
            pass
    assert list(published) == list(range(1, 121))
    assert sorted(published.values()) == sorted(committed)


async def test_a_scan_shows_every_row_that_is_kept(journal: Journal) -> None:
    incarnation = await registered(journal)
    batches = [sale(incarnation, seq, [new_order()]) for seq in range(1, 131)]
    for batch in batches:
        await journal.commit(batch)
    async with journal.lease_outbox() as lease:
        assert lease is not None
        await lease.number_new()
        await lease.delete([2])
    rows = [row async for page in journal.scan_outbox() for row in page]
    assert [row.number for row in rows] == [1, *range(3, 131)]
    assert [row.events for row in rows] == [batch.events for seq, batch in enumerate(batches, 1) if seq != 2]
