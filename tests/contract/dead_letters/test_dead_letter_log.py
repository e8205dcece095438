"""Dead letters: what is appended is read back as it was, in order, by place; in Kafka and in an embedded journal."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from consumers.runtime.dead_letters import DeadLetterLog, Letter, Note, NoteKind, Parking, read_open
from consumers.runtime.embedded import JournalDeadLetters
from consumers.runtime.kafka_dead_letters import KafkaDeadLetters, dead_letter_topics
from journal.sqlite import SqliteJournal
from journal.sqlite_consumers import SqliteConsumers
from sluice.seams.event_log import Event, LoggedEvent, Position
from sluice.sqlite_file import SqliteFile
from sluice.trace_context import TraceContext

JOURNAL = uuid4()
TOPIC = "order-created"


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.servers)])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[DeadLetterLog]:
    if request.param == "sqlite":
        file = await SqliteFile.open(tmp_path / "journal.db")
        await SqliteJournal.open(file)
        yield JournalDeadLetters(SqliteConsumers(file), "mailer")
        await file.close()
        return
    opened = KafkaDeadLetters(
        request.getfixturevalue("kafka_bootstrap"), f"mailer-{uuid4().hex[:8]}", replication_factor=1
    )
    yield opened
    await opened.close()


def letter(key: str, number: int, trace: TraceContext | None = None) -> Letter:
    event = Event(
        TOPIC, key, b"\x00\xffvalue", f"{key}/{number}", "test", 1_234_567, Position(JOURNAL, number, 2), trace
    )
    return Letter(LoggedEvent(event, 0, number * 10), key, "ValueError", "cannot: \u00fc", 5, 1_700_000_000_000)


async def test_nothing_is_there_at_first(log: DeadLetterLog) -> None:
    assert await log.read(TOPIC, -1) == []


async def test_letters_and_notes_are_read_back_in_order(log: DeadLetterLog) -> None:
    traces = [TraceContext(f"00-{'4b' * 16}-{'00f0' * 4}-01", state) for state in ("", "shop=1")]
    entries = [
        letter("a", 1, traces[0]),
        letter("b", 2, traces[1]),
        Note(NoteKind.REPLAY, "a", 0, "", 7),
        letter("a", 3),
    ]
    places = [*await log.append(TOPIC, entries[:2]), *await log.append(TOPIC, entries[2:])]
    assert places == sorted(set(places))
    found = []
    after = -1
    while read := await log.read(TOPIC, after):
        found += read
        after = read[-1][0]
    assert found == list(zip(places, entries, strict=True))
    assert await log.read(TOPIC, places[-1]) == []


async def test_parking_finds_what_another_has_written(log: DeadLetterLog) -> None:
    writing = Parking(log, [TOPIC])
    await writing.catch_up()
    await writing.bury(TOPIC, [letter("a", 1), letter("a", 2)])
    await writing.bury(TOPIC, [letter("a", 2)])  # again after a crash: it is there already
    reading = Parking(log, [TOPIC])
    await reading.catch_up()
    assert reading.is_parked(TOPIC, "a")
    assert [each.record for _, each in await reading.letters(TOPIC, "a")] == [
        letter("a", 1).record,
        letter("a", 2).record,
    ]
    (last,) = await log.append(TOPIC, [letter("b", 9)])
    await log.append(TOPIC, [Note(NoteKind.DISCARDED, "a", last, "", 0)])
    assert list(await read_open(log, TOPIC)) == ["b"]


@pytest.mark.servers
async def test_the_topics_of_dead_letters_are_found(kafka_bootstrap: str) -> None:
    group = f"mailer-{uuid4().hex[:8]}"
    log = KafkaDeadLetters(kafka_bootstrap, group, replication_factor=1)
    await log.append(TOPIC, [letter("a", 1)])
    assert (TOPIC, group) in await dead_letter_topics(kafka_bootstrap)
    await log.close()
