"""The ledger in Redis: one hash per SKU, changed by one Lua script per operation, which nothing can come between. What
is counted of a SKU is another hash; its writes need no script.

A SKU is one key, so a script touches one slot of a Redis Cluster. No count ever becomes a number of Lua's, which are
doubles and exact only up to 2^53: rows are compared as texts, and Redis itself adds, as signed 64-bit integers.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Self
from uuid import UUID

from redis.exceptions import ResponseError

from sluice.model import StockPolicy
from sluice.seams.stock_store import (
    Applied,
    Cell,
    Consistency,
    Counts,
    Head,
    Ledger,
    NoSuchSku,
    Refused,
    Row,
    SkuPage,
    SkuSummary,
    WriteOutcome,
)
from stockd.stores.opening import retry_until
from stockd.stores.redis_session import MAX_IN_FLIGHT, RedisSession, Script

REQUEST_TIMEOUT_S = 1.2
"""One request with its connection. Scripts take microseconds; what takes longer is an fsync on a busy disk."""

OPEN_LIMIT_S = 60.0
"""A server started together with this process answers when it has read its log: about a second for 100 MB."""

_RESTOCK = "restock:"
_TAKEN = "taken:"
_ADDED = "added:"
_CLOSED = "closed:"

_DURABLE = {"appendonly": "yes", "appendfsync": "always"}

_CREATE = Script("""
local policy = redis.call('HGET', KEYS[1], 'policy')
if policy then
    return policy
end
redis.call('HSET', KEYS[1], 'policy', ARGV[1], 'available', '0')
return nil
""")

_SPREAD = Script("""
if redis.call('HEXISTS', KEYS[1], 'policy') == 0 then
    return 0
end
redis.call('HSET', KEYS[1], 'owners', ARGV[1])
return 1
""")

# What can be refused is refused before the first write. Two numbers without sign are compared as texts: the longer is
# the greater, and of the same length the one that sorts later.
_MOVE = Script("""
local id, added, floor, before, after = unpack(ARGV)
local available, row = unpack(redis.call('HMGET', KEYS[1], 'available', id))
if not available then
    return nil
end
local enough = #available > #floor or (#available == #floor and available >= floor)
if not enough or (row or '') ~= before then
    return {available, row}
