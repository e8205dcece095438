"""Everything that a journal holds, to compare before and after."""

from collections.abc import Mapping
from typing import NamedTuple
from uuid import UUID

from journal.protocol import Journal, OutboxRow
from sluice.model import Order


class Standing(NamedTuple):
    orders: Mapping[str, Order]
    spends: Mapping[UUID, Mapping[str, int]]
    outbox: list[OutboxRow]


async def standing(journal: Journal) -> Standing:
    orders = {order.order_id: order async for page in journal.scan_orders() for order in page}
    outbox = [row async for page in journal.scan_outbox() for row in page]
    return Standing(orders, await journal.all_spends(), outbox)
