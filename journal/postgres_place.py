"""Each database knows which of its cluster's journals it is.

An order is looked for in the journal that its id picks among so many. With another number of them, or in another order,
every process would look in the wrong place and take what it does not find for new. So that is written down once.
"""

from typing import NamedTuple
from uuid import UUID

from journal.connections import Connection


class ShardPlace(NamedTuple):
    """Number `number` of `shards` journals. `first_journal`: the identity of number 0; None where this is it."""

    number: int
    shards: int
    first_journal: UUID | None


ONLY_ONE = ShardPlace(0, 1, None)


class WrongPlace(Exception):
    """The database has another place than the setting gives it; the text says which."""

    def __init__(self, database: str, place: ShardPlace, known: ShardPlace) -> None:
        if known[:2] != place[:2]:
            is_not = f"is number {known.number} of {known.shards} journals, not number {place.number} of {place.shards}"
        else:
            is_not = "belongs to another cluster than the first one"
        super().__init__(
            f"the journal database {database!r} {is_not}: journal_url must name the same databases in the same order"
            " for every process, always"
        )


async def check_place(place: ShardPlace, connection: Connection) -> None:
    """Takes the place if the database has none yet. Raises WrongPlace if it has another one."""
    query = "SELECT number, count, first_journal FROM journal_shard"
    known = await connection.fetchrow(query)
    if known is None:
        await connection.execute(
            "INSERT INTO journal_shard (number, count, first_journal)"
            " SELECT $1, $2, coalesce($3, journal_id) FROM journal_identity ON CONFLICT DO NOTHING",
            place.number,
            place.shards,
            place.first_journal,
        )
        known = await connection.fetchrow(query)
    assert known is not None
    wanted = place._replace(
        first_journal=place.first_journal or await connection.fetchval("SELECT journal_id FROM journal_identity")
    )
    if tuple(known) != wanted:
        raise WrongPlace(await connection.fetchval("SELECT current_database()"), wanted, ShardPlace(*known))
