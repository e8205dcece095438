"""Whatever happens in whatever order (writes lost, late or unheard, callers that leave, gateways that die, a store or a
journal that is away), the engine keeps its promises at every step, and afterwards no unit is lost or made.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, MultipleResults, RuleBasedStateMachine, invariant, multiple, rule

from sluice.seams.stock_keeper import Reservation, Settlement, Verdict
from tests.contract.stock_store.model import Take
from tests.unit.fake_stock_store import Fate
from tests.unit.stock_engine.parts import GRANTED, INCARNATION, Parts
from tests.unit.virtual_time import VirtualTimeLoop, let_run

T = TypeVar("T")

SKUS = ("a", "b")
CARTS = st.dictionaries(st.sampled_from(SKUS), st.integers(1, 3), min_size=1)
FATES = st.sampled_from([fate for fate in Fate if fate is not Fate.ANSWERED])


class Asked(NamedTuple):
    """One order, and its request while and after it is decided."""

    number: int
    cart: dict[str, int]
    request: asyncio.Task[Reservation]


class Returning(NamedTuple):
    """Units of orders that are about to end, and their reservation."""

    units: dict[str, int]
    key: tuple[UUID, int]


OTHER = UUID(int=200)
SOLD_BY_OTHER = 3
"""Units of each SKU that another server sold: they too may come back to ours."""


class AnyHistory(RuleBasedStateMachine):
    asked = Bundle("asked")
    returning = Bundle("returning")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.parts = self._run(self._start)
        self.all: list[Asked] = []
        self.overtaken: list[str] = []
        self.returns: list[Returning] = []

    async def _start(self) -> Parts:
        parts = Parts()
        for sku in SKUS:
            parts.store.create(sku, 4 + SOLD_BY_OTHER)
            parts.store.skus[sku].apply(Take(OTHER, None, SOLD_BY_OTHER))
        parts.journal.spends[OTHER, 1] = dict.fromkeys(SKUS, SOLD_BY_OTHER)
        self.housekeeping = asyncio.create_task(parts.engine.run())
        return parts

    def _run(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return self.runner.run(function())

    @rule(target=asked, cart=CARTS, turns=st.integers(0, 4))
    def reserve(self, cart: dict[str, int], turns: int) -> Asked:
        async def start() -> Asked:
            asked = Asked(len(self.all), cart, self.parts.reserving(cart))
            self.all.append(asked)
            asked.request.add_done_callback(lambda _: self._note_overtaking(asked))
            await let_run(turns)
            return asked

        return self._run(start)

    def _note_overtaking(self, asked: Asked) -> None:
        """Requests end in the order in which they are decided."""
        if asked.request.cancelled() or asked.request.result().verdicts != [GRANTED]:
            return
        self.overtaken += [
            f"{asked.cart} overtook {earlier.cart}"
            for earlier in self.all[: asked.number]
            if not earlier.request.done() and not earlier.request.cancelling() and asked.cart.keys() & earlier.cart
        ]

    @rule(asked=asked)
    def caller_leaves(self, asked: Asked) -> None:
        async def leave() -> None:
            asked.request.cancel()
            await let_run()

        self._run(leave)

    @rule(asked=asked, sold=st.booleans(), told=st.booleans())
    def gateway_commits(self, asked: Asked, sold: bool, told: bool) -> None:
        reservation = self._granted(asked)
        if reservation is None or self.parts.journal.away:
            return
        key = (reservation.incarnation, reservation.seq)
        row = self.parts.journal.spends.setdefault(key, dict(asked.cart) if sold else {})
        if told:
            self._run(lambda: self.parts.engine.settle([Settlement(*key, row)], 1.0))

    @rule(target=returning, cart=CARTS)
    def orders_are_to_end(self, cart: dict[str, int]) -> Returning | MultipleResults[Returning]:
        """Only what is sold, and is not on its way back already, can come back."""
        sold = self.parts.journal.sold_by_sku()
        for units, key in self.returns:
            if key not in self.parts.journal.spends:
                sold = {sku: count - units.get(sku, 0) for sku, count in sold.items()}
        units = {sku: min(count, sold[sku]) for sku, count in cart.items() if sold[sku] > 0}
        if not units:
            return multiple()
        found = Returning(units, self._run(lambda: self.parts.engine.reserve_return(units, 0, 1.0)))
        self.returns.append(found)
        return found

    @rule(returning=returning, ended=st.booleans(), told=st.booleans())
    def orders_end(self, returning: Returning, ended: bool, told: bool) -> None:
        if self.parts.journal.away:
            return
        units, key = returning
        back = {sku: -count for sku, count in units.items()} if ended else {}
        row = self.parts.journal.spends.setdefault(key, back)
        if told:
            self._run(lambda: self.parts.engine.settle([Settlement(*key, row)], 1.0))

    @rule(fate=FATES)
    def the_next_write_breaks(self, fate: Fate) -> None:
        self.parts.store.fates.append(fate)

    @rule(lands=st.booleans())
    def a_late_write_arrives(self, lands: bool) -> None:
        if self.parts.store.late:
            self.parts.store.land() if lands else self.parts.store.lose()

    @rule(sku=st.sampled_from(SKUS), units=st.integers(1, 3))
    def restock(self, sku: str, units: int) -> None:
        self.parts.store.add(sku, units)

    @rule()
    def store_goes_or_comes(self) -> None:
        self.parts.store.away = not self.parts.store.away

    @rule()
    def journal_goes_or_comes(self) -> None:
        self.parts.journal.away = not self.parts.journal.away

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.1, 0.3, 1.0, 4.0]))
    def time_passes(self, seconds: float) -> None:
        self._run(lambda: asyncio.sleep(seconds))

    @invariant()
    def the_ledger_is_conserved_and_written_once_at_a_time(self) -> None:
        self.parts.store.check_conservation()
        assert self.parts.store.most_in_flight <= 1

    @invariant()
    def what_is_granted_or_sold_was_taken(self) -> None:
        needed = {sku: self.parts.journal.sold_by_sku(INCARNATION).get(sku, 0) for sku in SKUS}
        for asked in self.all:
            reservation = self._granted(asked)
            if reservation and (reservation.incarnation, reservation.seq) not in self.parts.journal.spends:
                for sku, quantity in asked.cart.items():
                    needed[sku] += quantity
        for sku in SKUS:
            assert needed[sku] <= self.parts.held(sku)

    @invariant()
    def nobody_overtakes(self) -> None:
        assert self.overtaken == []

    @invariant()
    def it_does_not_think_itself_fenced(self) -> None:
        assert not self.housekeeping.done()

    def teardown(self) -> None:
        try:
            self._run(self._heal_and_check)
        finally:
            self.runner.close()

    async def _heal_and_check(self) -> None:
        store, journal = self.parts.store, self.parts.journal
        store.away = journal.away = False
        store.fates.clear()
        while store.late:
            store.land()
        # One order per SKU finds what landed after the last look at its row.
        last = [self.parts.reserving({sku: 1}) for sku in SKUS]
        requests = {asked.request for asked in self.all}
        await asyncio.wait({*requests, *last}, timeout=10)
        assert all(request.done() for request in {*requests, *last})
        for asked in self.all:
            if not asked.request.cancelled():
                (verdict,) = asked.request.result().verdicts
                assert verdict in {Verdict.GRANTED, Verdict.OUT_OF_STOCK, Verdict.LEDGER_UNREACHABLE}
        await asyncio.sleep(10)
        self.parts.check_quiet()
        self.housekeeping.cancel()
        await asyncio.gather(self.housekeeping, return_exceptions=True)

    @staticmethod
    def _granted(asked: Asked) -> Reservation | None:
        if not asked.request.done() or asked.request.cancelled():
            return None
        reservation = asked.request.result()
        assert reservation.incarnation == INCARNATION
        return reservation if reservation.seq else None


AnyHistory.TestCase.settings = settings(max_examples=120, stateful_step_count=40)
TestAnyHistory = AnyHistory.TestCase
