"""Random carts, the same for the same seed, and what must be true of what became of them."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence

from commands.burst import ACCEPTED
from sluice._gen.orders.v1 import orders_pb2
from tests.integration.buying import OUT_OF_STOCK, Client, Reply, accepted, ask, order, quiet_stock, told, units_of

SKUS = 50
UNITS = 20
CARTS = 700
"""About 3.5 lines of 2 units each: several times what 50 SKUs of 20 units can serve."""

SINGLES = 10
SINGLE_ORDERS = 120
"""SKUs that are never in a cart with others, so nothing that is refused elsewhere can give units of them back."""


def random_carts(name: str, seed: int) -> tuple[list[str], list[orders_pb2.PlaceOrderRequest]]:
    """SKU names, and carts of 1 to 5 lines over the first 50, one-line orders over the other 10."""
    chance = random.Random(seed)
    mixed = [f"{name}-{number}" for number in range(SKUS)]
    single = [f"{name}-single-{number}" for number in range(SINGLES)]
    carts = [
        order({sku: chance.randint(1, 3) for sku in chance.sample(mixed, chance.randint(1, 5))}) for _ in range(CARTS)
    ]
    carts += [order({chance.choice(single): chance.randint(1, 3)}) for _ in range(SINGLE_ORDERS)]
    chance.shuffle(carts)
    return [*mixed, *single], carts


async def check_all_lines_or_none(clients: Sequence[Client], skus: Sequence[str], replies: Sequence[Reply]) -> None:
    """What the buyers were told is what stands and what was taken, unit for unit."""
    counts = told(replies)
    assert counts[ACCEPTED] + counts[OUT_OF_STOCK] == len(replies), counts
    assert counts[ACCEPTED]
    assert counts[OUT_OF_STOCK]

    stock = await quiet_stock(clients[0], skus)
    bought = units_of(accepted(replies))
    for sku in skus:
        assert stock[sku].sold == bought[sku], sku
        assert stock[sku].available == UNITS - bought[sku], sku
    for number, reply in enumerate(replies):
        found = await ask(
            clients[number % len(clients)].get_order, orders_pb2.GetOrderRequest(order_id=reply.request.order_id)
        )
        if reply.told == ACCEPTED:
            assert Counter({line.sku: line.quantity for line in found.response.order.lines}) == units_of(
                [reply.request]
            )
        else:
            assert found.told == "ORDER_NOT_FOUND"


def check_refusals_name_what_was_short(replies: Sequence[Reply]) -> None:
    """Every refused order names a SKU of its own that could not serve it.

    Units come back only from a cart that was refused for another SKU, and buyers wait a quarter of a second for
    those, not longer; and from an attempt that ran into a time limit. So what is left at the end was not enough for
    any order that was refused for it, but for units that such carts and attempts held. Of a SKU that is never in a
    cart with others, and whose buyers needed one attempt each, it was not enough without any "but".
    """
    left = Counter(dict.fromkeys({line.sku for reply in replies for line in reply.request.lines}, UNITS))
    left.subtract(units_of(accepted(replies)))
    held_for_a_while: defaultdict[str, int] = defaultdict(int)
    refused = [reply for reply in replies if reply.told == OUT_OF_STOCK]
    for reply in replies:
        for line in reply.request.lines:
            held_for_a_while[line.sku] += line.quantity * (reply.attempts - 1)
    for reply in refused:
        for line in reply.request.lines:
            if line.sku != reply.blamed["sku"]:
                held_for_a_while[line.sku] += line.quantity
    for reply in refused:
        sku = reply.blamed["sku"]
        asked = {line.sku: line.quantity for line in reply.request.lines}
        assert sku in asked, "a SKU is blamed that was not asked for"
        assert left[sku] < asked[sku] + held_for_a_while[sku], (
            f"{asked[sku]} of {sku} were refused and {left[sku]} are left"
        )
