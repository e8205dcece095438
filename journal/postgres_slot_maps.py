"""The slot maps in PostgreSQL, in the journal's database."""

import json
from collections.abc import Mapping, Sequence

from journal.connections import Connections
from journal.slot_map_rows import COLUMNS, IN_FORCE, read_slot_map
from journal.slot_maps import AnotherMoveUnderWay
from sluice.slot_map import Seats, SlotMap, first_seats, pack, unpack

CONNECTIONS = 1
"""One mover does one thing at a time."""

_BEGIN = """
INSERT INTO slot_maps (topic, epoch, first_number, seats, left_at)
SELECT topic, 0, 0, seats, '{}' FROM unnest($1::text[], $2::bytea[]) AS t (topic, seats) ON CONFLICT DO NOTHING
"""
_HISTORY = f"SELECT {COLUMNS} FROM slot_maps WHERE topic = $1 ORDER BY epoch"  # noqa: S608 - a constant
_PLAN = """
INSERT INTO slot_moves AS m (topic, seats) VALUES ($1, $2)
ON CONFLICT (topic) DO UPDATE SET seats = m.seats RETURNING m.seats
"""
_RESUME = "UPDATE outbox_numbers SET paused_until = NULL"
_ABORT = f"""
WITH resumed AS ({_RESUME}) DELETE FROM slot_moves WHERE topic = $1 RETURNING 1
"""  # noqa: S608 - a constant


class PostgresSlotMaps:
    """See `journal.slot_maps.SlotMaps`. The journal must have been opened once, which makes the tables."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._connections = Connections(url, CONNECTIONS, timeout_s)

    async def begin(self, partitions: Mapping[str, int]) -> None:
        seats = [pack(first_seats(count)) for count in partitions.values()]
        await self._connections.run(lambda c: c.execute(_BEGIN, list(partitions), seats))

    async def in_force(self) -> Mapping[str, SlotMap]:
        rows = await self._connections.run(lambda c: c.fetch(IN_FORCE))
        return {slot_map.topic: slot_map for slot_map in map(read_slot_map, rows)}

    async def history(self, topic: str) -> Sequence[SlotMap]:
        rows = await self._connections.run(lambda c: c.fetch(_HISTORY, topic))
        return [read_slot_map(row) for row in rows]

    async def plan(self, topic: str, seats: Seats) -> None:
        planned = unpack(await self._connections.run(lambda c: c.fetchval(_PLAN, topic, pack(seats))))
        if planned != seats:
            raise AnotherMoveUnderWay(topic, planned)

    async def planned(self) -> Mapping[str, Seats]:
        rows = await self._connections.run(lambda c: c.fetch("SELECT topic, seats FROM slot_moves ORDER BY topic"))
        return {topic: unpack(seats) for topic, seats in rows}

    async def abort(self, topic: str) -> bool:
        return await self._connections.run(lambda c: c.fetchval(_ABORT, topic)) is not None

    async def pause_numbering(self, limit_s: float) -> int:
        last: int = await self._connections.run(lambda c: c.fetchval("SELECT pause_numbering($1)", limit_s))
        return last

    async def resume_numbering(self) -> None:
        await self._connections.run(lambda c: c.execute(_RESUME))

    async def newest_row(self) -> int:
        newest: int = await self._connections.run(lambda c: c.fetchval("SELECT coalesce(max(id), 0) FROM outbox"))
        return newest

    async def unfinished_rows(self, newest: int) -> int:
        query = "SELECT count(*) FROM outbox WHERE id <= $1"
        rows: int = await self._connections.run(lambda c: c.fetchval(query, newest))
        return rows

    async def unfinished(self, last_number: int) -> int:
        query = "SELECT count(*) FROM outbox WHERE number <= $1"
        rows: int = await self._connections.run(lambda c: c.fetchval(query, last_number))
        return rows

    async def switch(self, topic: str, last_number: int, left_at: Mapping[int, int]) -> bool:
        query = "SELECT switch_slot_map($1, $2, $3)"
        ends = json.dumps(left_at)
        switched: bool = await self._connections.run(lambda c: c.fetchval(query, topic, last_number, ends))
        return switched

    async def close(self) -> None:
        await self._connections.close()
