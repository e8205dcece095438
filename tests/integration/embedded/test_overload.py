"""More callers than a gateway can serve, for longer than a crowd takes: some are told OVERLOADED and when to come back;
of those who were told yes nobody is lost. A flood of them that comes faster than it can be answered leaves a gateway
that serves, in bounded memory.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2

from bench.loads import frames
from bench.loads.frames import CANCELLED
from bench.loads.tally import ACCEPTED
from bench.measure import watch_memory
from bench.orders import OrderSource
from commands.burst import new_orders
from sluice._gen.orders.v1 import orders_pb2
from sluice.rpc.failure import PUSHBACK_KEY, failure_of, reason_of
from tests.integration.buying import Client, connected, create_skus, quiet_stock
from tests.integration.embedded.conftest import Embedded, audit_files, make_embedded
from tests.integration.scraping import standing

CALLERS = 2_000
"""Each sends its next order when it is answered, and they cost a fraction of what the gateway does."""

FLOODING_CALLERS = 28_000
"""Twice as many as a gateway lets wait anywhere, and fewer than HTTP/2 lets one connection have."""

CONNECTIONS = 8
UNITS = 1_000_000
OVERLOADED_WITHIN_S = 120.0
FLOOD_ANSWERS = 120_000
MEMORY_IN_A_FLOOD_MIB = 400.0
"""What a gateway needs by itself, and 20 KB for each of as many calls as may wait (14,000). Without a bound for them it
was 496 to 525 here, and with it 327 to 334."""

ACCEPTED_IN_A_FLOOD = 2_000
"""A gateway that did nothing but refuse would accept what it had let in before: some hundreds."""
CALL_TIMEOUT_S = 60.0


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Embedded]:
    """It takes a queue for overload at once, so that a busy machine need not keep one up for seconds."""
    embedded = make_embedded(tmp_path, "--crowd-s", "0.02", "--max-wait-s", "0.001")
    embedded.process.start()
    try:
        yield embedded
    finally:
        embedded.process.kill()


async def test_callers_beyond_what_is_served_are_refused_and_nothing_accepted_is_lost(
    gateway: Embedded, name: str
) -> None:
    async with connected([gateway.endpoint]) as (client,):
        await create_skus(client, [name], UNITS)
        flood = Flood(name)
        await flood.start(gateway.endpoint, CALLERS)
        async with asyncio.timeout(OVERLOADED_WITHIN_S):
            accepted, (order, error) = await place_until_refused(client, name)
            await flood.end()

        assert (error.code(), reason_of(error)) == (grpc.StatusCode.UNAVAILABLE, "OVERLOADED")
        assert int(dict(error.trailing_metadata() or ())[PUSHBACK_KEY]) > 0
        status = failure_of(error)
        assert status is not None
        assert any(detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for detail in status.details)
        assert flood.told["OVERLOADED"] > 0
        assert flood.told.keys() == {ACCEPTED, "OVERLOADED"}

        # It did not stand: sent again when the flood is over it is new.
        assert not (await client.place_order(order, timeout=CALL_TIMEOUT_S)).replayed
        sold = flood.told[ACCEPTED] + accepted + 1
        assert (await quiet_stock(client, [name]))[name].sold == sold
    report = await audit_files(gateway)
    assert report.findings == []
    assert report.orders == sold


async def test_a_flood_is_served_as_far_as_it_can_be_in_bounded_memory(gateway: Embedded, name: str) -> None:
    assert gateway.process.identity is not None
    async with connected([gateway.endpoint]) as (client,):
        await create_skus(client, [name], UNITS)
        flood = Flood(name)
        with watch_memory({"gateway": gateway.process.identity.pid}) as memory:
            await flood.start(gateway.endpoint, FLOODING_CALLERS)
            async with asyncio.timeout(OVERLOADED_WITHIN_S):
                await flood.answered(FLOOD_ANSWERS // 2)
                # Who restarts what is not alive, or sends buyers elsewhere, must hear that it serves.
                assert await standing(f"{gateway.http}/livez") == "alive"
                assert await standing(f"{gateway.http}/readyz") == "ready"
                await flood.answered(FLOOD_ANSWERS)
                await flood.end()

        assert flood.told.keys() == {ACCEPTED, "OVERLOADED", CANCELLED}
        assert flood.told[ACCEPTED] >= ACCEPTED_IN_A_FLOOD
        assert memory.highest_mib()["gateway"] <= MEMORY_IN_A_FLOOD_MIB

        (order,) = new_orders(1, [name])
        await client.place_order(order, timeout=CALL_TIMEOUT_S)
        sold = flood.told[ACCEPTED] + 1
        assert (await quiet_stock(client, [name]))[name].sold == sold
    report = await audit_files(gateway)
    assert report.findings == []
    assert report.orders == sold


async def place_until_refused(
    client: Client, sku: str
) -> tuple[int, tuple[orders_pb2.PlaceOrderRequest, grpc.aio.AioRpcError]]:
    """How many were accepted before, and the one that was not."""
    accepted = 0
    while True:
        (order,) = new_orders(1, [sku])
        try:
            await client.place_order(order, timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            return accepted, (order, error)
        accepted += 1


class Flood:
    """Callers who go on, refused or not, until they are told to stop; `told` counts what they heard."""

    def __init__(self, sku: str) -> None:
        self.told: Counter[str] = Counter()
        self._source = OrderSource([sku])
        self._waiting = 0
        self._ending = False
        self._ended = asyncio.Event()
        self._enough = asyncio.Event()
        self._enough_answers = 0
        self._connections: list[frames.Caller] = []

    async def start(self, endpoint: str, callers: int) -> None:
        self._connections = await frames.connect(endpoint, CONNECTIONS)
        for number in range(callers):
            self._send(number)

    async def answered(self, count: int) -> None:
        """Returns when so many answers were heard."""
        self._enough_answers = count
        self._enough.clear()
        await self._enough.wait()

    async def end(self) -> None:
        """Returns when everybody has been answered."""
        self._ending = True
        await self._ended.wait()
        for connection in self._connections:
            connection.close()

    def _send(self, number: int) -> None:
        self._waiting += 1
        self._connections[number % CONNECTIONS].send([(float(number), self._source.request())], self._heard)

    def _heard(self, number: float, told: str) -> None:
        self.told[told] += 1
        self._waiting -= 1
        if self.told.total() >= self._enough_answers > 0:
            self._enough.set()
        if not self._ending:
            self._send(int(number))
        elif not self._waiting:
            self._ended.set()
