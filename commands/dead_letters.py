"""`sluice dlq`: what could not be handled, for people who decide what becomes of it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn

import typer

from consumers.runtime.dead_letters import DeadLetterLog, Letter, Note, NoteKind, ParkedKey, Parking, read_open
from consumers.runtime.records import Unreadable
from sluice.errors import LogUnreachable

app = typer.Typer(no_args_is_help=True, help="Look at dead letters, and decide what becomes of them.")

EXIT_CANNOT_LOOK = 2
EXIT_NO_SUCH_KEY = 1

Kafka = Annotated[str, typer.Option(envvar="SLUICE_KAFKA", help="the cluster's Kafka, host:port")]
DEFAULT_KAFKA = "127.0.0.1:9092"
ConsumerName = Annotated[str, typer.Argument(help="the consumer group, such as lifecycle")]
Topic = Annotated[str, typer.Argument(help="the topic that the records came from")]
Key = Annotated[str, typer.Argument(help="the parked key, such as an order id")]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON object a line")]


@app.command(name="list")
def list_keys(*, kafka: Kafka = DEFAULT_KAFKA, as_json: AsJson = False) -> None:
    """Every parked key: whose it is, how many records wait, and why."""
    rows = _run(_list(kafka))
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
    consumer: ConsumerName, topic: Topic, key: Key, *, kafka: Kafka = DEFAULT_KAFKA, as_json: AsJson = False
) -> None:
    """The records of one key, in order."""
    letters = _run(_show(kafka, consumer, topic, key))
    if not letters:
        _no_such_key(consumer, topic, key)
    for place, letter in letters:
        shown = as_object(place, letter)
        typer.echo(json.dumps(shown) if as_json else "\n".join(f"{name}: {value}" for name, value in shown.items()))


@app.command()
def replay(consumer: ConsumerName, topic: Topic, key: Key, *, kafka: Kafka = DEFAULT_KAFKA) -> None:
    """Has the consumer handle the key's records now, in order. The key goes on if that works; if not, see `list`."""
    _run(_note(kafka, consumer, topic, key, NoteKind.REPLAY))
    typer.echo(f"{consumer} will handle the records of {key} in order; see `sluice dlq list`")


@app.command()
def discard(consumer: ConsumerName, topic: Topic, key: Key, *, kafka: Kafka = DEFAULT_KAFKA) -> None:
    """Forgets the key's records: they are never handled, and the key goes on with what comes after them."""
    parked = _run(_note(kafka, consumer, topic, key, NoteKind.DISCARDED))
    typer.echo(f"{len(parked.letters)} record(s) of {key} discarded")


async def _list(kafka: str) -> list[tuple[str, str, str, ParkedKey]]:
    from consumers.runtime.kafka_dead_letters import dead_letter_topics  # noqa: PLC0415 - loads the Kafka client

    rows = []
    for topic, consumer in await dead_letter_topics(kafka):
        async with _opened(kafka, consumer) as log:
            rows += [(consumer, topic, key, parked) for key, parked in (await read_open(log, topic)).items()]
    return rows


async def _show(kafka: str, consumer: str, topic: str, key: str) -> Sequence[tuple[int, Letter]]:
    async with _opened(kafka, consumer) as log:
        parking = Parking(log, [topic])
        await parking.catch_up()
        return await parking.letters(topic, key)


async def _note(kafka: str, consumer: str, topic: str, key: str, kind: NoteKind) -> ParkedKey:
    async with _opened(kafka, consumer) as log:
        parked = (await read_open(log, topic)).get(key)
        if parked is None:
            _no_such_key(consumer, topic, key)
        await log.append(topic, [Note(kind, key, parked.letters[-1], "", time.time_ns() // 1_000_000)])
        return parked


@asynccontextmanager
async def _opened(kafka: str, consumer: str) -> AsyncIterator[DeadLetterLog]:
    from consumers.runtime.kafka_dead_letters import KafkaDeadLetters  # noqa: PLC0415

    log = KafkaDeadLetters(kafka, consumer, replication_factor=1)
    try:
        yield log
    finally:
        await log.close()


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
    except LogUnreachable as error:
        typer.echo(f"cannot read the dead letters: {error}", err=True)
        raise typer.Exit(EXIT_CANNOT_LOOK) from error


def _no_such_key(consumer: str, topic: str, key: str) -> NoReturn:
    typer.echo(f"{consumer} has no parked key {key!r} of {topic}", err=True)
    raise typer.Exit(EXIT_NO_SUCH_KEY)
