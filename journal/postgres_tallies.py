"""The tallies in PostgreSQL, in the journal's database."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from operator import methodcaller
from uuid import UUID

from journal.connections import Connections, close, connect, run_on
from journal.postgres_rows import ORDER_COLUMNS, read_order, read_sums
from journal.tallies import LiveTally, StockEvent, TalliedOrder, Victims
from sluice.model import HOLDS_UNITS

CONNECTIONS = 2
"""One lane adds while another decides."""

LIVE_TIMEOUT_S = 60.0
"""Adding up a SKU of a million orders takes a second or two on a machine that does nothing else."""

_ADD = "SELECT * FROM tally_events($1, $2, $3, $4, $5, $6)"

_LIVE_UNITS = """
SELECT coalesce(sum(t.units), 0)::bigint FROM tallied_orders t JOIN orders o USING (order_id)
WHERE t.sku = $1 AND o.state = ANY ($2)
"""

_ORDER_BY = {
    Victims.NEWEST_FIRST: "t.number DESC, t.place DESC",
    Victims.SMALLEST_FIRST: "t.units, t.number DESC, t.place DESC",
    Victims.LOWEST_PRIORITY_FIRST: "priority, t.number DESC, t.place DESC",
}


class PostgresTallies:
    """See `journal.tallies.Tallies`. The journal must have been opened once, which makes the tables."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._connections = Connections(url, CONNECTIONS, timeout_s)

    async def add(self, events: Sequence[StockEvent]) -> Mapping[str, int]:
        by_journal: dict[UUID, list[StockEvent]] = {}
        for event in events:
            by_journal.setdefault(event.position.journal, []).append(event)
        tallies: dict[str, int] = {}
        for journal, of_journal in by_journal.items():
            skus, orders, units, positions = zip(*of_journal, strict=True)
            _, numbers, places = zip(*positions, strict=True)
            fetch = methodcaller("fetch", _ADD, journal, skus, orders, units, numbers, places)
            rows = await self._connections.run(fetch)
            tallies |= dict(rows)
        return tallies

    async def tallied(self, skus: Sequence[str]) -> Mapping[str, int]:
        """See `journal.all_tallies.ShardTallies`."""
        query = "SELECT sku, sum(units)::bigint FROM tallies WHERE sku = ANY ($1) GROUP BY sku"
        return read_sums(await self._connections.run(lambda c: c.fetch(query, list(skus))))

    async def live(self, sku: str, victims: Victims, limit: int) -> LiveTally:
        states = [state.value for state in HOLDS_UNITS]
        query = (
            f"SELECT t.units, {ORDER_COLUMNS} FROM tallied_orders t JOIN orders USING (order_id)"  # noqa: S608 - constants
            f" WHERE t.sku = $1 AND state = ANY ($2) ORDER BY {_ORDER_BY[victims]} LIMIT $3"
        )
        connection = await connect(self._url, self._timeout_s, 0)
        try:
            transaction = connection.transaction(isolation="repeatable_read", readonly=True)
            await run_on(connection, lambda _: transaction.start(), self._timeout_s)
            sum_of_units = await run_on(connection, lambda c: c.fetchval(_LIVE_UNITS, sku, states), LIVE_TIMEOUT_S)
            rows = await run_on(connection, lambda c: c.fetch(query, sku, states, limit), LIVE_TIMEOUT_S)
        finally:
            await close(connection, self._timeout_s)
        return LiveTally(sum_of_units, [TalliedOrder(read_order(order), units) for units, *order in rows])

    async def skus(self) -> Sequence[str]:
        rows = await self._connections.run(lambda c: c.fetch("SELECT DISTINCT sku FROM tallies ORDER BY sku"))
        return [row[0] for row in rows]

    @asynccontextmanager
    async def lease(self, sku: str) -> AsyncIterator[bool]:
        """The lock ends with its session, however that ends."""
        connection = await connect(self._url, self._timeout_s, self._timeout_s)
        query = "SELECT pg_try_advisory_lock(hashtextextended('sluice tally of ' || $1, 0))"
        try:
            yield await run_on(connection, lambda c: c.fetchval(query, sku), self._timeout_s)
        finally:
            await close(connection, self._timeout_s)

    async def close(self) -> None:
        await self._connections.close()
