"""What is for sale in one round: twenty SKUs of all policies that the service offers, scarce and plentiful."""

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from sluice._gen.orders.v1 import orders_pb2
from sluice._gen.stock.v1 import stock_pb2
from sluice.client.order_ids import new_order_id
from tests.chaos.records import CANCEL, CONFIRM
from tests.integration.buying import RETRY_PAUSE_S, Client, ask

SKUS = 20
SCARCE_UNITS = 60
PLENTY_UNITS = 1_000_000
"""More than can be asked for: nobody may ever hear that these are sold out."""

PLENTIFUL_OF_EACH = 2
CREATED_WITHIN_S = 60.0
HOT = 6
"""The first SKU of each policy is asked for as often as so many others."""


class Sku(NamedTuple):
    name: str
    policy: "stock_pb2.StockPolicy"
    units: int

    @property
    def plentiful(self) -> bool:
        return self.units == PLENTY_UNITS


class Shelf:
    def __init__(self, skus: Sequence[Sku], *, ends: bool) -> None:
        """`ends`: whether orders can be cancelled, held and confirmed."""
        self.skus = skus
        self.by_name = {sku.name: sku for sku in skus}
        self.ends = ends
        policies = [sku.policy for sku in skus]
        self._weights = [HOT if sku.policy not in policies[:place] else 1 for place, sku in enumerate(skus)]

    def choose(self, chance: random.Random, count: int) -> list[Sku]:
        """Different ones, the hot ones more often."""
        chosen: dict[str, Sku] = {}
        while len(chosen) < count:
            (sku,) = chance.choices(self.skus, self._weights)
            chosen[sku.name] = sku
        return list(chosen.values())


async def stock_shelf(client: Client, name: str) -> Shelf:
    """Creates the SKUs, while nothing is broken. What the service does not offer yet is left out."""
    policies = [stock_pb2.STOCK_POLICY_EXACT, stock_pb2.STOCK_POLICY_ESCROW]
    probe = stock_pb2.CreateSkuRequest(sku=f"{name}-probe", units=1, policy=stock_pb2.STOCK_POLICY_COUNTER)
    if (await ask(client.create_sku, probe)).response is not None:
        policies.append(stock_pb2.STOCK_POLICY_COUNTER)
    skus = []
    for number in range(SKUS):
        policy = policies[number % len(policies)]
        units = PLENTY_UNITS if number < PLENTIFUL_OF_EACH * len(policies) else SCARCE_UNITS
        kind = stock_pb2.StockPolicy.Name(policy).removeprefix("STOCK_POLICY_").lower()
        sku = Sku(f"{name}-{kind}-{number}", policy, units)
        request = stock_pb2.CreateSkuRequest(sku=sku.name, units=sku.units, policy=sku.policy)
        await _create(client, request)
        skus.append(sku)
    return Shelf(skus, ends=await _can_end_orders(client))


async def _create(client: Client, request: stock_pb2.CreateSkuRequest) -> None:
    """Nothing is broken; but servers that have just come back are slow."""
    deadline = time.monotonic() + CREATED_WITHIN_S
    while (reply := await ask(client.create_sku, request)).response is None:
        assert time.monotonic() < deadline, f"creating {request.sku} was told {reply.told}"
        await asyncio.sleep(RETRY_PAUSE_S)


def ending(client: Client, what: str) -> Any:
    """The call that cancels or confirms an order."""
    method, response = {
        CANCEL: ("CancelOrder", orders_pb2.CancelOrderResponse),
        CONFIRM: ("ConfirmOrder", orders_pb2.ConfirmOrderResponse),
    }[what]
    return client._unary("orders", method, response)


async def _can_end_orders(client: Client) -> bool:
    request = orders_pb2.CancelOrderRequest(order_id=new_order_id())
    return (await ask(ending(client, CANCEL), request)).told != "UNIMPLEMENTED"
