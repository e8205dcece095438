"""What an incarnation may hold is read page by page: all of it at once took longer than one request may take."""

from typing import Any
from uuid import UUID

import pytest

from stockd.stores.cassandra import NOTED_PER_PAGE, CassandraStore, _Statements
from stockd.stores.cassandra_session import Answer


class Statement:
    def bind(self, values: Any) -> Any:
        return values


class Session:
    def __init__(self, noted: int) -> None:
        self.skus = [f"sku-{number:06}" for number in range(noted)]
        self.requests = 0

    def watch_nodes(self, ask: Any) -> None:
        pass

    async def read(self, statement: Any, consistency: int) -> Answer:
        _, after, limit = statement
        self.requests += 1
        return Answer((), [(sku,) for sku in self.skus if sku > after][:limit])


@pytest.mark.parametrize("noted", [0, 1, NOTED_PER_PAGE - 1, NOTED_PER_PAGE, NOTED_PER_PAGE + 1, 3 * NOTED_PER_PAGE])
async def test_every_sku_is_read_once_in_bounded_pages(noted: int) -> None:
    session = Session(noted)
    store = CassandraStore(session, _Statements(*[Statement()] * len(_Statements._fields)))  # type: ignore[arg-type]
    assert await store.skus_noted(UUID(int=1)) == session.skus
    assert session.requests == noted // NOTED_PER_PAGE + 1
