"""A gateway whose every word the test decides, and callers that place orders there through the client."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from sluice._gen.orders.v1 import orders_pb2
from sluice.client.order_ids import new_order_id
from sluice.client.order_stream import StreamEnded
from sluice.client.placing import MAX_UNDECIDED, Placing
from sluice.client.wire import one_line

Request = orders_pb2.PlaceOrdersRequest
Result = orders_pb2.OrderResult
ACCEPTED = orders_pb2.OUTCOME_ACCEPTED
REJECTED = orders_pb2.OUTCOME_REJECTED
RETRY = orders_pb2.OUTCOME_RETRY

LONG_S = 1_000.0


class FakeStream:
    """Keeps what is written; gives what the test answers."""

    def __init__(self) -> None:
        self.batches: list[Request] = []
        self.cancelled = False
        self._answers: asyncio.Queue[orders_pb2.PlaceOrdersResponse | StreamEnded] = asyncio.Queue()
        self._ended: StreamEnded | None = None

    async def connected(self) -> None:
        if self._ended:
            raise self._ended

    async def write(self, message: bytes) -> None:
        if self._ended:
            raise self._ended
        self.batches.append(Request.FromString(message))

    async def read(self) -> orders_pb2.PlaceOrdersResponse:
        answer = await self._answers.get()
        if isinstance(answer, StreamEnded):
            raise answer
        return answer

    def cancel(self) -> None:
        self.cancelled = True
        if self._ended is None:
            self.end(StreamEnded("CANCELLED"))

    def answer(
        self, batch: Request, outcome: orders_pb2.Outcome = ACCEPTED, reason: str = "", *, replayed: bool = False
    ) -> None:
        """The whole batch, alike."""
        results = [
            Result(order_id=order.order_id, outcome=outcome, reason=reason, replayed=replayed) for order in batch.orders
        ]
        self.tell(batch, results)

    def tell(self, batch: Request, results: Sequence[Result], *, done: bool = True) -> None:
        self._answers.put_nowait(orders_pb2.PlaceOrdersResponse(batch_id=batch.batch_id, results=results, done=done))

    def end(self, ended: StreamEnded) -> None:
        self._ended = ended
        self._answers.put_nowait(ended)


class FakeGateway:
    """All streams that were opened. `broken`: how further ones end at once."""

    def __init__(self) -> None:
        self.streams: list[FakeStream] = []
        self.opened_at: list[float] = []
        self.broken: StreamEnded | None = None

    def open(self) -> FakeStream:
        stream = FakeStream()
        self.streams.append(stream)
        self.opened_at.append(asyncio.get_running_loop().time())
        if self.broken is not None:
            stream.end(self.broken)
        return stream

    @property
    def stream(self) -> FakeStream:
        return self.streams[-1]

    @property
    def batches(self) -> list[Request]:
        """Of all streams."""
        return [batch for stream in self.streams for batch in stream.batches]

    def sent(self, batches: int) -> bool:
        return len(self.batches) >= batches

    @property
    def sizes(self) -> list[int]:
        return [len(batch.orders) for batch in self.batches]


@asynccontextmanager
async def placing_at(
    gateway: FakeGateway, *, max_undecided: int = MAX_UNDECIDED, jitter: Callable[[], float] = lambda: 0.0
) -> AsyncIterator[Placing]:
    placing = Placing(gateway.open, jitter=jitter, max_undecided=max_undecided)
    running = asyncio.create_task(placing.run())
    try:
        yield placing
    finally:
        running.cancel()
        await asyncio.wait([running])


def submit(
    placing: Placing, *, sku: str = "mug", order_id: str | None = None, timeout_s: float = LONG_S
) -> "asyncio.Future[bool]":
    lines, rest = one_line(sku, 1)
    deadline = asyncio.get_running_loop().time() + timeout_s
    return placing.submit(order_id or new_order_id(), "ada", lines, rest, deadline)


async def until(holds: Callable[[], bool]) -> None:
    """In virtual time; fails if it does not come true in a quarter of an hour."""
    for _ in range(90_000):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it has not come true")


def ids(batch: Request) -> list[str]:
    return [order.order_id for order in batch.orders]


def broken() -> StreamEnded:
    return StreamEnded("UNREACHABLE")
