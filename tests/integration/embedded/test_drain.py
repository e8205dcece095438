"""SIGTERM in the middle of a burst and a stream: what was started is answered, the rest not started, exit code 0."""

import asyncio
import os
import signal
import time
from pathlib import Path

import grpc
import pytest

from commands.burst import ACCEPTED
from sluice._gen.orders.v1 import orders_pb2
from tests.integration.buying import UNANSWERED, Client, ask, connected, create_skus, order, place_all, quiet_stock
from tests.integration.embedded.conftest import Embedded, audit_files, make_embedded

DRAIN_LIMIT_S = 20.0
"""The default of `--drain-limit-s`."""

STREAM_BATCHES = 200
BATCH = 50


class StreamBuyer:
    """Sends batches over one stream as fast as the gateway reads them, until that ends the stream."""

    def __init__(self, client: Client) -> None:
        self.batches = [[order({"teapot": 1}) for _ in range(BATCH)] for _ in range(STREAM_BATCHES)]
        self.answered: dict[int, list[orders_pb2.OrderResult]] = {}
        self.done: set[int] = set()
        self.some_done = asyncio.Event()
        self._stream = client.place_orders()
        self._tasks = [asyncio.ensure_future(self._write()), asyncio.ensure_future(self._read())]

    async def ended(self) -> grpc.StatusCode:
        await self._tasks[1]
        self._tasks[0].cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        code: grpc.StatusCode = await self._stream.code()
        return code

    def unanswered(self) -> list[orders_pb2.PlaceOrderRequest]:
        return [each for number, batch in enumerate(self.batches) if number not in self.done for each in batch]

    async def _write(self) -> None:
        for number, batch in enumerate(self.batches):
            await self._stream.write(orders_pb2.PlaceOrdersRequest(batch_id=number, orders=batch))
        await self._stream.done_writing()

    async def _read(self) -> None:
        async for answer in self._stream:
            self.answered.setdefault(answer.batch_id, []).extend(answer.results)
            if answer.done:
                self.done.add(answer.batch_id)
            if len(self.done) >= 5:
                self.some_done.set()


async def test_sigterm_drains_a_burst_and_a_stream(own_gateway: Embedded) -> None:
    process = own_gateway.process
    assert process.identity is not None
    async with connected([own_gateway.endpoint], 5) as clients:
        await create_skus(clients[0], ["teapot"], 1_000_000)
        buyer = StreamBuyer(clients[4])
        await buyer.some_done.wait()
        replies, signalled = await asyncio.gather(
            place_all(clients[:4], [order({"teapot": 1}) for _ in range(400)]),
            terminate_soon(process.identity.pid),
        )
        assert await buyer.ended() == grpc.StatusCode.OK, "the stream did not end cleanly"
        late = await ask(clients[0].place_order, order({"teapot": 1}), 2.0)
    assert await asyncio.to_thread(exit_code, own_gateway) == 0
    assert time.monotonic() - signalled < DRAIN_LIMIT_S

    # It may come before the connections are closed.
    assert late.code in {grpc.StatusCode.OK, *UNANSWERED}
    # gRPC itself cancels what it had not handed over yet; like UNAVAILABLE, that means: nothing was started.
    assert {reply.code for reply in replies} <= {grpc.StatusCode.OK, *UNANSWERED}
    assert len(buyer.done) < STREAM_BATCHES, "the stream was over before the signal"
    assert set(buyer.answered) == buyer.done, "a batch was answered in part"
    for number in buyer.done:
        assert {result.order_id for result in buyer.answered[number]} == {
            each.order_id for each in buyer.batches[number]
        }
        assert {result.outcome for result in buyer.answered[number]} == {orders_pb2.OUTCOME_ACCEPTED}

    await asyncio.to_thread(process.start)
    async with connected([own_gateway.endpoint], 4) as clients:
        unanswered = buyer.unanswered() + [reply.request for reply in [*replies, late] if reply.told != ACCEPTED]
        heard = {reply.request.order_id: reply.told for reply in [*replies, late]}
        for at in range(0, len(unanswered), 2_000):
            for reply in await place_all(clients, unanswered[at : at + 2_000]):
                assert reply.told == ACCEPTED
                first = heard.get(reply.request.order_id, "nothing, on the stream")
                assert not reply.response.replayed, f"it was placed, and its buyer heard {first}"
        for reply in replies:
            found = await ask(clients[0].get_order, orders_pb2.GetOrderRequest(order_id=reply.request.order_id))
            assert found.told == ACCEPTED
        total = STREAM_BATCHES * BATCH + len(replies) + 1
        assert (await quiet_stock(clients[0], ["teapot"]))["teapot"].sold == total
    report = await audit_files(own_gateway)
    assert report.findings == []
    assert report.orders == total


async def terminate_soon(pid: int) -> float:
    """While the burst comes in; returns when it was."""
    await asyncio.sleep(0.05)
    os.kill(pid, signal.SIGTERM)
    return time.monotonic()


def exit_code(embedded: Embedded) -> int:
    from deploy.local.processes import _children

    assert embedded.process.identity is not None
    return _children[embedded.process.identity.pid].wait(DRAIN_LIMIT_S + 5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_gateway_leaves_at_once(tmp_path: Path, number: signal.Signals) -> None:
    embedded = make_embedded(tmp_path)
    embedded.process.start()
    assert embedded.process.identity is not None
    os.kill(embedded.process.identity.pid, number)
    started = time.monotonic()
    assert exit_code(embedded) == 0
    assert time.monotonic() - started < 5.0
