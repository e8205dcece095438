"""Stock servers in the SQLite journal: which are alive, which are fenced, what came of their reservations."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from uuid import UUID

from journal.protocol import (
    RECLAIM_AGAIN_S,
    RECLAIM_FOR_S,
    IncarnationFenced,
)
from journal.sqlite_rows import CLOCK, encode_json

_FIRST_BEAT = f"INSERT OR REPLACE INTO heartbeats VALUES (?, {CLOCK})"  # noqa: S608 - a constant

BEAT = f"UPDATE heartbeats SET last_beat = {CLOCK} WHERE incarnation = ?"  # noqa: S608 - a constant

SILENT = f"""
SELECT i.name, i.incarnation, i.start_time, i.fenced
FROM heartbeats h JOIN incarnations i USING (incarnation)
WHERE NOT i.fenced AND h.last_beat < {CLOCK} - ?
ORDER BY h.last_beat
"""  # noqa: S608 - a constant

# Fenced again it is swept again from the start: somebody knows of a late write.
_DUE_NOW = f"""
INSERT OR REPLACE INTO reclaims SELECT incarnation, {CLOCK}, {CLOCK} FROM incarnations WHERE incarnation = ?
"""  # noqa: S608 - a constant

_PREDECESSORS_DUE_NOW = f"""
UPDATE reclaims SET due = {CLOCK} WHERE incarnation IN (SELECT incarnation FROM incarnations WHERE name = ?)
"""  # noqa: S608 - a constant

_CLAIM_RECLAIM = f"""
UPDATE reclaims SET due = {CLOCK} + ?
WHERE incarnation = (SELECT incarnation FROM reclaims WHERE due <= {CLOCK} ORDER BY due LIMIT 1)
RETURNING incarnation
"""  # noqa: S608 - a constant

# Due again after as long as it has been fenced: that doubles the time from sweep to sweep.
_SWEPT = f"""
UPDATE reclaims SET due = {CLOCK} + max({CLOCK} - fence_time, :again)
WHERE incarnation = :incarnation AND {CLOCK} - fence_time < :until
"""  # noqa: S608 - a constant

# The last row before the first gap.
_ROLL_UP_UNTIL = """
SELECT max(seq) FROM (
    SELECT seq, row_number() OVER (ORDER BY seq) AS place FROM spends WHERE incarnation = :incarnation AND seq > :before
) WHERE seq = :before + place
"""

_ADD_TO_TOTALS = """
INSERT INTO spend_totals (incarnation, sku, units)
SELECT :incarnation, u.key, sum(u.value) FROM spends s, json_each(s.units) u
WHERE s.incarnation = :incarnation AND s.seq > :before AND s.seq <= :until
GROUP BY u.key
ON CONFLICT (incarnation, sku) DO UPDATE SET units = units + excluded.units
"""


def register(name: str, incarnation: UUID, start_time: int, connection: sqlite3.Connection) -> Sequence[UUID]:
    row = connection.execute("SELECT fenced FROM incarnations WHERE incarnation = ?", (str(incarnation),)).fetchone()
    if row and row[0]:
        raise IncarnationFenced(incarnation)
    living = "SELECT incarnation FROM incarnations WHERE name = ? AND incarnation <> ? AND NOT fenced"
    for (predecessor,) in connection.execute(living, (name, str(incarnation))).fetchall():
        fence(predecessor, connection)
    # Those that are still being swept are looked at now: one of them may have written until a moment ago.
    connection.execute(_PREDECESSORS_DUE_NOW, (name,))
    # The first beat, so that who dies at once is silent too.
    connection.execute(_FIRST_BEAT, (str(incarnation),))
    connection.execute(
        "INSERT INTO incarnations (incarnation, name, start_time) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (str(incarnation), name, start_time),
    )
    connection.execute("INSERT INTO spend_roll_ups VALUES (?, 0) ON CONFLICT DO NOTHING", (str(incarnation),))
    rows = connection.execute(
        "SELECT incarnation FROM incarnations WHERE name = ? AND fenced ORDER BY start_time", (name,)
    )
    return [UUID(row[0]) for row in rows]


def fence(incarnation: str, connection: sqlite3.Connection) -> bool:
    newly = connection.execute(
        "UPDATE incarnations SET fenced = 1 WHERE incarnation = ? AND NOT fenced", (incarnation,)
    ).rowcount
    connection.execute("DELETE FROM heartbeats WHERE incarnation = ?", (incarnation,))
    connection.execute(_DUE_NOW, (incarnation,))
    return newly > 0


def claim_reclaim(claim: int, connection: sqlite3.Connection) -> UUID | None:
    row = connection.execute(_CLAIM_RECLAIM, (claim,)).fetchone()
    return UUID(row[0]) if row else None


def mark_reclaimed(incarnation: str, connection: sqlite3.Connection) -> None:
    times = {"again": round(RECLAIM_AGAIN_S * 1e6), "until": round(RECLAIM_FOR_S * 1e6)}
    if not connection.execute(_SWEPT, {"incarnation": incarnation} | times).rowcount:
        connection.execute("DELETE FROM reclaims WHERE incarnation = ?", (incarnation,))


def close_reservations(
    incarnation: UUID, seqs: Sequence[int], time: int, connection: sqlite3.Connection
) -> Mapping[int, Mapping[str, int]]:
    arguments = {"incarnation": str(incarnation), "seqs": encode_json(list(seqs)), "time": time}
    connection.execute(
        "INSERT INTO spends SELECT :incarnation, value, '{}', :time FROM json_each(:seqs) WHERE true"
        " ON CONFLICT DO NOTHING",
        arguments,
    )
    rows = connection.execute(
        "SELECT seq, units FROM spends"
        " WHERE incarnation = :incarnation AND seq IN (SELECT value FROM json_each(:seqs))",
        arguments,
    )
    return {seq: json.loads(units) for seq, units in rows}


def roll_up(incarnation: str, connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT through FROM spend_roll_ups WHERE incarnation = ?", (incarnation,)).fetchone()
    if row is None:
        return 0
    before: int = row[0]
    until = connection.execute(_ROLL_UP_UNTIL, {"incarnation": incarnation, "before": before}).fetchone()[0]
    if until is None:
        return 0
    connection.execute(_ADD_TO_TOTALS, {"incarnation": incarnation, "before": before, "until": until})
    connection.execute("UPDATE spend_roll_ups SET through = ? WHERE incarnation = ?", (until, incarnation))
    return int(until) - before
