"""More of a SKU than may be granted at once is served in rounds: what was granted is committed, then the rest asks."""

import asyncio

from prometheus_client import CollectorRegistry

from gateway.committing import Committing
from gateway.keepers import Keepers
from gateway.metrics import GatewayMetrics
from gateway.outcomes import Reason
from gateway.placing import Placing
from sluice.counting import UNCOUNTED_CAP
from sluice.reachability import Reachability
from sluice.seams.stock_keeper import Verdict
from tests.unit.counter_engine.shop import Shop
from tests.unit.fake_journal import TIME
from tests.unit.order_placing.parts import RESERVE_LIMIT_S, is_new, order, reason
from tests.unit.stock_engine.parts import GRANTED, OUT_OF_STOCK
from tests.unit.virtual_time import clock, in_virtual_time


def _placing(shop: Shop) -> Placing:
    reachability = Reachability("journal", shop.journal.ping)
    return Placing(
        Keepers({"stockd-0": shop.engines[0]}),
        shop.journal,  # type: ignore[arg-type]  # what placing uses of one
        Committing(shop.journal, reachability, now=lambda: TIME, connections=2),  # type: ignore[arg-type]
        reachability,
        monotonic=clock,
        reserve_limit_s=RESERVE_LIMIT_S,
        max_orders_in_flight=20_000,
        metrics=GatewayMetrics(CollectorRegistry()),
    )


@in_virtual_time
async def test_a_batch_above_the_cap_is_decided_whole_and_at_once() -> None:
    shop = Shop()
    shop.create("a", 4_500)
    orders = [order(number) for number in range(1, 5_001)]
    (group,) = _placing(shop).submit(orders, clock() + 10)
    outcomes = await group.decided()
    assert all(is_new(outcome) for outcome in outcomes[:4_500])
    assert all(reason(outcome) is Reason.OUT_OF_STOCK for outcome in outcomes[4_500:])
    assert shop.sold("a") == 4_500
    assert clock() < 0.5


@in_virtual_time
async def test_with_a_journal_that_goes_away_the_rounds_end() -> None:
    shop = Shop()
    shop.create("a", 5_000)
    shop.journal.away = True
    (group,) = _placing(shop).submit([order(number) for number in range(1, 1_501)], clock() + 10)
    outcomes = await group.decided()
    assert {reason(outcome) for outcome in outcomes} <= {Reason.JOURNAL_UNREACHABLE, Reason.STOCK_UNREACHABLE}
    assert clock() < RESERVE_LIMIT_S + 1


@in_virtual_time
async def test_only_the_request_that_stands_in_its_own_way_is_sent_back() -> None:
    shop = Shop()
    shop.create("a", 5_000)
    large = shop.reserving(0, *[{"a": 1}] * (UNCOUNTED_CAP + 5))
    small = shop.reserving(0, {"a": 1})
    await asyncio.sleep(0.05)
    sent_back = await large
    assert sent_back.verdicts == [GRANTED] * UNCOUNTED_CAP + [Verdict.AGAIN] * 5
    assert not small.done()
    await shop.sell(sent_back, {"a": UNCOUNTED_CAP})
    assert (await small).verdicts == [GRANTED]


@in_virtual_time
async def test_three_servers_sell_out_a_sku_to_large_requests_and_hardly_oversell() -> None:
    shop = Shop(3)
    shop.create("a", 60)

    async def buy(number: int) -> int:
        bought = 0
        while True:
            reservation = await shop.reserve(number, *[{"a": 1}] * 30)
            sold = list(reservation.verdicts).count(GRANTED)
            if reservation.seq:
                await shop.sell(reservation, {"a": sold})
            bought += sold
            if set(reservation.verdicts) == {OUT_OF_STOCK}:
                return bought

    for number in range(3):  # from now on they know of each other
        await shop.sell(await shop.reserve(number, {"a": 1}), {})
    await asyncio.sleep(1)
    bought = sum(await asyncio.gather(*(buy(number) for number in range(3))))
    assert 60 <= bought <= 60 + 10
    assert bought - 60 <= shop.max_oversell("a")
