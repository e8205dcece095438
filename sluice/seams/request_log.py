"""The seam between gateways and the queue: orders are appended, and each is told where it stands."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from sluice.model import QueuePosition
from sluice.order_requests import OrderRequest


class QueuedOrder(NamedTuple):
    request: OrderRequest
    position: QueuePosition


class RequestLog(Protocol):
    """Every method raises LogUnreachable."""

    async def append(self, requests: Sequence[OrderRequest]) -> Sequence[QueuePosition]:
        """Returns when all of them are durable, in the given order per key. After LogUnreachable any of them may stand
        in the queue; appending an order again is harmless, since the first one of its id counts.
        """
        ...

    async def find(self, order_id: str, position: QueuePosition | None) -> QueuedOrder | None:
        """The order as it stands in the queue, decided or not. A log that keeps no index of order ids looks at
        `position` alone, and finds nothing without one.
        """
        ...

    async def ping(self) -> None:
        """Returns if the log answers now."""
        ...

    async def close(self) -> None: ...
