"""Whatever fails in whatever order: every order gets one outcome and stands at most once, stock servers are told what
the journal's rows say and nothing else, and nothing stays in flight.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.outcomes import Accepted, Outcome, Reason
from sluice.model import NewOrder
from tests.unit.fake_journal import Fault
from tests.unit.order_placing.parts import Parts, order, reason
from tests.unit.virtual_time import VirtualTimeLoop, let_run

T = TypeVar("T")

NAMES = ("stockd-0", "stockd-1", "stockd-2")
FAULTS = st.lists(st.sampled_from(Fault), min_size=1, max_size=3)


class AnyHistory(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.parts = self._run(self._start)
        self.skus = [self.parts.sku_of(name) for name in NAMES]
        self.parts.stock(dict.fromkeys(self.skus, 12))
        self.answered: list[tuple[NewOrder, Outcome]] = []
        self.asked: list[asyncio.Task[None]] = []

    async def _start(self) -> Parts:
        parts = Parts(NAMES)
        self.watching = asyncio.create_task(parts.reachability.watch())
        return parts

    def _run(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return self.runner.run(function())

    @rule(
        orders=st.lists(
            st.tuples(st.integers(1, 12), st.dictionaries(st.integers(0, 2), st.integers(1, 2), min_size=1)),
            min_size=1,
            max_size=4,
        ),
        turns=st.integers(0, 12),
    )
    def place(self, orders: list[tuple[int, dict[int, int]]], turns: int) -> None:
        """Few ids: the same come again, with the same content or another, in flight and later."""
        placed = [order(number, {self.skus[n]: count for n, count in lines.items()}) for number, lines in orders]

        async def submit() -> None:
            groups = self.parts.submit(*placed)
            assert sorted(each for group in groups for each in group.orders) == sorted(placed)
            self.asked += [asyncio.create_task(self._hear(group)) for group in groups]
            await let_run(turns)

        self._run(submit)

    async def _hear(self, group: Any) -> None:
        self.answered += zip(group.orders, await group.decided(), strict=True)

    @rule(faults=FAULTS)
    def journal_calls_break(self, faults: list[Fault]) -> None:
        self.parts.journal.faults.extend(faults)

    @rule(name=st.sampled_from(NAMES))
    def server_goes_or_comes(self, name: str) -> None:
        keeper = self.parts.keepers[name]
        keeper.away = not keeper.away

    @rule(name=st.sampled_from(NAMES))
    def server_closes_what_is_overdue(self, name: str) -> None:
        """Its grace is over: what has no row yet is void."""
        keeper = self.parts.keepers[name]
        for seq in keeper.granted:
            self.parts.journal.spends.setdefault((keeper.incarnation, seq), {})

    @rule(name=st.sampled_from(NAMES))
    def server_is_fenced_and_starts_again(self, name: str) -> None:
        keeper = self.parts.keepers[name]
        self.parts.journal.registered[keeper.incarnation] = True
        stranger = self.parts.keepers[name] = type(keeper)(100 + len(self.parts.journal.registered), keeper.journal)
        stranger.units = keeper.units
        link = next(link for link in self.parts.links.links() if link.name == name)
        link._keeper = stranger

    @rule(turns=st.integers(1, 20))
    def some_steps(self, turns: int) -> None:
        self._run(lambda: let_run(turns))

    @rule(seconds=st.sampled_from([0.1, 1.0]))
    def time_passes(self, seconds: float) -> None:
        self._run(lambda: asyncio.sleep(seconds))

    @invariant()
    def an_order_that_was_accepted_stands_as_it_was_sent(self) -> None:
        for placed, outcome in self.answered:
            stored = self.parts.journal.orders.get(placed.order_id)
            if isinstance(outcome, Accepted):
                assert stored is not None
                assert stored.lines == placed.lines
            elif reason(outcome) is Reason.ORDER_ID_REUSED:
                assert stored is not None
                assert stored.lines != placed.lines

    @invariant()
    def servers_are_told_what_the_journal_says(self) -> None:
        assert [keeper.lies for keeper in self.parts.keepers.values()] == [[], [], []]

    @invariant()
    def nobody_hears_of_a_bug(self) -> None:
        assert all(reason(outcome) is not Reason.INTERNAL for _, outcome in self.answered)

    def teardown(self) -> None:
        try:
            self._run(self._heal_and_check)
        finally:
            self.runner.close()

    async def _heal_and_check(self) -> None:
        self.parts.journal.faults.clear()
        for keeper in self.parts.keepers.values():
            keeper.away = False
        await asyncio.wait_for(asyncio.gather(*self.asked), timeout=30)
        await self.parts.check_quiet()
        self.watching.cancel()
        await asyncio.gather(self.watching, return_exceptions=True)
        self.parts.close()


AnyHistory.TestCase.settings = settings(max_examples=120, stateful_step_count=30)
TestAnyHistory = AnyHistory.TestCase
