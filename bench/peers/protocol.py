"""What a peer can do: take stock in, and reserve units of it for an order, yes or no."""

from typing import Protocol
from uuid import UUID


class Peer(Protocol):
    """Opened by one function of its module, `open_peer(address) -> Peer`. A repeat of an order's id sells nothing
    twice, except where the peer says so.
    """

    async def add_stock(self, sku: str, units: int) -> None: ...

    async def reserve(self, order_id: UUID, sku: str, quantity: int) -> bool:
        """Whether the units were to be had; all or none."""

    async def close(self) -> None: ...
