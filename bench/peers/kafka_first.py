"""Kafka first: an order is a record, and one consumer decides in the order of the log.

On one partition the log is the truth: who reads it again from the start decides the same, so what is in the consumer's
memory need not be kept. On ten that does not hold, since nothing orders the partitions among each other.
"""

import asyncio
import threading
from collections.abc import Iterable
from typing import Any
from uuid import UUID, uuid4

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # as its documentation has it

TOPIC_LIMIT_S = 30.0
POLL_S = 0.1
FETCHED_AT_ONCE = 500

_RESTOCK = b"restock"


class KafkaFirstPeer:
    """See `bench.peers.protocol.Peer`. With `answer_on_append` yes means only that the order is in the log."""

    def __init__(self, bootstrap: str, topic: str, partitions: int, *, answer_on_append: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._topic = topic
        # One key is in one partition, so a hot SKU would use one of ten: then orders are spread by their ids.
        self._keyed_by_sku = partitions == 1
        self._answer_on_append = answer_on_append
        self._producer = Producer(
            {"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True, "linger.ms": 1}
        )
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": topic,
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
            }
        )
        self._consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
        self._left: dict[str, int] = {}
        self._decided: dict[UUID, bool] = {}
        self._waiting: dict[UUID, asyncio.Future[bool]] = {}
        self._closing = threading.Event()
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._deliver, self._consume)]
        for thread in self._threads:
            thread.start()

    async def add_stock(self, sku: str, units: int) -> None:
        await self._append(uuid4(), sku, units, _RESTOCK, until_decided=True)

    async def reserve(self, order_id: UUID, sku: str, quantity: int) -> bool:
        return await self._append(order_id, sku, quantity, b"", until_decided=not self._answer_on_append)

    async def close(self) -> None:
        await asyncio.to_thread(self._producer.flush)
        self._closing.set()
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        self._consumer.close()

    async def _append(self, order_id: UUID, sku: str, quantity: int, kind: bytes, *, until_decided: bool) -> bool:
        answer: asyncio.Future[bool] = self._loop.create_future()
        if until_decided:
            self._waiting[order_id] = answer

        def appended(error: KafkaError | None, message: Message) -> None:
            del message
            if error is not None or not until_decided:
                self._loop.call_soon_threadsafe(_resolve, answer, error)

        self._producer.produce(
            self._topic,
            key=sku.encode() if self._keyed_by_sku else order_id.bytes,
            value=b" ".join((order_id.bytes.hex().encode(), str(quantity).encode(), sku.encode(), kind)),
            on_delivery=appended,
        )
        return await answer

    def _deliver(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(POLL_S)

    def _consume(self) -> None:
        while not self._closing.is_set():
            # To wait for a whole list would make every order wait: for one record, and then what is there with it.
            first = self._consumer.poll(POLL_S)
            records = [first, *self._consumer.consume(FETCHED_AT_ONCE, 0)] if first else []
            decided = [self._decide(record.value()) for record in records if record.error() is None]
            if decided:
                # Once for a whole list: waking the loop costs more than a decision.
                self._loop.call_soon_threadsafe(self._tell, decided)

    def _decide(self, value: Any) -> tuple[UUID, bool]:
        order, quantity, sku, kind = value.split(b" ")
        order_id, name, units = UUID(order.decode()), sku.decode(), int(quantity)
        if kind == _RESTOCK:
            self._left[name] = self._left.get(name, 0) + units
            return order_id, True
        if order_id not in self._decided:
            self._decided[order_id] = self._left.get(name, 0) >= units
            if self._decided[order_id]:
                self._left[name] -= units
        return order_id, self._decided[order_id]

    def _tell(self, decided: Iterable[tuple[UUID, bool]]) -> None:
        for order_id, granted in decided:
            answer = self._waiting.pop(order_id, None)
            if answer is not None and not answer.done():
                answer.set_result(granted)


def _resolve(answer: "asyncio.Future[bool]", error: KafkaError | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(True)
    else:
        answer.set_exception(RuntimeError(str(error)))


async def open_deciding(address: str) -> KafkaFirstPeer:
    return await _open(address, 1, answer_on_append=False)


async def open_appending(address: str) -> KafkaFirstPeer:
    return await _open(address, 1, answer_on_append=True)


async def open_appending_to_ten(address: str) -> KafkaFirstPeer:
    return await _open(address, 10, answer_on_append=True)


async def _open(bootstrap: str, partitions: int, *, answer_on_append: bool) -> KafkaFirstPeer:
    topic = f"kafka-first-{uuid4().hex}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    made = admin.create_topics([NewTopic(topic, partitions, 1)])[topic]
    await asyncio.to_thread(made.result, TOPIC_LIMIT_S)
    return KafkaFirstPeer(bootstrap, topic, partitions, answer_on_append=answer_on_append)
