"""Rebuilds the projection from the log: fills a generation that nobody reads, then puts it in place of the live one.

Consumers go on meanwhile. Only while the last of the log is read they wait: what they wrote to the live generation then
would be lost with it. Whatever dies leaves the live generation as it was; whoever begins again begins from nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import NamedTuple, Protocol, TypeVar
from uuid import UUID

from consumers.projection import fold
from sluice.errors import StoreUnreachable
from sluice.seams.event_log import LoggedEvent
from sluice.seams.stock_projection import Control, SkuState, StockProjection

T = TypeVar("T")

STATES_PER_WRITE = 500

CAUGHT_UP_EVENTS = 5_000
"""So few events are left: consumers wait for some tenths of a second while they are read. They give up after 15 s."""

CATCH_UP_ROUNDS = 20
"""If so many leave more each time, the log grows faster than it can be read; then consumers wait longer."""

HAND_OVER_ATTEMPTS = 5
"""A consumer calls a hand-over off that stands still too long, such as on a machine that was stopped."""

PATIENCE_S = 60.0
RETRY_PAUSE_S = 0.5
"""A store that is away for a minute does not cost the work of an hour."""

NAMED_DIFFERENCES = 100


class LogReading(Protocol):
    """A topic from its beginning, in stretches. Raises LogUnreachable."""

    @property
    def total(self) -> int | None:
        """Events up to the end as last looked for; None if that is not known."""
        ...

    def to_end(self) -> AsyncIterator[Sequence[LoggedEvent]]:
        """What follows the stretch before, up to what is the end when it begins. A key's events come in order."""
        ...


class Overtaken(Exception):
    """Somebody else has begun to rebuild since."""


class HandOverFailed(Exception):
    """Consumers called it off every time."""


class Differing(NamedTuple):
    """At the same position the two said different things. `live` was wrong."""

    live: SkuState
    rebuilt: SkuState | None


class Rebuilt(NamedTuple):
    """What was read, and how the generation before compares, of states by SKU and journal. `behind`: its consumers had
    not come so far, so the two cannot be compared.
    """

    events: int
    states: int
    same: int
    behind: int
    differing_count: int
    differing: Sequence[Differing]


async def rebuild(store: StockProjection, log: LogReading, generation: UUID, tell: Callable[[int], None]) -> Rebuilt:
    """`generation` must be new. Tells how many events were read, now and then.

    Raises StoreUnreachable, LogUnreachable, Overtaken, HandOverFailed, and Poison for an event that cannot be read.
    """
    before = await _begin(store, generation)
    shadow = _Shadow(store, log, generation, tell)
    try:
        # What died on the way left them. Nobody reads them, and nobody will.
        for old in await insist(store.generations) - {before.live, generation}:
            await insist(lambda old=old: store.drop(old))  # type: ignore[misc]  # mypy cannot infer a lambda's default
        for _ in range(CATCH_UP_ROUNDS):
            if await shadow.read_on() <= CAUGHT_UP_EVENTS:
                break
        live = await _hand_over(store, shadow)
    except BaseException:
        await _withdraw(store, generation)
        raise
    rebuilt = await insist(lambda: _compare(store, live, shadow))
    await insist(lambda: store.drop(live))
    return rebuilt


async def insist(call: Callable[[], Awaitable[T]]) -> T:
    """Calls again while the store is away, for a minute. Raises StoreUnreachable after that."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_S
    while True:
        try:
            return await call()
        except StoreUnreachable:
            if loop.time() > deadline:
                raise
        await asyncio.sleep(RETRY_PAUSE_S)


class _Shadow:
    """The generation that is being filled, and all of its states in memory: about 300 bytes each."""

    def __init__(self, store: StockProjection, log: LogReading, generation: UUID, tell: Callable[[int], None]) -> None:
        self.generation = generation
        self.states: dict[tuple[str, UUID], SkuState] = {}
        self.events = 0
        self._store = store
        self._log = log
        self._tell = tell

    async def read_on(self) -> int:
        """Reads up to the end, and writes what that makes. Returns how many events there were."""
        unwritten: dict[tuple[str, UUID], SkuState] = {}
        before = self.events
        async for events in self._log.to_end():
            folded = fold(self.states, events)
            changed = {(state.sku, state.journal): state for state in folded.states}
            self.states |= changed
            unwritten |= changed
            changes = folded.changes
            await insist(lambda changes=changes: self._store.write(self.generation, [], changes))  # type: ignore[misc]
            self.events += len(events)
            self._tell(self.events)
        states = list(unwritten.values())
        for start in range(0, len(states), STATES_PER_WRITE):
            some = states[start : start + STATES_PER_WRITE]
            await insist(lambda some=some: self._store.write(self.generation, some, []))  # type: ignore[misc]
        return self.events - before


async def _begin(store: StockProjection, generation: UUID) -> Control:
    """From now on nobody who began before may take over."""
    while True:
        before = await insist(store.control)
        after = before._replace(version=before.version + 1, rebuilding=generation, handing_over=False)
        if await _replaced(store, before, after):
            return after


async def _hand_over(store: StockProjection, shadow: _Shadow) -> UUID:
    """Returns the generation that was live."""
    for _ in range(HAND_OVER_ATTEMPTS):
        before = await insist(store.control)
        if before.rebuilding != shadow.generation:
            raise Overtaken
        handing_over = before._replace(version=before.version + 1, handing_over=True)
        if not await _replaced(store, before, handing_over):
            continue
        # A call that still writes to the live generation asked before this moment; its events were on the log by then.
        # So they are below the end that is looked for now.
        await shadow.read_on()
        after = Control(handing_over.version + 1, shadow.generation, None, handing_over=False)
        if await _replaced(store, handing_over, after):
            return before.live
    raise HandOverFailed


async def _withdraw(store: StockProjection, generation: UUID) -> None:
    """As far as that is possible now. Consumers that wait go on at once; without it they do so by themselves."""
    try:
        before = await store.control()
        if before.rebuilding == generation:
            calm = before._replace(version=before.version + 1, rebuilding=None, handing_over=False)
            await store.replace_control(before, calm)
    except StoreUnreachable:
        return


async def _replaced(store: StockProjection, before: Control, after: Control) -> bool:
    """`after` names a generation that only we use: if it stands there, it was us, however often it was sent."""
    return await insist(lambda: store.replace_control(before, after)) or await insist(store.control) == after


async def _compare(store: StockProjection, live: UUID, shadow: _Shadow) -> Rebuilt:
    """After the hand-over, when both stand still."""
    same = behind = count = 0
    differing: list[Differing] = []
    unseen = len(shadow.states)
    async for page in store.scan(live):
        for state in page:
            rebuilt = shadow.states.get((state.sku, state.journal))
            unseen -= rebuilt is not None
            if state == rebuilt:
                same += 1
            elif rebuilt is not None and (state.number, state.place) < (rebuilt.number, rebuilt.place):
                behind += 1
            else:
                count += 1
                if len(differing) < NAMED_DIFFERENCES:
                    differing.append(Differing(state, rebuilt))
    return Rebuilt(shadow.events, len(shadow.states), same, behind + unseen, count, differing)
