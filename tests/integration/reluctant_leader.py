"""A broker that does not lead a partition yet when the first records for it come, and does when the second ones come.

It stands before a real broker as a proxy, which answers the first produce request itself. That is what a broker says
that knows from the metadata that it is the leader, and has not opened the partition yet: some milliseconds after a
topic was made or a leader was elected.
"""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

PRODUCE = 0
PRODUCE_VERSIONS = (9, 10)
"""That are read and answered here: what the client sends to a broker of today."""

NOT_LEADER_OR_FOLLOWER = 6
PATIENCE_S = 1.0
"""For the second request; a client that waits for the first one's answer does not send it."""


class Produce(NamedTuple):
    """What a produce request of one partition says at its beginning."""

    correlation: int
    topic: str
    partition: int

    def refused(self) -> bytes:
        """The answer."""
        name = self.topic.encode()
        of_partition = struct.pack(">ihqqq", self.partition, NOT_LEADER_OR_FOLLOWER, -1, -1, -1) + b"\x01\x00\x00"
        body = b"\x02" + bytes([len(name) + 1]) + name + b"\x02" + of_partition + b"\x00" + struct.pack(">i", 0)
        return struct.pack(">i", self.correlation) + b"\x00" + body + b"\x00"


class ReluctantLeader:
    """Of one topic; others pass. `asked`: the first request is here, and waits for the second one. `refusals`: how many
    were refused, `overtaken`: while a second one was under way.
    """

    def __init__(self, host: str, broker_host: str, port: int, topic: str) -> None:
        self._host = host
        self._broker_host = broker_host
        self._port = port
        self._topic = topic
        self._refused: set[int] = set()
        self.asked = asyncio.Event()
        self.refusals = 0
        self.overtaken = 0

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        connections: set[asyncio.Task[None]] = set()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.add(asyncio.ensure_future(self._serve(reader, writer)))

        server = await asyncio.start_server(connected, self._host, self._port)
        try:
            yield
        finally:
            server.close()
            for task in connections:
                task.cancel()
            await asyncio.gather(*connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        broker_reader, broker_writer = await asyncio.open_connection(self._broker_host, self._port)
        requests: asyncio.Queue[bytes | None] = asyncio.Queue()
        reading = asyncio.ensure_future(_read_all(reader, requests))
        try:
            while (request := await requests.get()) is not None:
                produce = _read_produce(request)
                if produce is not None and produce.topic == self._topic and produce.partition not in self._refused:
                    self._refused.add(produce.partition)
                    await self._wait_for_second(requests, produce)
                    answer = produce.refused()
                else:
                    broker_writer.write(_framed(request))
                    answer = await _read_frame(broker_reader)
                writer.write(_framed(answer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            reading.cancel()
            broker_writer.close()
            writer.close()

    async def _wait_for_second(self, requests: "asyncio.Queue[bytes | None]", first: Produce) -> None:
        """Answers come in the order of the requests, so what came meanwhile stays in order."""
        self.refusals += 1
        self.asked.set()
        waiting: list[bytes | None] = []
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    request = await requests.get()
                    waiting.append(request)
                    produce = _read_produce(request or b"")
                    if produce is not None and (produce.topic, produce.partition) == (first.topic, first.partition):
                        self.overtaken += 1
                        break
        except TimeoutError:
            pass
        newer = [requests.get_nowait() for _ in range(requests.qsize())]
        for request in (*waiting, *newer):
            requests.put_nowait(request)


async def _read_all(reader: asyncio.StreamReader, requests: "asyncio.Queue[bytes | None]") -> None:
    try:
        while True:
            requests.put_nowait(await _read_frame(reader))
    except (asyncio.IncompleteReadError, ConnectionError):
        requests.put_nowait(None)


async def _read_frame(reader: asyncio.StreamReader) -> bytes:
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    return await reader.readexactly(size)


def _framed(message: bytes) -> bytes:
    return struct.pack(">i", len(message)) + message


def _read_produce(request: bytes) -> Produce | None:
    """None if it is another request."""
    if len(request) < 10 or struct.unpack_from(">h", request)[0] != PRODUCE:
        return None
    version, correlation, client_bytes = struct.unpack_from(">hih", request, 2)
    assert version in PRODUCE_VERSIONS, f"produce requests of version {version} are not understood here"
    at = 10 + max(0, client_bytes) + 1  # no tags
    assert request[at] == 0, "a transaction"
    at += 1 + 2 + 4  # acks, time limit
    assert request[at] == 2, "not one topic"
    name_bytes = request[at + 1] - 1
    topic = request[at + 2 : at + 2 + name_bytes].decode()
    at += 2 + name_bytes
    assert request[at] == 2, "not one partition"
    (partition,) = struct.unpack_from(">i", request, at + 1)
    return Produce(correlation, topic, partition)
