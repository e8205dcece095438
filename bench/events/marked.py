"""Events that say when they were sent, and which of its key each is, for measuring what becomes of them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event as Flag
from threading import Thread
from typing import NamedTuple
from uuid import UUID

from confluent_kafka import Producer

from bench.events.brokers import Brokers
from bench.events.producing import FLUSH_LIMIT_S, RELAY, open_producer
from sluice.cloud_events import HeaderWriter
from sluice.seams.event_log import Event, LoggedEvent, Position
from sluice.slots import slot_of

JOURNAL = UUID(int=2)
_FIRST_NUMBER = 1


class Mark(NamedTuple):
    """`turn` counts the events of the key from 0; `sent` is the clock `time.perf_counter` of this machine."""

    key: str
    turn: int
    sent: float


def mark_of(logged: LoggedEvent) -> Mark:
    turn, sent = logged.event.value.split()
    return Mark(logged.event.key, int(turn), float(sent))


class MarkedProducer:
    """Writes them over `keys` keys in turn, placed by slot."""

    def __init__(self, brokers: Brokers, topic: str, partitions: int, keys: int) -> None:
        names = [f"key-{number}" for number in range(keys)]
        self._seats = [(name, slot_of(name) % partitions) for name in names]
        self._producer: Producer = open_producer(brokers, RELAY | {"linger.ms": 5})
        self._headers = HeaderWriter()
        self._topic = topic
        self.written = 0

    def write(self, count: int) -> None:
        time_ms = time.time_ns() // 1_000_000
        for number in range(self.written, self.written + count):
            key, partition = self._seats[number % len(self._seats)]
            value = f"{number // len(self._seats)} {time.perf_counter()}".encode()
            position = Position(JOURNAL, _FIRST_NUMBER, number)
            event = Event(self._topic, key, value, str(number), "sluice.bench.marked.v1", time_ms, position)
            while True:
                try:
                    self._producer.produce(self._topic, value, key, partition, headers=self._headers.headers(event))
                    break
                except BufferError:
                    self._producer.poll(0.005)
        self.written += count
        self._producer.poll(0)

    def flush(self) -> None:
        left = self._producer.flush(FLUSH_LIMIT_S)
        assert not left, f"{left} events were not acknowledged"


TICK_S = 0.02


@contextmanager
def steadily(producer: MarkedProducer, rate_per_s: int) -> Iterator[None]:
    """Writes at this rate from a thread until the block ends; then all of it is acknowledged."""
    ended = Flag()

    def write() -> None:
        started, before = time.perf_counter(), producer.written
        while not ended.wait(TICK_S):
            due = int((time.perf_counter() - started) * rate_per_s)
            producer.write(due - (producer.written - before))

    thread = Thread(target=write, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        producer.flush()
