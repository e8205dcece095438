"""The seam to the slot maps: where each topic's slots are placed, and the one way in which that changes.

A map is in force from an outbox number on. Whoever moves slots pauses the numbering, waits until everything that has a
number is done with, and puts the next map into force if still nothing was numbered: so every row is placed by one map,
whichever relay publishes it and how often.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from sluice.slot_map import Seats, SlotMap


class AnotherMoveUnderWay(Exception):
    """Slots of the topic are to move somewhere else: that move must end, or be aborted, first."""

    def __init__(self, topic: str, seats: Seats) -> None:
        super().__init__(f"another move of {topic} is under way")
        self.topic = topic
        self.seats = seats


class SlotMaps(Protocol):
    """Every method raises JournalUnreachable. They may all be repeated after an unknown outcome."""

    async def begin(self, partitions: Mapping[str, int]) -> None:
        """Gives topics that have no map their first one, over so many partitions."""
        ...

    async def in_force(self) -> Mapping[str, SlotMap]:
        """The last map of each topic that has one."""
        ...

    async def history(self, topic: str) -> Sequence[SlotMap]:
        """All maps of a topic, by epoch."""
        ...

    async def plan(self, topic: str, seats: Seats) -> None:
        """Notes a move, which changes nothing yet. Raises AnotherMoveUnderWay unless it is the same."""
        ...

    async def planned(self) -> Mapping[str, Seats]:
        """The moves that are noted and have not happened, by topic."""
        ...

    async def abort(self, topic: str) -> bool:
        """Forgets a move; returns whether there was one. A pause is ended."""
        ...

    async def pause_numbering(self, limit_s: float) -> int:
        """For at most `limit_s` seconds no outbox row gets a number. Returns the last number given."""
        ...

    async def resume_numbering(self) -> None: ...

    async def newest_row(self) -> int:
        """Which outbox row is the newest, whether it has its number or not."""
        ...

    async def unfinished_rows(self, newest: int) -> int:
        """Outbox rows up to that one that are not acknowledged by the log yet."""
        ...

    async def unfinished(self, last_number: int) -> int:
        """Outbox rows with a number up to `last_number` that are not acknowledged by the log yet."""
        ...

    async def switch(self, topic: str, last_number: int, left_at: Mapping[int, int]) -> bool:
        """Puts the planned seats into force for all rows above `last_number` and ends the pause. Does nothing and
        returns False if a row above it has its number already, one up to it is unfinished, or the move is gone.
        """
        ...
