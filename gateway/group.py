"""Orders of one request that are decided together, and those who wait for what becomes of them."""

import asyncio

from gateway.outcomes import Outcome
from sluice.model import NewOrder


class Group:
    """Orders of one request that take the same way. `outcomes`, once decided: one per order."""

    __slots__ = ("_waiting", "abandoned", "arrived", "deadline", "orders", "outcomes")

    def __init__(self, arrived: float, deadline: float) -> None:
        self.orders: list[NewOrder] = []
        self.arrived = arrived
        self.deadline = deadline
        self.outcomes: list[Outcome] | None = None
        self.abandoned = False
        self._waiting: list[asyncio.Future[list[Outcome]]] = []  # one for each who waits: none can take it from others

    async def decided(self) -> list[Outcome]:
        """The outcomes. A caller that is cancelled gives up an order that has not been started, and no other."""
        try:
            return await self.decided_for_others()
        except asyncio.CancelledError:
            self.abandoned = True
            raise

    async def decided_for_others(self) -> list[Outcome]:
        """The same, for who follows what others asked for, and gives up nothing."""
        if self.outcomes is not None:
            return self.outcomes
        waiter: asyncio.Future[list[Outcome]] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        return await waiter

    def decide(self, outcomes: list[Outcome]) -> None:
        if self.outcomes is not None:
            return
        self.outcomes = outcomes
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(outcomes)
