"""Whatever happens around the queue, the auditor finds that who came first was served first."""

import asyncio
import contextlib
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from sluice.errors import Unreachable
from sluice.model import NewOrder, OrderState
from tests.unit.order_queue.shop import Shop, wants
from tests.unit.virtual_time import in_virtual_time

SKUS = ("a", "b")
CARTS = st.dictionaries(st.sampled_from(SKUS), st.integers(1, 3), min_size=1)
HAPPENINGS = st.lists(
    st.tuples(
        st.floats(0, 3),
        st.sampled_from(["direct", "cancel", "restock", "hide", "hide some", "show", "away", "back", "lose"]),
        st.sampled_from(SKUS),
    ),
    max_size=12,
)


@settings(max_examples=300)
@given(
    st.lists(CARTS, min_size=1, max_size=14),
    st.integers(0, 8),
    st.integers(0, 8),
    st.integers(0, 8),
    HAPPENINGS,
    st.integers(1, 14),
)
@in_virtual_time
async def test_first_come_first_served(carts, a, b, hidden, happenings, batch) -> None:
    shop = Shop(a=a, b=b)
    shop.hidden["a"] = min(a, hidden)
    orders = [wants(number, **cart) for number, cart in enumerate(carts, 1)]
    around = asyncio.ensure_future(happen(shop, happenings))
    for at in range(0, len(orders), batch):
        await until_done(shop, orders[max(0, at - 2) : at + batch])  # the last ones come again, as after a crash
    await around
    assert "-" not in shop.outcomes(orders)
    assert shop.audit(orders) == []


async def until_done(shop: Shop, orders: Sequence[NewOrder]) -> None:
    while True:
        with contextlib.suppress(Unreachable):
            return await shop.handle(orders)
        await asyncio.sleep(0.2)


async def happen(shop: Shop, happenings: Sequence[tuple[float, str, str]]) -> None:
    for number, (pause_s, what, sku) in enumerate(happenings):
        await asyncio.sleep(pause_s)
        match what:
            case "direct":
                await shop.place([wants(1_000 + number, **{sku: 1})])
            case "cancel":
                living = [each for each in shop.orders.values() if each.state is OrderState.CREATED]
                if living:
                    shop.orders[living[0].order_id] = living[0]._replace(state=OrderState.CANCELLED)
                    shop.take_back(NewOrder(*living[0][:3]))
            case "restock":
                shop.restock(sku, 2)
            case "hide" | "hide some":
                shop.hidden[sku] = max(0, shop.units[sku] - (what == "hide some"))
            case "show":
                shop.hidden.clear()
            case "away" | "back":
                shop.away = what == "away"
            case "lose":
                shop.lose_answers_of_rejections = 1
    shop.hidden.clear()
    shop.away = False
