"""The control of a projection is replaced only by who has seen how it stands, so of two who want to, one does."""

import asyncio
from uuid import uuid4

from sluice.seams.stock_projection import Control, StockProjection


async def test_what_was_put_there_stands(projection: StockProjection) -> None:
    before = await projection.control()
    after = Control(before.version + 1, uuid4(), uuid4(), handing_over=True)
    assert await projection.replace_control(before, after)
    assert await projection.control() == after
    calm = after._replace(version=after.version + 1, rebuilding=None, handing_over=False)
    assert await projection.replace_control(after, calm)
    assert await projection.control() == calm


async def test_who_has_seen_an_older_one_does_not_replace_it(projection: StockProjection) -> None:
    before = await projection.control()
    after = before._replace(version=before.version + 1, rebuilding=uuid4())
    assert await projection.replace_control(before, after)
    assert not await projection.replace_control(before, before._replace(version=before.version + 1, live=uuid4()))
    assert await projection.control() == after


async def test_of_many_at_once_one_replaces_it(projection: StockProjection) -> None:
    before = await projection.control()
    wanted = [before._replace(version=before.version + 1, rebuilding=uuid4()) for _ in range(5)]
    done = await asyncio.gather(*(projection.replace_control(before, each) for each in wanted))
    assert sum(done) == 1
    assert await projection.control() == wanted[done.index(True)]