end
redis.call('HINCRBY', KEYS[1], 'available', added)
redis.call('HSET', KEYS[1], id, after)
return 'applied'
""")


SKUS_AT_ONCE = MAX_IN_FLIGHT * 3 // 4
"""Each is a request of its own here. What else is asked for meanwhile has the other places: with none free, a take
would be given up before it is sent."""


class RedisStore:
    """See `sluice.seams.stock_store.StockStore`. Pages are in the order of the SKUs' bytes."""

    skus_at_once = SKUS_AT_ONCE

    def __init__(self, session: RedisSession, prefix: str) -> None:
        self._session = session
        self._index = f"{prefix}:skus"
        self._stock = f"{prefix}:stock:"
        self._holder = f"{prefix}:holder:"
        self._counted = f"{prefix}:counted:"

    @classmethod
    async def open(
        cls,
        url: str,
        prefix: str,
        *,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
        open_limit_s: float = OPEN_LIMIT_S,
    ) -> Self:
        """Waits until the server at `url` (`redis://[user:password@]host:port[/database]`) takes writes, at most
        `open_limit_s` seconds. Keys begin with `prefix`. Raises StoreUnreachable, and ValueError for a wrong URL.
        """
        store = cls(RedisSession(url, request_timeout_s), prefix)
        try:
            await retry_until(asyncio.get_running_loop().time() + open_limit_s, store.ping)
        except BaseException:
            await store.close()
            raise
        return store

    async def create_sku(self, sku: str, policy: StockPolicy) -> StockPolicy | None:
        # The index is in another slot, so this is a write of its own, and the first: if the second fails, a name
        # without a SKU is left, which lists leave out. The other way round a SKU could be missing from every list.
        await self._session.write("ZADD", self._index, 0, sku)
        existing = await self._session.run(_CREATE, self._stock + sku, _policy_text(policy))
        return None if existing is None else _policy(existing)

    async def spread(self, sku: str, owners: int) -> bool:
        return bool(await self._session.run(_SPREAD, self._stock + sku, owners))

    async def restock(self, sku: str, restock_id: UUID, units: int) -> WriteOutcome:
        return await self._move(sku, f"{_RESTOCK}{restock_id}", added=units, before=None, units=units)

    async def withdraw(self, sku: str, withdrawal_id: UUID, units: int) -> WriteOutcome:
        return await self._move(sku, f"{_RESTOCK}{withdrawal_id}", added=-units, before=None, units=-units)

    async def take(self, sku: str, incarnation: UUID, before: Row | None, count: int) -> WriteOutcome:
        units = (before.units if before else 0) + count
        return await self._move(sku, f"{_TAKEN}{incarnation}", added=-count, before=before, units=units)

    async def fold(self, sku: str, incarnation: UUID, before: Row | None, sold: int) -> WriteOutcome:
        added = (before.units if before else 0) - sold
        return await self._move(sku, f"{_TAKEN}{incarnation}", added=added, before=before, units=sold)

    async def note_held(self, incarnation: UUID, skus: Sequence[str]) -> None:
        await self._session.write("SADD", f"{self._holder}{incarnation}", *skus)

    async def skus_noted(self, incarnation: UUID) -> Sequence[str]:
        found: list[str] = await self._session.read("SMEMBERS", f"{self._holder}{incarnation}")
        return found

    async def rows(self, incarnation: UUID, skus: Sequence[str]) -> Mapping[str, Row]:
        found = await self._session.read_all([("HGET", self._stock + sku, f"{_TAKEN}{incarnation}") for sku in skus])
        return {sku: _row(text) for sku, text in zip(skus, found, strict=True) if text is not None}

    async def read(self, sku: str, consistency: Consistency) -> Ledger | None:
        del consistency  # one server answers, the one that writes
        found = await self._session.read("HGETALL", self._stock + sku)
        if not found:
            return None
        fields: dict[str, str] = dict(zip(found[::2], found[1::2], strict=True))
        policy, available = _policy(fields.pop("policy")), int(fields.pop("available"))
        owners = int(fields.pop("owners", "1"))
        restocks: dict[UUID, int] = {}
        held: dict[UUID, Row] = {}
        for field, text in fields.items():
            if field.startswith(_RESTOCK):
                restocks[UUID(field.removeprefix(_RESTOCK))] = _row(text).units
            else:
                held[UUID(field.removeprefix(_TAKEN))] = _row(text)
        return Ledger(sku, policy, available, restocks, held, owners)

    async def head(self, sku: str) -> Head | None:
        found = await self._session.read("HMGET", self._stock + sku, "policy", "available", "owners")
        policy, available, owners = found
        return None if policy is None else Head(_policy(policy), int(available), int(owners or "1"))

    async def add_sold(self, sku: str, cell: Cell, units: int) -> None:
        await self._session.write("HINCRBY", self._counted + sku, _ADDED + _cell_text(cell), units)

    async def close_cell(self, sku: str, cell: Cell, units: int) -> None:
        await self._session.write("HSET", self._counted + sku, _CLOSED + _cell_text(cell), units)

    async def counts(self, sku: str, consistency: Consistency) -> Counts:
        del consistency
        found = await self._session.read("HGETALL", self._counted + sku)
        added: dict[Cell, int] = {}
        closed: dict[Cell, int] = {}
        for field, units in zip(found[::2], found[1::2], strict=True):
            if field.startswith(_ADDED):
                added[_cell(field.removeprefix(_ADDED))] = int(units)
            else:
                closed[_cell(field.removeprefix(_CLOSED))] = int(units)
        return Counts(added, closed)

    async def list_skus(self, after: str | None, limit: int) -> SkuPage:
        skus: list[SkuSummary] = []
        one_more = limit + 1  # tells whether a page follows
        # A second round only if names were found that are no SKUs (yet).
        while len(skus) < one_more:
            start = "-" if after is None else f"({after}"
            wanted = one_more - len(skus)
            names = await self._session.read("ZRANGEBYLEX", self._index, start, "+", "LIMIT", 0, wanted)
            skus.extend(await self._summaries(names))
            if len(names) < wanted:
                break
            after = names[-1]
        return SkuPage(skus[:limit], skus[limit - 1].sku if len(skus) > limit else None)

    async def careless_settings(self) -> Sequence[str]:
        found = []
        for name, wanted in _DURABLE.items():
            try:
                (*_, value) = await self._session.read("CONFIG", "GET", name) or [wanted]
            except ResponseError:  # managed servers do not let everybody see it
                continue
            if value != wanted:
                found.append(f"Redis: {name} is {value}")
        return found

    async def ping(self) -> None:
        # A write that changes nothing, as no SKU is empty: a replica answers PING and takes no write.
        await self._session.write("ZREM", self._index, "")

    async def close(self) -> None:
        await self._session.close()

    async def _move(self, sku: str, field: str, *, added: int, before: Row | None, units: int) -> WriteOutcome:
        after = Row(units, (before.version if before else 0) + 1)
        floor = max(-added, 0)
        reply: Any = await self._session.run(
            _MOVE, self._stock + sku, field, added, floor, _row_text(before), _row_text(after)
        )
        match reply:
            case None:
                return NoSuchSku()
            case [available, row]:
                return Refused(int(available), None if row is None else _row(row))
            case _:
                return Applied()

    async def _summaries(self, names: Sequence[str]) -> list[SkuSummary]:
        if not names:
            return []
        heads = await self._session.read_all([("HMGET", self._stock + sku, "policy", "available") for sku in names])
        return [
            SkuSummary(sku, _policy(policy), int(available))
            for sku, (policy, available) in zip(names, heads, strict=True)
            if policy is not None
        ]


def _row_text(row: Row | None) -> str:
    """One text for one row, so that equal texts are equal rows. Empty: no row."""
    return "" if row is None else f"{row.units} {row.version}"


def _cell_text(cell: Cell) -> str:
    return f"{cell.incarnation} {cell.number}"


def _cell(text: str) -> Cell:
    incarnation, number = text.split()
    return Cell(UUID(incarnation), int(number))


def _row(text: str) -> Row:
    units, version = text.split()
    return Row(int(units), int(version))


def _policy_text(policy: StockPolicy) -> str:
    return policy.name.lower()


def _policy(text: str) -> StockPolicy:
    return StockPolicy[text.upper()]
