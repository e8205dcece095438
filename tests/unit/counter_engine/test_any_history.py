"""Whatever happens in whatever order (additions lost, late or unheard, orders cancelled, servers that die, zombies, a
store or a journal that is away), no more is oversold than is published, and afterwards the counter says what was sold.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from sluice.counting import UNCOUNTED_CAP, max_undersell
from sluice.errors import KeeperUnreachable
from sluice.seams.stock_keeper import Reservation, Settlement, Verdict
from tests.unit.counter_engine.shop import REFRESH_S, Shop
from tests.unit.fake_stock_store import Fate
from tests.unit.stock_engine.parts import GRANTED
from tests.unit.virtual_time import VirtualTimeLoop, let_run

T = TypeVar("T")

SKU = "a"
OTHER = "b"
UNITS = 1_500
"""More than the cap of one server, less than those of two."""
QUANTITIES = st.sampled_from([1, 2, 400, 700, UNCOUNTED_CAP])
CARTS = st.dictionaries(st.sampled_from([SKU, OTHER]), QUANTITIES, min_size=1)
MAX_ENGINES = 4
SERVERS = st.integers(0, MAX_ENGINES - 1)
FATES = st.sampled_from([fate for fate in Fate if fate is not Fate.ANSWERED])


class Asked(NamedTuple):
    """One order of one server, and its request while and after it is decided."""

    server: int
    cart: dict[str, int]
    request: asyncio.Task[Reservation]


class AnyHistory(RuleBasedStateMachine):
    asked = Bundle("asked")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.all: list[Asked] = []
        self.cancelled: list[Asked] = []
        self.came: list[tuple[float, str, int]] = []
        self.false_refusals: list[str] = []
        self.housekeeping: list[asyncio.Task[None]] = []
        self.shop = self._run(self._start)

    async def _start(self) -> Shop:
        shop = Shop(2)
        for sku in (SKU, OTHER):
            shop.create(sku, UNITS)
        self.housekeeping += [asyncio.create_task(engine.run()) for engine in shop.engines]
        return shop

    def _run(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return self.runner.run(function())

    @rule(target=asked, server=SERVERS, cart=CARTS, turns=st.sampled_from([0, 3, 10, 50]))
    def reserve(self, server: int, cart: dict[str, int], turns: int) -> Asked:
        async def start() -> Asked:
            number = server % len(self.shop.engines)
            asked = Asked(number, cart, self.shop.reserving(number, cart))
            self.all.append(asked)
            asked.request.add_done_callback(lambda _: self._note_false_refusal(asked))
            await let_run(turns)
            return asked

        return self._run(start)

    def _note_false_refusal(self, asked: Asked) -> None:
        """Whoever hears "sold out" was told so of a SKU of which no more than the bound was unsold."""
        if asked.request.cancelled() or asked.request.exception():
            return
        reservation = asked.request.result()
        if reservation.verdicts != [Verdict.OUT_OF_STOCK]:
            return
        sku = list(asked.cart)[reservation.blamed[0]]
        if asked.cart[sku] > UNCOUNTED_CAP:
            return
        restocked, sold = self.shop.restocked(sku), self.shop.sold(sku)
        bound = max_undersell(self.shop.store.counts_now(sku), restocked, sold)
        now = self.runner.get_loop().time()
        # What came within the refresh interval need not be known.
        recent = sum(units for at, of, units in self.came if of == sku and now - at <= REFRESH_S)
        if restocked - sold > bound + recent + asked.cart[sku] - 1:
            self.false_refusals.append(f"{restocked - sold} of {sku} are unsold, the bound is {bound} + {recent}")

    @invariant()
    def nobody_is_refused_beyond_the_bound(self) -> None:
        assert self.false_refusals == []

    @rule(asked=asked)
    def caller_leaves(self, asked: Asked) -> None:
        async def leave() -> None:
            asked.request.cancel()
            await let_run()

        self._run(leave)

    @rule(asked=asked, sold=st.booleans(), told=st.booleans())
    def gateway_commits(self, asked: Asked, sold: bool, told: bool) -> None:
        reservation = self._granted(asked)
        if reservation is None or self.shop.journal.away:
            return
        key = (reservation.incarnation, reservation.seq)
        if self.shop.journal.registered[reservation.incarnation] and key not in self.shop.journal.spends:
            return  # fenced: the journal refuses
        row = self.shop.journal.spends.setdefault(key, dict(asked.cart) if sold else {})
        if told:
            self._run(lambda: self.shop.engines[asked.server].settle([Settlement(*key, row)], 1.0))

    @rule(asked=asked, server=SERVERS, cancelled=st.booleans(), told=st.booleans())
    def an_order_is_cancelled(self, asked: Asked, server: int, cancelled: bool, told: bool) -> None:
        """At whatever server; and the gateway may die before it commits that."""
        reservation = self._granted(asked)
        if reservation is None or self.shop.journal.away or asked in self.cancelled:
            return
        engine = self.shop.engines[server % len(self.shop.engines)]
        sold = self.shop.journal.spends.get((reservation.incarnation, reservation.seq))
        if not sold or self.shop.journal.registered[engine.incarnation]:
            return
        try:
            key = self._run(lambda: engine.reserve_return(sold, 0, 1.0))
        except KeeperUnreachable:
            return
        row = self.shop.journal.spends[key] = {sku: -units for sku, units in sold.items()} if cancelled else {}
        if cancelled:
            self.cancelled.append(asked)
            self.came += [(self.runner.get_loop().time(), sku, units) for sku, units in sold.items()]
        if told:
            self._run(lambda: engine.settle([Settlement(*key, row)], 1.0))

    @rule(fate=FATES)
    def the_next_addition_breaks(self, fate: Fate) -> None:
        self.shop.store.fates.append(fate)

    @rule(lands=st.booleans())
    def a_late_addition_arrives(self, lands: bool) -> None:
        if self.shop.store.late_additions:
            if lands:
                self.shop.store.land_addition()
            else:
                self.shop.store.late_additions.pop(0)

    @rule(units=st.sampled_from([1, 500]))
    def restock(self, units: int) -> None:
        self.shop.store.add(SKU, units)
        self.came.append((self.runner.get_loop().time(), SKU, units))

    @rule()
    def store_goes_or_comes(self) -> None:
        self.shop.store.away = not self.shop.store.away

    @rule()
    def counts_become_unreadable_or_readable(self) -> None:
        self.shop.store.counts_away = not self.shop.store.counts_away

    @rule()
    def journal_goes_or_comes(self) -> None:
        self.shop.journal.away = not self.shop.journal.away

    @rule(server=SERVERS)
    def a_server_is_fenced_and_does_not_know(self, server: int) -> None:
        self.shop.fence(server % len(self.shop.engines))

    @rule(server=SERVERS)
    def somebody_reclaims(self, server: int) -> None:
        number = server % len(self.shop.engines)
        fenced = self.shop.journal.registered[self.shop.engines[number].incarnation]
        if fenced and not (self.shop.store.away or self.shop.store.counts_away):
            self._run(lambda: self.shop.reclaim(number))

    @rule()
    def a_server_starts(self) -> None:
        async def start() -> None:
            self.housekeeping.append(asyncio.create_task(self.shop.start().run()))

        if len(self.shop.engines) < MAX_ENGINES:
            self._run(start)

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.1, 0.3, 1.0, 4.0]))
    def time_passes(self, seconds: float) -> None:
        self._run(lambda: asyncio.sleep(seconds))

    @invariant()
    def no_more_is_oversold_than_is_published(self) -> None:
        for sku in (SKU, OTHER):
            assert self._promised(sku) - self.shop.restocked(sku) <= self.shop.max_oversell(sku)

    @invariant()
    def no_server_has_more_uncounted_than_the_cap(self) -> None:
        for engine in self.shop.engines:
            assert engine.units_uncounted() <= 2 * UNCOUNTED_CAP  # two SKUs

    @invariant()
    def nothing_is_taken_from_the_ledger(self) -> None:
        self.shop.check_nothing_taken(SKU)
        self.shop.check_nothing_taken(OTHER)

    def _promised(self, sku: str) -> int:
        """Sold, and granted so that it may still be committed."""
        units = self.shop.sold(sku)
        for asked in self.all:
            reservation = self._granted(asked)
            if reservation is None:
                continue
            decided = (reservation.incarnation, reservation.seq) in self.shop.journal.spends
            if not decided and not self.shop.journal.registered[reservation.incarnation]:
                units += asked.cart.get(sku, 0)
        return units

    def teardown(self) -> None:
        try:
            self._run(self._heal_and_check)
        finally:
            self.runner.close()

    async def _heal_and_check(self) -> None:
        shop = self.shop
        shop.store.away = shop.store.counts_away = shop.journal.away = False
        shop.store.fates.clear()
        requests = {asked.request for asked in self.all}
        if requests:
            await asyncio.wait(requests, timeout=10)
        assert all(request.done() for request in requests)
        await asyncio.sleep(10)
        for number, engine in enumerate(shop.engines):
            if shop.journal.registered[engine.incarnation]:
                await shop.reclaim(number)
        while shop.store.late_additions:
            shop.store.land_addition()
        for sku in (SKU, OTHER):
            assert shop.counted(sku) == shop.sold(sku)
        await self._check_the_rest_is_for_sale()
        for task in self.housekeeping:
            task.cancel()
        await asyncio.gather(*self.housekeeping, return_exceptions=True)

    async def _check_the_rest_is_for_sale(self) -> None:
        self.shop.start()
        left = self.shop.restocked(SKU) - self.shop.sold(SKU)
        while left > 0:
            quantity = min(left, UNCOUNTED_CAP)
            reservation = await self.shop.reserve(-1, {SKU: quantity})
            assert reservation.verdicts == [GRANTED]
            await self.shop.sell(reservation, {SKU: quantity})
            left -= quantity
        assert (await self.shop.reserve(-1, {SKU: 1})).verdicts == [Verdict.OUT_OF_STOCK]

    def _granted(self, asked: Asked) -> Reservation | None:
        if not asked.request.done() or asked.request.cancelled() or asked.request.exception():
            return None
        reservation = asked.request.result()
        return reservation if reservation.seq else None


# Each plays a minute or so of virtual time, and costs about a second.
AnyHistory.TestCase.settings = settings(max_examples=50, stateful_step_count=40)
TestAnyHistory = AnyHistory.TestCase
