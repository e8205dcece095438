"""Who watches a SKU is told how it stands and when that changes; one read serves all, and nothing queues up."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext

import pytest

from gateway.stock_watching import NoSuchSkuToWatch, StockWatching, Told
from gateway.watches import Stopping
from sluice._gen.stock.v1.stock_pb2 import GetStockResponse
from sluice.errors import Overloaded, StoreUnreachable
from sluice.seams.stock_store import Consistency


class NoTimes:
    def time(self) -> nullcontext[None]:
        return nullcontext()


class Shelf:
    """Its looks happen one at a time, when the test says so."""

    def __init__(self, max_watches: int = 10) -> None:
        self.sold = {"tea": 1, "cup": 1}
        self.reads: list[list[str]] = []
        self.away = False
        self.moment = 0
        self._next = asyncio.Semaphore(0)
        self._looked = asyncio.Semaphore(0)
        self.watching = StockWatching(self._read, max_watches=max_watches, look_seconds=NoTimes(), sleep=self._pause)

    async def _read(self, skus: Sequence[str], consistency: Consistency) -> Mapping[str, GetStockResponse]:
        assert consistency is Consistency.QUORUM
        self.reads.append(list(skus))
        self.moment += 1
        await asyncio.sleep(0)
        if self.away:
            raise StoreUnreachable("away")
        found = {sku: GetStockResponse(sku=sku, sold=self.sold[sku]) for sku in skus if sku in self.sold}
        for stock in found.values():
            stock.as_of.FromSeconds(self.moment)
        return found

    async def _pause(self, _: float) -> None:
        self._looked.release()
        await self._next.acquire()

    async def look(self) -> None:
        """One look, from its begin to its end."""
        self._next.release()
        await self._looked.acquire()


@asynccontextmanager
async def looking(shelf: Shelf) -> AsyncIterator[None]:
    task = asyncio.create_task(shelf.watching.keep_looking())
    try:
        yield
    finally:
        task.cancel()


async def told(watch: AsyncIterator[Told]) -> int:
    async with asyncio.timeout(5):
        return (await anext(watch)).stock.sold


async def test_one_read_serves_all_who_watch() -> None:
    shelf = Shelf()
    watches = [shelf.watching.watch("tea", "") for _ in range(5)]
    assert await asyncio.gather(*(told(watch) for watch in watches)) == [1] * 5
    assert shelf.reads == [["tea"]]
    async with looking(shelf):
        await shelf._looked.acquire()
        shelf.sold["tea"] = 2
        await shelf.look()
        assert await asyncio.gather(*(told(watch) for watch in watches)) == [2] * 5
    assert shelf.reads == [["tea"]] * 3


async def test_who_reads_slowly_is_told_the_latest() -> None:
    shelf = Shelf()
    watch = shelf.watching.watch("tea", "")
    assert await told(watch) == 1
    async with looking(shelf):
        await shelf._looked.acquire()
        for sold in (2, 3, 4):
            shelf.sold["tea"] = sold
            await shelf.look()
        assert await told(watch) == 4
        waiting = asyncio.create_task(told(watch))
        await shelf.look()  # nothing has changed: nothing is told
        assert not waiting.done()
        shelf.sold["tea"] = 5
        await shelf.look()
        assert await waiting == 5


async def test_it_goes_on_from_what_was_told_at_any_gateway() -> None:
    shelf, other = Shelf(), Shelf()
    first = await anext(shelf.watching.watch("tea", ""))
    other.moment = 100
    async with looking(other):
        waiting = asyncio.create_task(told(other.watching.watch("tea", first.resume_token)))
        await other._looked.acquire()
        await other.look()
        assert not waiting.done()
        other.sold["tea"] = 7
        await other.look()
        assert await waiting == 7
    assert await told(other.watching.watch("tea", first.resume_token)) == 7
    assert await told(other.watching.watch("tea", "some nonsense")) == 7


async def test_the_number_of_watches_has_a_limit() -> None:
    shelf = Shelf(max_watches=2)
    watches = [shelf.watching.watch(sku, "") for sku in ("tea", "cup")]
    for watch in watches:
        await told(watch)
    with pytest.raises(Overloaded):
        await told(shelf.watching.watch("tea", ""))
    await watches[0].aclose()
    assert shelf.watching.open_watches == 1
    assert await told(shelf.watching.watch("tea", "")) == 1


async def test_nothing_is_read_for_who_has_gone() -> None:
    shelf = Shelf()
    tea, cup = shelf.watching.watch("tea", ""), shelf.watching.watch("cup", "")
    assert (await told(tea), await told(cup)) == (1, 1)
    async with looking(shelf):
        await shelf._looked.acquire()
        await tea.aclose()
        await shelf.look()
        assert shelf.reads[-1] == ["cup"]
        await cup.aclose()
        before = len(shelf.reads)
        shelf._next.release()
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(shelf.reads) == before


async def test_a_sku_that_is_not_there() -> None:
    shelf = Shelf()
    with pytest.raises(NoSuchSkuToWatch):
        await told(shelf.watching.watch("pot", ""))
    assert shelf.watching.open_watches == 0


async def test_a_watch_outlasts_a_store_that_is_away_and_a_new_one_is_told() -> None:
    shelf = Shelf()
    watch = shelf.watching.watch("tea", "")
    assert await told(watch) == 1
    async with looking(shelf):
        await shelf._looked.acquire()
        shelf.away = True
        await shelf.look()
        with pytest.raises(StoreUnreachable):
            await told(shelf.watching.watch("cup", ""))
        assert await told(shelf.watching.watch("tea", "")) == 1
        shelf.away, shelf.sold["tea"] = False, 2
        await shelf.look()
        assert await told(watch) == 2


async def test_a_gateway_that_stops_ends_its_watches() -> None:
    shelf = Shelf()
    watch = shelf.watching.watch("tea", "")
    await told(watch)
    waiting = asyncio.create_task(told(watch))
    await asyncio.sleep(0)
    shelf.watching.stop()
    with pytest.raises(Stopping):
        await waiting
    with pytest.raises(Stopping):
        await told(shelf.watching.watch("tea", ""))


async def test_an_answer_that_comes_late_takes_nothing_back() -> None:
    shelf = Shelf()
    watch = shelf.watching.watch("tea", "")
    shelf.moment = 10
    assert await told(watch) == 1
    async with looking(shelf):
        await shelf._looked.acquire()
        shelf.moment, shelf.sold["tea"] = 4, 0  # what was read before
        await shelf.look()
        shelf.moment, shelf.sold["tea"] = 20, 3
        await shelf.look()
        assert await told(watch) == 3
