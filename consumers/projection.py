"""Projection: what the log says of each SKU, kept as its current state and its recent changes.

Handling an event twice, by anyone, at any time, changes nothing: a state is written together with the position up to
which it counts, a lower position never replaces a higher one, and what is not above a state's position is left out.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

import structlog
from google.protobuf.message import DecodeError

from consumers.runtime.handling import Poison
from sluice._gen.events.v1.events_pb2 import StockChanged
from sluice.seams.event_log import LoggedEvent
from sluice.seams.stock_projection import Control, SkuChanges, SkuState, StockProjection

EVENTS_PER_CALL = 4_000
EVENTS_IN_FLIGHT = 50_000
"""What a call costs Cassandra is nearly the same whatever it brings, and the more is in flight the more a call brings.
Its events are small: 25 MB for all of them. With 60,000 a process was seen to have 199 MB, and 200 MB are its bound."""

HAND_OVER_POLL_S = 0.2

HAND_OVER_LIMIT_S = 15.0
"""A rebuild that stands still for so long in the middle of the hand-over is dead: it is called off. Well below the 60 s
that a call may take, and far above what a hand-over takes, which is the reading of some seconds' events."""

_log = structlog.get_logger(__name__)

States = Mapping[tuple[str, UUID], SkuState]


class Folded(NamedTuple):
    states: Sequence[SkuState]
    """The new state of each SKU and journal that has changed."""
    changes: Sequence[SkuChanges]
    """Those that were not counted before."""


_NOTHING = SkuState("", UUID(int=0), 0, -1, 0, 0, 0)


class _Running:
    """The state of a SKU and journal while events are added to it, and what they add."""

    __slots__ = ("before", "deltas", "number", "order_ids", "order_versions", "place", "times_ms")

    def __init__(self, before: SkuState | None) -> None:
        self.before = before or _NOTHING
        self.number, self.place = self.before.number, self.before.place
        self.deltas: list[int] = []
        self.order_ids: list[str] = []
        self.order_versions: list[int] = []
        self.times_ms: list[int] = []

    def state(self, sku: str, journal: UUID) -> SkuState:
        sold = self.before.sold - sum(self.deltas)
        changes = self.before.changes + len(self.deltas)
        return SkuState(sku, journal, self.number, self.place, sold, changes, self.times_ms[-1])

    def added(self, sku: str, journal: UUID) -> SkuChanges:
        lists = (self.deltas, self.order_ids, self.order_versions, self.times_ms)
        return SkuChanges(sku, journal, self.before.changes, *lists)


def fold(states: States, events: Iterable[LoggedEvent]) -> Folded:
    """What the events make of the states. Events of a SKU come in the order of the log. Raises Poison."""
    # By journal first, and only when it is another one than that of the event before: a UUID is hashed in Python.
    running: dict[UUID, dict[str, _Running]] = {}
    last_journal: UUID | None = None
    of_journal: dict[str, _Running] = {}
    parsed = StockChanged.FromString
    try:
        for event, _, _ in events:
            _, sku, value, _, _, time_ms, (journal, number, place), _ = event
            if journal is not last_journal:
                last_journal, of_journal = journal, running.setdefault(journal, {})
            now = of_journal.get(sku)
            if now is None:
                now = of_journal[sku] = _Running(states.get((sku, journal)))
            if number < now.number or (number == now.number and place <= now.place):
                continue
            message = parsed(value)
            now.number, now.place = number, place
            now.deltas.append(message.delta)
            now.order_ids.append(message.order_id)
            now.order_versions.append(message.order_version)
            now.times_ms.append(time_ms)
    except DecodeError as error:
        raise Poison(f"not a StockChanged: {error}") from error
    changed = [
        (sku, journal, now) for journal, of_journal in running.items() for sku, now in of_journal.items() if now.deltas
    ]
    return Folded(
        [now.state(sku, journal) for sku, journal, now in changed],
        [now.added(sku, journal) for sku, journal, now in changed],
    )


class Projection:
    """The consumer of `stock-changed`."""

    def __init__(
        self,
        store: StockProjection,
        *,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._monotonic = monotonic
        self._sleep = sleep
        self._one_read = asyncio.Lock()
        self._next_read: asyncio.Task[Control] | None = None

    async def handle(self, events: Sequence[LoggedEvent]) -> None:
        # Asked before every call: what began under one generation is written to it, and the next call asks again.
        generation = await self._live_generation()
        states = await self._store.states(generation, list({each.event.key for each in events}))
        folded = fold(states, events)
        await self._store.write(generation, folded.states, folded.changes)

    async def _live_generation(self) -> UUID:
        """Waits while a rebuild takes over: what is written to the live generation meanwhile would be lost with it."""
        seen = await self._control()
        since = self._monotonic()
        while seen.handing_over:
            if self._monotonic() - since > HAND_OVER_LIMIT_S:
                # If the rebuild lives after all, it finds that it may not take over, and tries again.
                calmed = seen._replace(version=seen.version + 1, handing_over=False)
                if await self._store.replace_control(seen, calmed):
                    _log.warning("projection_hand_over_called_off", rebuild=str(seen.rebuilding))
            await self._sleep(HAND_OVER_POLL_S)
            now = await self._control()
            if now.version != seen.version:
                seen, since = now, self._monotonic()
        return seen.live

    async def _control(self) -> Control:
        """By a read that begins after this call: what one says that began before may be from before its events were on
        the log. Calls of other lanes that ask meanwhile have it in common, because a serial read is the dearest one.
        """
        if self._next_read is None:
            self._next_read = asyncio.create_task(self._read_in_turn())
        return await asyncio.shield(self._next_read)

    async def _read_in_turn(self) -> Control:
        async with self._one_read:
            self._next_read = None
            return await self._store.control()
