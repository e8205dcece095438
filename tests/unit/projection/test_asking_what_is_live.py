"""Calls of several lanes ask together which generation is live, and none is told what was so before it began: its
events may have come after a rebuild had looked for the end of the log.
"""

import asyncio
from uuid import uuid4

import pytest

from consumers.projection import Projection
from sluice.errors import StoreUnreachable
from sluice.seams.stock_projection import FIRST_GENERATION, Control
from tests.unit.projection.parts import JOURNAL, Memory, logged


class Counting(Memory):
    def __init__(self) -> None:
        super().__init__()
        self.reads = 0

    async def control(self) -> Control:
        self.reads += 1
        seen = self.standing
        await self._turn()
        return seen


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def handling(projection: Projection, number: int) -> "asyncio.Task[None]":
    return asyncio.create_task(projection.handle([logged(number, f"sku-{number}", -1, number)]))


def started() -> tuple[Counting, Projection]:
    memory = Counting()
    memory.gated = True
    return memory, Projection(memory, monotonic=lambda: 0.0)


async def test_who_asks_while_a_read_is_on_its_way_gets_a_later_one() -> None:
    memory, projection = started()
    first = handling(projection, 1)
    await settle()
    later = [handling(projection, number) for number in (2, 3, 4)]
    await settle()
    moved = uuid4()
    memory.standing = Control(2, moved, None, handing_over=False)
    assert memory.reads == 1
    memory.gated = False
    memory.waiting.pop().set_result(None)
    await asyncio.gather(first, *later)
    assert memory.reads == 2
    generations = {sku: generation for generation, sku, _ in memory.kept}
    assert generations == {"sku-1": FIRST_GENERATION, "sku-2": moved, "sku-3": moved, "sku-4": moved}


async def test_a_read_that_fails_fails_those_who_wait_for_it_and_no_later_one() -> None:
    memory, projection = started()
    calls = [handling(projection, number) for number in (1, 2)]
    await settle()
    memory.waiting.pop().set_exception(StoreUnreachable("away"))
    for call in calls:
        with pytest.raises(StoreUnreachable):
            await call
    memory.gated = False
    await handling(projection, 3)
    assert set(memory.kept) == {(FIRST_GENERATION, "sku-3", JOURNAL)}


async def test_a_call_that_is_cancelled_takes_the_read_from_nobody() -> None:
    memory, projection = started()
    given_up, other = handling(projection, 1), handling(projection, 2)
    await settle()
    given_up.cancel()
    await settle()
    memory.gated = False
    memory.waiting.pop().set_result(None)
    await other
    assert set(memory.kept) == {(FIRST_GENERATION, "sku-2", JOURNAL)}
