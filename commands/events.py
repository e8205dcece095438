"""`sluice events`: what is on the event log, for people and for scripts."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from commands.data_dir import DATABASE_FILE
from commands.options import checked_kafka
from journal.embedded_log import EmbeddedLog
from journal.events import MalformedOutboxRow
from journal.migration import DatabaseTooNew, DatabaseTooOld
from journal.sqlite import SqliteJournal
from journal.sqlite_requests import SqliteRequests
from sluice._gen.events.v1.events_pb2 import (
    OrderCancelled,
    OrderConfirmed,
    OrderCreated,
    OrderRejected,
    OrderRequested,
    OrderValidated,
    StockChanged,
)
from sluice.cloud_events import UnreadableRecord
from sluice.errors import Unreachable
from sluice.kafka_topics import UnusableTopic
from sluice.seams.event_log import (
    TOPIC_ORDER_CANCELLED,
    TOPIC_ORDER_CONFIRMED,
    TOPIC_ORDER_CREATED,
    TOPIC_ORDER_REJECTED,
    TOPIC_ORDER_REQUESTED,
    TOPIC_ORDER_VALIDATED,
    TOPIC_STOCK_CHANGED,
    EventLog,
    LoggedEvent,
)
from sluice.sqlite_file import SqliteFile

EventMessage = (
    OrderCreated | OrderValidated | OrderConfirmed | OrderCancelled | OrderRejected | OrderRequested | StockChanged
)

MESSAGES: dict[str, type[EventMessage]] = {
    TOPIC_ORDER_CREATED: OrderCreated,
    TOPIC_ORDER_VALIDATED: OrderValidated,
    TOPIC_ORDER_CONFIRMED: OrderConfirmed,
    TOPIC_ORDER_CANCELLED: OrderCancelled,
    TOPIC_ORDER_REJECTED: OrderRejected,
    TOPIC_ORDER_REQUESTED: OrderRequested,
    TOPIC_STOCK_CHANGED: StockChanged,
}

EXIT_CANNOT_LOOK = 2
CANNOT_LOOK = (
    Unreachable,
    UnusableTopic,
    UnreadableRecord,
    MalformedOutboxRow,
    DatabaseTooNew,
    DatabaseTooOld,
    OSError,
)

MERGED_EVENTS = 1_000
"""Events that wait to be printed when several topics are followed; a slow terminal slows the reading down."""

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Look at the event log.")


@app.callback()
def events() -> None:
    """Look at the event log."""


@app.command()
def tail(
    topic: Annotated[str | None, typer.Argument(help=f"{', '.join(MESSAGES)}; all if not given")] = None,
    *,
    data_dir: Annotated[Path, typer.Option(help="the embedded gateway's data; it may be running")] = Path(".sluice"),
    kafka: Annotated[
        str | None,
        typer.Option(help="a cluster's Kafka, as in the settings, instead of --data-dir", callback=checked_kafka),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on with what comes")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object per event")] = False,
) -> None:
    """Prints every event, one a line: oldest first within a partition."""
    if topic is not None and topic not in MESSAGES:
        raise typer.BadParameter(f"{topic!r} is none of {', '.join(MESSAGES)}", param_hint="TOPIC")
    topics = list(MESSAGES) if topic is None else [topic]
    try:
        asyncio.run(_tail(topics, data_dir, kafka, follow=follow, as_json=as_json))
    except CANNOT_LOOK as error:
        typer.echo(f"cannot read the event log: {error}", err=True)
        raise typer.Exit(EXIT_CANNOT_LOOK) from error


async def _tail(topics: Sequence[str], data_dir: Path, kafka: str | None, *, follow: bool, as_json: bool) -> None:
    show = as_json_line if as_json else as_text_line
    async with _opened(data_dir, kafka) as log:
        async for entry in _merged(log, topics) if follow else _one_after_another(log, topics):
            typer.echo(show(entry))


@asynccontextmanager
async def _opened(data_dir: Path, kafka: str | None) -> AsyncIterator[EventLog]:
    if kafka is not None:
        from relay.kafka_log import KafkaLog  # noqa: PLC0415 - not needed for the embedded log

        yield KafkaLog(kafka)
        return
    file = await SqliteFile.open_read_only(data_dir / DATABASE_FILE)
    try:
        journal = await SqliteJournal.open(file)
        yield EmbeddedLog(journal, SqliteRequests(file, journal.journal_id))
    finally:
        await file.close()


async def _one_after_another(log: EventLog, topics: Sequence[str]) -> AsyncIterator[LoggedEvent]:
    for topic in topics:
        async for entry in log.read(topic, follow=False):
            yield entry


async def _merged(log: EventLog, topics: Sequence[str]) -> AsyncIterator[LoggedEvent]:
    """As they come; ends only with an error of one of the topics."""
    merged: asyncio.Queue[LoggedEvent] = asyncio.Queue(MERGED_EVENTS)

    async def follow(topic: str) -> None:
        async for entry in log.read(topic, follow=True):
            await merged.put(entry)

    following = [asyncio.create_task(follow(topic)) for topic in topics]
    try:
        while True:
            taking = asyncio.create_task(merged.get())
            await asyncio.wait([taking, *following], return_when=asyncio.FIRST_COMPLETED)
            if not taking.done():
                taking.cancel()
                for task in following:
                    if task.done():
                        task.result()
                return
            yield taking.result()
    finally:
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)


def as_json_line(entry: LoggedEvent) -> str:
    """One object: where the event stands, who it is, and its message under `data`."""
    event = entry.event
    message: Message = MESSAGES[event.topic].FromString(event.value)
    shown: dict[str, Any] = {
        "topic": event.topic,
        "partition": entry.partition,
        "offset": entry.offset,
        "key": event.key,
        "id": event.event_id,
        "type": event.event_type,
        "time": _time(event.time_ms),
        "position": {
            "journal": str(event.position.journal),
            "number": event.position.number,
            "place": event.position.place,
        },
        "data": MessageToDict(message, preserving_proto_field_name=True),
    }
    if event.trace is not None:
        shown["traceparent"] = event.trace.traceparent
    return json.dumps(shown, ensure_ascii=False)


def as_text_line(entry: LoggedEvent) -> str:
    """Columns: time, topic, partition/offset, key, what happened."""
    event = entry.event
    where = f"{entry.partition}/{entry.offset}"
    return f"{_time(event.time_ms)}  {event.topic:15}  {where:>8}  {event.key:36}  {_what(entry)}"


def _what(entry: LoggedEvent) -> str:
    message = MESSAGES[entry.event.topic].FromString(entry.event.value)
    match message:
        case OrderCreated():
            held = f", held until {_time(message.hold_end_time.ToMilliseconds())}" if message.HasField(_HOLD) else ""
            return f"{message.customer_id}: {_lines(message)}{held}"
        case OrderCancelled():
            return f"{message.customer_id}: {_lines(message)} back, {message.reason or 'no reason given'}"
        case OrderRejected():
            return f"{message.customer_id}: {_lines(message)} not to be had, {message.reason} {message.sku}"
        case OrderRequested():
            return f"{message.customer_id}: {_lines(message)}, order {message.order_id}"
        case OrderValidated() | OrderConfirmed():
            return message.customer_id
        case StockChanged():
            return f"{message.delta:+d}  order {message.order_id}"


_HOLD = "hold_end_time"


def _lines(message: OrderCreated | OrderCancelled | OrderRejected | OrderRequested) -> str:
    return ", ".join(f"{line.quantity} x {line.sku}" for line in message.lines)


def _time(time_ms: int) -> str:
    seconds, milliseconds = divmod(time_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{milliseconds:03d}Z"
