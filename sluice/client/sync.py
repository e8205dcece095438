"""The client for programs without asyncio: the same calls, from any number of threads.

One thread of its own runs the event loop of an asynchronous client; what threads place at the same time travels
together. Make it after a process has forked, not before.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Coroutine, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID

from sluice.client import client as aio
from sluice.client.answers import Consistency, Order, Placed, QueuePosition, SkuSummary, Stock, StockPolicy
from sluice.client.errors import Unavailable
from sluice.client.retrying import CLOSED
from sluice.tls_files import Tls

Answer = TypeVar("Answer")
Item = TypeVar("Item")


class Client:
    """As `sluice.client.Client`, which says what each call does and raises; here each call blocks its thread:

    with Client("127.0.0.1:50051") as client:
        placed = client.place("mug", 2, customer="ada")
    """

    def __init__(self, target: str, *, tls: Tls | None = None, timeout_s: float = aio.DEFAULT_TIMEOUT_S) -> None:
        self._client = aio.Client(target, tls=tls, timeout_s=timeout_s)
        self._closing = threading.Lock()
        self._closed = False

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sluice-client", daemon=True)
        self._thread.start()
        self._wait(self._client.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Other threads that still wait are told Unavailable / `CLOSED`."""
        del kind, error, trace
        with self._closing:
            self._closed = True
        try:
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def place(
        self, sku: str, quantity: int = 1, *, customer: str, priority: int = 0, timeout_s: float | None = None
    ) -> Placed:
        return self._wait(self._client.place(sku, quantity, customer=customer, priority=priority, timeout_s=timeout_s))

    def place_order(
        self,
        lines: Mapping[str, int],
        *,
        customer: str,
        order_id: str | UUID | None = None,
        hold: timedelta | None = None,
        priority: int = 0,
        timeout_s: float | None = None,
    ) -> Placed:
        return self._wait(
            self._client.place_order(
                lines, customer=customer, order_id=order_id, hold=hold, priority=priority, timeout_s=timeout_s
            )
        )

    def queue_order(
        self,
        lines: Mapping[str, int],
        *,
        customer: str,
        order_id: str | UUID | None = None,
        hold: timedelta | None = None,
        priority: int = 0,
        timeout_s: float | None = None,
    ) -> Order:
        return self._wait(
            self._client.queue_order(
                lines, customer=customer, order_id=order_id, hold=hold, priority=priority, timeout_s=timeout_s
            )
        )

    def get(
        self, order_id: str | UUID, *, queue_position: QueuePosition | None = None, timeout_s: float | None = None
    ) -> Order:
        return self._wait(self._client.get(order_id, queue_position=queue_position, timeout_s=timeout_s))

    def cancel(self, order_id: str | UUID, *, timeout_s: float | None = None) -> Order:
        return self._wait(self._client.cancel(order_id, timeout_s=timeout_s))

    def confirm(self, order_id: str | UUID, *, timeout_s: float | None = None) -> Order:
        return self._wait(self._client.confirm(order_id, timeout_s=timeout_s))

    def watch(
        self,
        order_id: str | UUID,
        *,
        after_version: int = 0,
        queue_position: QueuePosition | None = None,
        timeout_s: float | None = None,
    ) -> Iterator[Order]:
        return self._iterate(
            self._client.watch(
                order_id, after_version=after_version, queue_position=queue_position, timeout_s=timeout_s
            )
        )

    def list_orders(self, *, customer: str | None = None, timeout_s: float | None = None) -> Iterator[Order]:
        return self._iterate(self._client.list_orders(customer=customer, timeout_s=timeout_s))

    def create_sku(
        self,
        sku: str,
        units: int,
        *,
        policy: StockPolicy = StockPolicy.UNKNOWN,
        owners: int = 1,
        timeout_s: float | None = None,
    ) -> None:
        self._wait(self._client.create_sku(sku, units, policy=policy, owners=owners, timeout_s=timeout_s))

    def restock(
        self, sku: str, units: int, *, restock_id: str | UUID | None = None, timeout_s: float | None = None
    ) -> None:
        self._wait(self._client.restock(sku, units, restock_id=restock_id, timeout_s=timeout_s))

    def withdraw(
        self, sku: str, units: int, *, withdrawal_id: str | UUID | None = None, timeout_s: float | None = None
    ) -> None:
        self._wait(self._client.withdraw(sku, units, withdrawal_id=withdrawal_id, timeout_s=timeout_s))

    def stock(
        self, sku: str, *, consistency: Consistency = Consistency.QUORUM, timeout_s: float | None = None
    ) -> Stock:
        return self._wait(self._client.stock(sku, consistency=consistency, timeout_s=timeout_s))

    def watch_stock(self, sku: str, *, timeout_s: float | None = None) -> Iterator[Stock]:
        return self._iterate(self._client.watch_stock(sku, timeout_s=timeout_s))

    def list_skus(self, *, timeout_s: float | None = None) -> Iterator[SkuSummary]:
        return self._iterate(self._client.list_skus(timeout_s=timeout_s))

    def _wait(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        with self._closing:
            if self._closed:
                work.close()
                raise Unavailable(CLOSED, outcome_unknown=False)
            waiting: Future[Answer] = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return waiting.result()
        except CancelledError as error:
            raise Unavailable(CLOSED) from error
        except BaseException:
            waiting.cancel()  # Ctrl-C in this thread; harmless if it is the work's own error
            raise

    async def _close(self) -> None:
        """Nothing is left that a thread could wait for."""
        await self._client.__aexit__(None, None, None)
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _iterate(self, items: AsyncGenerator[Item, None]) -> Iterator[Item]:
        try:
            while (item := self._wait(_next(items))) is not None:
                yield item
        finally:
            if not self._closed:
                self._wait(items.aclose())


async def _next(items: AsyncGenerator[Item, None]) -> Item | None:
    """None at the end."""
    return await anext(items, None)
