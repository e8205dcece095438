"""`sluice dlq`: what could not be handled, for people who decide what becomes of it."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple, NoReturn

import typer

from commands.data_dir import DATABASE_FILE
from commands.options import checked_kafka
from consumers.runtime.dead_letters import DeadLetterLog, Letter, Note, NoteKind, ParkedKey, Parking, read_open
from consumers.runtime.embedded import JournalDeadLetters
from consumers.runtime.handling import now_ms
from consumers.runtime.records import Unreadable
from journal.migration import DatabaseTooNew, DatabaseTooOld
from journal.sqlite import SqliteJournal
from journal.sqlite_consumers import SqliteConsumers
from sluice.errors import Unreachable
from sluice.sqlite_file import AlreadyServed, SqliteFile

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Look at dead letters, and decide what becomes of them."
)

EXIT_CANNOT_LOOK = 2
EXIT_NO_SUCH_KEY = 1

Kafka = Annotated[
    str, typer.Option(envvar="SLUICE_KAFKA", help="the cluster's Kafka, as in the settings", callback=checked_kafka)
]
DEFAULT_KAFKA = "127.0.0.1:9092"
DataDir = Annotated[
    Path | None,
    typer.Option(help="an embedded gateway's data instead; to replay or discard, stop it before"),
]
ConsumerName = Annotated[str, typer.Argument(help="the consumer group, such as lifecycle")]
Topic = Annotated[str, typer.Argument(help="the topic that the records came from")]
Key = Annotated[str, typer.Argument(help="the parked key, such as an order id")]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON object a line")]


@app.command(name="list")
def list_keys(*, kafka: Kafka = DEFAULT_KAFKA, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Every parked key: whose it is, how many records wait, and why."""
    rows = _run(_list(Where(kafka, data_dir)))
    for consumer, topic, key, parked in rows:
        shown = {
            "consumer": consumer,
            "topic": topic,
            "key": key,
            "letters": len(parked.letters),
            "replay_wanted": parked.replay_wanted,
            "error": parked.error,
        }
        typer.echo(json.dumps(shown) if as_json else "  ".join(str(value) for value in shown.values()))
    if not rows and not as_json:
        typer.echo("no key is parked")


@app.command()
def show(
    consumer: ConsumerName,
    topic: Topic,
    key: Key,
    *,
    kafka: Kafka = DEFAULT_KAFKA,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """The records of one key, in order."""
    letters = _run(_show(Where(kafka, data_dir), consumer, topic, key))
    if not letters:
        _no_such_key(consumer, topic, key)
    for place, letter in letters:
        shown = as_object(place, letter)
        typer.echo(json.dumps(shown) if as_json else "\n".join(f"{name}: {value}" for name, value in shown.items()))


@app.command()
def replay(
    consumer: ConsumerName, topic: Topic, key: Key, *, kafka: Kafka = DEFAULT_KAFKA, data_dir: DataDir = None
) -> None:
    """Has the consumer handle the key's records now, in order. The key goes on if that works; if not, see `list`."""
    _run(_note(Where(kafka, data_dir), consumer, topic, key, NoteKind.REPLAY))
    typer.echo(f"{consumer} will handle the records of {key} in order; see `sluice dlq list`")


@app.command()
def discard(
    consumer: ConsumerName, topic: Topic, key: Key, *, kafka: Kafka = DEFAULT_KAFKA, data_dir: DataDir = None
) -> None:
    """Forgets the key's records: they are never handled, and the key goes on with what comes after them."""
    parked = _run(_note(Where(kafka, data_dir), consumer, topic, key, NoteKind.DISCARDED))
    typer.echo(f"{len(parked.letters)} record(s) of {key} discarded")


class Where(NamedTuple):
    """Dead letters are in Kafka, or with `data_dir` in an embedded gateway's file."""

    kafka: str
    data_dir: Path | None


async def _list(where: Where) -> list[tuple[str, str, str, ParkedKey]]:
    rows = []
    for topic, consumer in await _logs(where):
        async with _opened(where, consumer) as log:
            rows += [(consumer, topic, key, parked) for key, parked in (await read_open(log, topic)).items()]
    return rows


async def _show(where: Where, consumer: str, topic: str, key: str) -> Sequence[tuple[int, Letter]]:
    async with _opened(where, consumer) as log:
        parking = Parking(log, [topic])
        await parking.catch_up()
        return await parking.letters(topic, key)


async def _note(where: Where, consumer: str, topic: str, key: str, kind: NoteKind) -> ParkedKey:
    async with _opened(where, consumer, to_write=True) as log:
        parked = (await read_open(log, topic)).get(key)
        if parked is None:
            _no_such_key(consumer, topic, key)
        await log.append(topic, [Note(kind, key, parked.letters[-1], "", now_ms())])
        return parked


async def _logs(where: Where) -> Sequence[tuple[str, str]]:
    """(topic, consumer)"""
    if where.data_dir is None:
        from consumers.runtime.kafka_dead_letters import dead_letter_topics  # noqa: PLC0415 - loads the Kafka client

        return await dead_letter_topics(where.kafka)
    async with _opened_file(where.data_dir, to_write=False) as notes:
        return await notes.logs()


@asynccontextmanager
async def _opened(where: Where, consumer: str, *, to_write: bool = False) -> AsyncIterator[DeadLetterLog]:
    if where.data_dir is not None:
        async with _opened_file(where.data_dir, to_write=to_write) as notes:
            yield JournalDeadLetters(notes, consumer)
        return
    from consumers.runtime.kafka_dead_letters import KafkaDeadLetters  # noqa: PLC0415

    log = KafkaDeadLetters(where.kafka, consumer, replication_factor=1)
    try:
        yield log
    finally:
        await log.close()


@asynccontextmanager
async def _opened_file(data_dir: Path, *, to_write: bool) -> AsyncIterator[SqliteConsumers]:
    path = data_dir / DATABASE_FILE
    file = await (SqliteFile.open(path) if to_write else SqliteFile.open_read_only(path))
    try:
        await SqliteJournal.open(file)
        yield SqliteConsumers(file)
    finally:
        await file.close()


def as_object(place: int, letter: Letter) -> dict[str, Any]:
    record = letter.record
    shown: dict[str, Any] = {
        "place": place,
        "partition": record.partition,
        "offset": record.offset,
        "error": letter.error_type,
        "message": letter.error_message,
        "attempts": letter.attempts,
        "failed_at": datetime.fromtimestamp(letter.time_ms / 1000, UTC).isoformat(timespec="milliseconds"),
    }
    if isinstance(record, Unreadable):
        return shown | {"value": (record.value or b"").hex()}
    event = record.event
    return shown | {"id": event.event_id, "type": event.event_type, "value": event.value.hex()}


def _run(work: Any) -> Any:
    try:
        return asyncio.run(work)
    except (Unreachable, AlreadyServed, DatabaseTooNew, DatabaseTooOld, OSError) as error:
        typer.echo(f"cannot read the dead letters: {error}", err=True)
        raise typer.Exit(EXIT_CANNOT_LOOK) from error


def _no_such_key(consumer: str, topic: str, key: str) -> NoReturn:
    typer.echo(f"{consumer} has no parked key {key!r} of {topic}", err=True)
    raise typer.Exit(EXIT_NO_SUCH_KEY)
