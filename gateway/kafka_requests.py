"""The queue on Kafka: the topic `order-requested`, written with an explicit partition, and looked into by position."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from gateway.kafka_looking import KafkaLooking
from sluice.cloud_events import request_headers
from sluice.errors import LogUnreachable
from sluice.kafka_client import client_properties
from sluice.kafka_topics import CLIENT_LOG_LEVEL, ORDER_REQUESTED_PARTITIONS
from sluice.model import QueuePosition
from sluice.order_requests import (
    TYPE_ORDER_REQUESTED,
    NoOrderRequest,
    OrderRequest,
    decode_request,
    encode_request,
    queue_key,
    request_event_id,
)
from sluice.seams.event_log import TOPIC_ORDER_REQUESTED
from sluice.seams.request_log import QueuedOrder
from sluice.slots import slot_of_sku

LINGER_MS = 2
"""A batch of orders is handed over whole; this much lets its messages leave together, per partition."""

MESSAGE_LIMIT_MS = 1_200
"""Then an order counts as not queued, and its caller hears so within two seconds. It may stand in the queue all the
same: sending it again is harmless."""

POLL_S = 0.05
"""Longest sleep of the thread that takes acknowledgements; it only delays closing."""

CLOSE_LIMIT_S = 2.0

PING_LIMIT_S = 0.9
"""For one look at the topics."""

QUEUE_MESSAGES = 100_000
"""Several times what may be in flight."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_log = structlog.get_logger(__name__)
_kafka_logger = logging.getLogger("sluice.kafka")


class _Appending:
    """One call of `append`. Touched by the poll thread only, once all its messages are enqueued."""

    __slots__ = ("done", "error", "left", "positions")

    def __init__(self, requests: int, done: "asyncio.Future[None]") -> None:
        self.positions = [QueuePosition(0, -1)] * requests
        self.left = requests
        self.error: str | None = None
        self.done = done


class KafkaRequests:
    """See `sluice.seams.request_log.RequestLog`."""

    def __init__(self, bootstrap: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._bootstrap = bootstrap
        self._closing = False
        self._looking = KafkaLooking(bootstrap)
        self._waiting: set[asyncio.Future[None]] = set()
        self._broken = False
        self._producer = self._new_producer()
        self._poll_thread = threading.Thread(target=self._poll, name="kafka-requests", daemon=True)
        self._poll_thread.start()

    def _new_producer(self) -> Producer:
        return Producer(
            {
                **client_properties(self._bootstrap),
                # acks=all, and no message twice or out of order when a request is sent again.
                "enable.idempotence": True,
                "linger.ms": LINGER_MS,
                "message.timeout.ms": MESSAGE_LIMIT_MS,
                "compression.type": "lz4",
                "batch.num.messages": 10_000,
                "queue.buffering.max.messages": QUEUE_MESSAGES,
                # Orders are taken in again this soon after a broker is back; the default is 10 s.
                "reconnect.backoff.max.ms": 500,
                "error_cb": self._client_error,
                "log_level": CLIENT_LOG_LEVEL,
            },
            logger=_kafka_logger,
        )

    async def append(self, requests: Sequence[OrderRequest]) -> Sequence[QueuePosition]:
        if self._broken:
            # It has given up for good, as after a broker that has lost what it acknowledged. What it still had in hand
            # is unknown, and its callers hear so when their time is up.
            self._producer = self._new_producer()
            self._broken = False
        done: asyncio.Future[None] = self._loop.create_future()
        appending = _Appending(len(requests), done)
        self._waiting.add(done)
        try:
            for index, request in enumerate(requests):
                self._produce(request, index, appending)
            await done
        except (BufferError, KafkaException) as error:
            raise LogUnreachable(str(error), outcome_unknown=True) from error
        finally:
            self._waiting.discard(done)
        if appending.error is not None:
            raise LogUnreachable(appending.error, outcome_unknown=True)
        return appending.positions

    def _produce(self, request: OrderRequest, index: int, appending: _Appending) -> None:
        order, taken_in = request
        key = queue_key(order.lines)

        def reported(error: KafkaError | None, message: Message) -> None:
            self._reported(appending, index, error, message)

        self._producer.produce(
            TOPIC_ORDER_REQUESTED,
            encode_request(order, taken_in),
            key,
            slot_of_sku(key) % ORDER_REQUESTED_PARTITIONS,
            reported,
            headers=request_headers(
                request_event_id(order.order_id), TYPE_ORDER_REQUESTED, _milliseconds(taken_in), order.trace
            ),
        )

    def _reported(self, appending: _Appending, index: int, error: KafkaError | None, message: Message) -> None:
        """In the poll thread."""
        partition, offset = message.partition(), message.offset()
        if error is not None:
            appending.error = appending.error or str(error)
        elif partition is None or offset is None:
            # The client concludes it from a later acknowledgement of the partition, which in one that is new to it may
            # be wrong (relay/opened_partitions.py): it is on the log only if a broker says where.
            appending.error = appending.error or "acknowledged without its place"
        else:
            appending.positions[index] = QueuePosition(partition, offset)
        appending.left -= 1
        if not appending.left:
            # The loop may be gone when the process ends without closing.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(_finish, appending.done)

    async def find(self, order_id: str, position: QueuePosition | None) -> QueuedOrder | None:
        if position is None or not 0 <= position.partition < ORDER_REQUESTED_PARTITIONS:
            return None
        value = await self._looking.look(position)
        try:
            request = decode_request(value or b"")
        except NoOrderRequest:
            return None
        return QueuedOrder(request, position) if request.order.order_id == order_id else None

    async def ping(self) -> None:
        await asyncio.to_thread(self._ping)

    def _ping(self) -> None:
        try:
            topics = self._producer.list_topics(timeout=PING_LIMIT_S).topics
        except KafkaException as error:
            raise LogUnreachable(str(error)) from error
        topic = topics.get(TOPIC_ORDER_REQUESTED)
        if topic is None or len(topic.partitions) < ORDER_REQUESTED_PARTITIONS:
            raise LogUnreachable(
                f"there is no topic {TOPIC_ORDER_REQUESTED} of {ORDER_REQUESTED_PARTITIONS} partitions"
            )

    async def close(self) -> None:
        """What is not acknowledged yet is not waited for: its callers hear that it is unknown."""
        self._closing = True
        await asyncio.to_thread(self._end)
        for done in self._waiting:
            if not done.done():
                done.set_exception(LogUnreachable("the queue was closed", outcome_unknown=True))

    def _end(self) -> None:
        self._producer.purge()
        self._poll_thread.join(CLOSE_LIMIT_S)
        self._looking.close()

    def _poll(self) -> None:
        while not self._closing:
            try:
                self._producer.poll(POLL_S)
            except KafkaException as error:
                self._fail(str(error))
                time.sleep(POLL_S)

    def _client_error(self, error: KafkaError) -> None:
        """Called by the poll thread. Brokers that are away are told by whoever is waiting for them."""
        if error.fatal():
            self._fail(str(error))

    def _fail(self, reason: str) -> None:
        if not self._broken:
            self._broken = True
            _log.error("kafka_client_failed", error=reason)


def _finish(done: "asyncio.Future[None]") -> None:
    if not done.done():
        done.set_result(None)


def _milliseconds(time: datetime) -> int:
    return round((time - _EPOCH).total_seconds() * 1000)
