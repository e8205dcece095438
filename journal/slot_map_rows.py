"""What the tables of slot maps have in common in both databases."""

import json
from collections.abc import Iterable
from typing import Any

from sluice.slot_map import SlotMap, unpack

COLUMNS = "topic, epoch, first_number, seats, left_at"

IN_FORCE = f"""
SELECT {COLUMNS} FROM slot_maps AS m WHERE epoch = (SELECT max(epoch) FROM slot_maps WHERE topic = m.topic)
"""  # noqa: S608 - a constant
"""The last map of each topic."""

EVER = f"SELECT {COLUMNS} FROM slot_maps ORDER BY topic, epoch"  # noqa: S608 - a constant

VERSION = "SELECT count(*) FROM slot_maps"
"""Maps are only ever added: another count says that there are others in force."""


def read_slot_map(row: Iterable[Any]) -> SlotMap:
    """Of the columns COLUMNS."""
    topic, epoch, first_number, seats, left_at = row
    ends = {int(partition): end for partition, end in json.loads(left_at).items()}
    return SlotMap(topic, epoch, first_number, unpack(seats), ends)
