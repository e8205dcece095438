"""The one stream over which orders are placed, as the part that places them knows it."""

from collections.abc import Callable
from typing import Protocol

from sluice._gen.orders.v1 import orders_pb2
from sluice.client.errors import SluiceError


class StreamEnded(Exception):
    """The stream is over. `advised_s`: when the server wants to be asked again. `graceful`: what the server has read is
    answered. `failure`: what to tell callers if opening another stream would be in vain.
    """

    def __init__(
        self,
        reason: str,
        *,
        advised_s: float = 0.0,
        graceful: bool = False,
        failure: Callable[[], SluiceError] | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.advised_s = advised_s
        self.graceful = graceful
        self.failure = failure


class OrderStream(Protocol):
    """A `PlaceOrders` call."""

    async def connected(self) -> None:
        """Returns when there is a connection to write to. Raises StreamEnded."""

    async def write(self, message: bytes) -> None:
        """Returns when the transport has taken it. Raises StreamEnded."""

    async def read(self) -> orders_pb2.PlaceOrdersResponse:
        """Raises StreamEnded."""
        ...

    def cancel(self) -> None:
        """Ends the call; who reads hears it. Harmless when it is over."""
