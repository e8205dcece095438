"""The stage: a broker, a journal, and processes that are started, stopped and killed; each writes its log to a file."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from sluice.kafka_topics import list_topics
from sluice.seams.event_log import TOPIC_ORDER_CREATED, TOPIC_STOCK_CHANGED

ROOT = Path(__file__).parents[2]
TOPICS = (TOPIC_ORDER_CREATED, TOPIC_STOCK_CHANGED)
FIRST_PARTITIONS = 8

STOP_LIMIT_S = 30.0
LOOK_S = 0.02
LAST_WORDS_BYTES = 4_000
"""Of a member that does not do what is waited for: enough for a traceback."""


class Member(NamedTuple):
    """A process that was started, whether or not it lives."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def says(self, words: str) -> bool:
        return words in self.log.read_text(errors="replace")

    async def until_says(self, words: str) -> None:
        try:
            await until(lambda: self.says(words) or not self.alive, f"{self.name} says {words}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it said last: {self.said_last()}") from error
        assert self.says(words), f"{self.name} ended with {self.process.returncode}: {self.said_last()}"

    def said_last(self) -> str:
        return self.log.read_text(errors="replace")[-LAST_WORDS_BYTES:]

    def kill(self) -> None:
        """As when its machine goes: nothing is told to anybody."""
        self.process.kill()
        self.process.wait()

    async def leave(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        status = await asyncio.to_thread(self.process.wait, STOP_LIMIT_S)
        assert status == 0, f"{self.name} ended with {status}, see {self.log}"


class Scene:
    def __init__(self, bootstrap: str, journal_url: str, cassandra: str, directory: Path) -> None:
        self.bootstrap = bootstrap
        self.journal_url = journal_url
        self.cassandra = cassandra
        self.directory = directory
        self.members: list[Member] = []

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {
            "SLUICE_KAFKA": self.bootstrap,
            "SLUICE_JOURNAL_URL": self.journal_url,
            "SLUICE_CASSANDRA": self.cassandra,
            "SLUICE_KEYSPACE": "growing",
            "SLUICE_PARTITIONS": str(FIRST_PARTITIONS),
            "SLUICE_LOG_FORMAT": "json",
        }

    def handled_by(self, group: str) -> Path:
        return self.directory / f"handled-by-{group}"

    def start_relay(self) -> Member:
        return self._start("relay", ["commands.main", "relay"], {})

    def start_sink(self, group: str) -> Member:
        """A member of a group that writes down what it handles."""
        own = {"SINK_FILE": str(self.handled_by(group)), "SLUICE_GROUP": group, "SLUICE_TOPICS": ",".join(TOPICS)}
        return self._start(group, ["commands.main", "consume", "tests.integration.consumer_sink:handle"], own)

    def start_projection(self) -> Member:
        return self._start("projection", ["commands.main", "consume", "projection"], {})

    def _start(self, name: str, module: list[str], own: dict[str, str]) -> Member:
        log = self.directory / f"{name}-{len(self.members)}.log"
        with log.open("wb") as file:
            command = [sys.executable, "-m", *module]
            process = subprocess.Popen(command, cwd=ROOT, env=self.environment | own, stdout=file, stderr=file)
        member = Member(name, process, log)
        self.members.append(member)
        return member

    def alive(self, name: str) -> list[Member]:
        return [member for member in self.members if member.name == name and member.alive]

    def leader(self) -> Member | None:
        return next((relay for relay in self.alive("relay") if relay.says('"relay_leads"')), None)

    async def run(self, *arguments: str) -> str:
        """A command of Sluice's, to its end; what it printed. What it said of its way is in the file `commands.log`."""
        process = await self.begin(*arguments)
        assert process.stdout is not None
        assert process.stderr is not None
        said: list[str] = []
        with (self.directory / "commands.log").open("a") as log:
            async for line in process.stderr:
                said.append(f"{time.time():.2f} {line.decode()}")
                log.write(said[-1])
                log.flush()
        out = (await process.stdout.read()).decode()
        assert await process.wait() == 0, (arguments, out, said)
        return out

    async def begin(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "commands.main", *arguments,
            cwd=ROOT, env=self.environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def until_topics(self) -> None:
        async with asyncio.timeout(STOP_LIMIT_S):
            while not set(TOPICS) <= (await list_topics(self.bootstrap)).keys():  # noqa: ASYNC110 - the relay's work
                await asyncio.sleep(LOOK_S)

    async def time_by_the_broker(self) -> None:
        """Records bear the time at which they were appended, so that an observer need not be quick."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        entry = ConfigEntry("message.timestamp.type", "LogAppendTime", incremental_operation=AlterConfigOpType.SET)
        wanted = [ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry]) for topic in TOPICS]
        for changed in admin.incremental_alter_configs(wanted).values():
            await asyncio.to_thread(changed.result, STOP_LIMIT_S)

    def kill_all(self) -> None:
        for member in self.members:
            member.kill()


@contextmanager
def opened(bootstrap: str, journal_url: str, cassandra: str, directory: Path) -> Iterator[Scene]:
    scene = Scene(bootstrap, journal_url, cassandra, directory)
    try:
        yield scene
    finally:
        scene.kill_all()


async def until(condition: Callable[[], bool], what: str, limit_s: float = 60.0) -> float:
    """Seconds that it took. What is waited for happens in another process, so it can only be looked at."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < limit_s, f"not after {limit_s:g} s: {what}"
        await asyncio.sleep(LOOK_S)
    return time.monotonic() - began
