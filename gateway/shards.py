"""The way of orders into several journals: one for each, beside the others, and nothing of it in common.

The orders of a request are divided before anything is reserved for them, so a reservation is committed in one journal,
and one that is away or slow holds up its own orders only. With one journal nothing is divided.
"""

import asyncio
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import NamedTuple

from gateway.changing import Changing
from gateway.group import Group
from gateway.outcomes import Reason, Refused
from gateway.placing import Placing
from gateway.watching import Watching
from sluice.errors import Overloaded
from sluice.model import NewOrder
from sluice.sharding import divided, shard_of

Submit = Callable[[Sequence[NewOrder], float], list[Group]]


class OrderShard(NamedTuple):
    """All that decides about the orders of one journal."""

    placing: Placing
    confirming: Changing
    cancelling: Changing
    watching: Watching


class OrderShards:
    """By number."""

    def __init__(self, shards: Sequence[OrderShard]) -> None:
        self._shards = shards
        self.submit: Submit = self._divide if len(shards) > 1 else shards[0].placing.submit
        """See Placing.submit. Of several journals one may have too many orders already: then its orders are in a group
        that is refused, and Overloaded is not raised.
        """

    def of(self, order_id: str) -> OrderShard:
        return self._shards[shard_of(order_id, len(self._shards))]

    @property
    def orders_in_flight(self) -> int:
        return sum(shard.placing.orders_in_flight for shard in self._shards)

    @property
    def open_watches(self) -> int:
        return sum(shard.watching.open_watches for shard in self._shards)

    async def keep_looking(self) -> None:
        """For watches, for ever."""
        await asyncio.gather(*(shard.watching.keep_looking() for shard in self._shards))

    def stop_watching(self) -> None:
        for shard in self._shards:
            shard.watching.stop()

    async def idle(self) -> None:
        """Returns when everything that was asked for has been decided."""
        for placing, confirming, cancelling, _ in self._shards:
            await placing.idle()
            await confirming.idle()
            await cancelling.idle()

    def _divide(self, orders: Sequence[NewOrder], deadline: float) -> list[Group]:
        groups: list[Group] = []
        for number, of_shard in divided(orders, attrgetter("order_id"), len(self._shards)).items():
            try:
                groups += self._shards[number].placing.submit(of_shard, deadline)
            except Overloaded as error:
                groups.append(_refused(of_shard, error, deadline))
        return groups


def _refused(orders: list[NewOrder], error: Overloaded, deadline: float) -> Group:
    group = Group(arrived=deadline, deadline=deadline)
    group.orders = orders
    group.decide([Refused(Reason.OVERLOADED, "", error.retry_after_s)] * len(orders))
    return group


def share_of(limit: int, shards: int) -> int:
    """Of a limit of the whole gateway, for each of so many journals: together at least as much."""
    return -(-limit // shards)
