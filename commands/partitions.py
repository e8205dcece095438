"""`sluice partitions`: where a topic's slots are placed, and moving them while orders come in."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from commands.calling import EXIT_REFUSED, AsJson
from commands.options import load
from journal.migration import DatabaseTooNew
from journal.postgres_place import WrongPlace
from journal.slot_maps import AnotherMoveUnderWay, SlotMaps
from relay.slot_moves import STEPS, MoveAborted, Step, Tell, move_slots
from sluice.cloud_events import UnreadableRecord
from sluice.errors import Unreachable
from sluice.kafka_topics import ORDER_REQUESTED_PARTITIONS, RELAY_TOPICS, UnusableTopic
from sluice.seams.event_log import TOPIC_ORDER_REQUESTED
from sluice.settings import RelaySettings
from sluice.slot_map import Seats, SlotMap, slots_by_partition, used_partitions
from sluice.slot_plan import CannotGrow, balanced, grown, load_by_partition, moved_slots
from sluice.slots import slot_of

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Where a topic's slots are, and moving them while orders come in."
)

EXIT_CANNOT_REACH = 2
EXIT_INTERRUPTED = 130

ANSWER_LIMIT_S = 10.0
"""A person waits rather than hears of a timeout."""

PAUSE_S = 2.0
"""Events wait for a switch for so long at most, and no longer than 3 s until they are on Kafka. Consumers that have
finished what is there commit within some tenths of a second."""

MEASURED_MINUTES = 10.0
"""Enough of a sale to tell hot SKUs from chance, and short enough to be of this sale."""

Topic = Annotated[str, typer.Argument(help=f"one of {', '.join(RELAY_TOPICS)}")]
JournalUrl = Annotated[str | None, typer.Option(help="the cluster's PostgreSQL; SLUICE_JOURNAL_URL")]
Kafka = Annotated[str | None, typer.Option(help="the cluster's Kafka, host:port; SLUICE_KAFKA")]
PauseS = Annotated[float, typer.Option(min=0.5, max=30.0, help="how long events may wait for the switch, seconds")]
Without = Annotated[
    list[str] | None,
    typer.Option(help="a consumer group not to wait for: it may see events of a key out of order; may be repeated"),
]


class Refused(Exception):
    """What was asked for cannot be done; the text says why."""


class Parts(NamedTuple):
    """`slot_maps`: of the first journal, if there are several."""

    slot_maps: SlotMaps
    kafka: str
    journals: int = 1


@app.command()
def show(topic: Topic, *, journal_url: JournalUrl = None, kafka: Kafka = None, as_json: AsJson = False) -> None:
    """The partitions of a topic, how many slots each has, and whether a move is under way."""
    shown = _run(journal_url, kafka, lambda parts: _show(parts, topic))
    if as_json:
        typer.echo(json.dumps(shown))
        return
    table = Table("partition", "slots")
    for partition in range(shown["kafka_partitions"]):
        table.add_row(str(partition), str(shown["slots"].get(partition, 0)))
    console = Console()
    console.print(table)
    console.print(
        f"{topic}: {shown['kafka_partitions']} partitions in Kafka, slots on {shown['partitions']} of them,"
        f" epoch {shown['epoch']} from number {shown['first_number']} on"
    )
    if shown["moving_slots"]:
        console.print(f"a move of {shown['moving_slots']} slots is under way: see `sluice partitions abort --help`")


@app.command()
def grow(
    topic: Topic,
    partitions: Annotated[int, typer.Argument(min=1, help="how many it is to have; divides 4096")],
    *,
    journal_url: JournalUrl = None,
    kafka: Kafka = None,
    pause_s: PauseS = PAUSE_S,
    without: Without = None,
) -> None:
    """Adds partitions and moves slots to them, without putting two events of a key out of order.

    Orders are accepted throughout; events wait for about a second at the switch. Interrupted, the same command goes on.
    """
    _run(journal_url, kafka, lambda parts: grow_topic(parts, topic, partitions, pause_s, without or []))
    typer.echo(f"{topic}: slots are on {partitions} partitions")


@app.command()
def balance(
    topic: Topic,
    *,
    minutes: Annotated[float, typer.Option(min=0.1, help="how far back load is measured")] = MEASURED_MINUTES,
    yes: Annotated[bool, typer.Option("--yes", help="move without asking")] = False,
    journal_url: JournalUrl = None,
    kafka: Kafka = None,
    pause_s: PauseS = PAUSE_S,
    without: Without = None,
) -> None:
    """Moves hot slots off the partitions that have most to do, by the same safe move. Shows the plan first.

    Load is the number of events on the log in the last minutes. One hot SKU or order id cannot be divided.
    """
    _run(journal_url, kafka, lambda parts: balance_topic(parts, topic, minutes, pause_s, without or [], _confirm(yes)))


@app.command()
def abort(topic: Topic, *, journal_url: JournalUrl = None, kafka: Kafka = None) -> None:
    """Ends a move that has not switched yet: slots stay where they are. Partitions that it added stay, empty."""
    _run(journal_url, kafka, lambda parts: abort_move(parts, topic))
    typer.echo(f"{topic}: the move is aborted, slots are where they were")


async def _show(parts: Parts, topic: str) -> dict[str, Any]:
    from relay.kafka_partitions import KafkaTopicPartitions  # noqa: PLC0415 - loads the Kafka client

    slot_map = await _map_of(parts, topic)
    planned = (await parts.slot_maps.planned()).get(topic, slot_map.seats)
    return {
        "topic": topic,
        "kafka_partitions": await KafkaTopicPartitions(parts.kafka, topic).count(),
        "partitions": used_partitions(slot_map.seats),
        "epoch": slot_map.epoch,
        "first_number": slot_map.first_number,
        "slots": {partition: len(slots) for partition, slots in sorted(slots_by_partition(slot_map.seats).items())},
        "moving_slots": len(moved_slots(slot_map.seats, planned)),
    }


async def grow_topic(parts: Parts, topic: str, partitions: int, pause_s: float, without: Sequence[str]) -> None:
    from relay.kafka_partitions import KafkaTopicPartitions  # noqa: PLC0415

    _check_one_journal(parts)
    slot_map = await _map_of(parts, topic)
    try:
        seats = grown(slot_map.seats, partitions)
    except CannotGrow as error:
        raise Refused(f"{topic}: {error}") from error
    on_kafka = KafkaTopicPartitions(parts.kafka, topic)
    with _Bar(topic) as tell:
        try:
            await move_slots(parts.slot_maps, topic, seats, on_kafka, tell, pause_s=pause_s, without=without)
        except AnotherMoveUnderWay as error:
            raise _other_move(topic, slot_map.seats, error.seats) from error


async def balance_topic(
    parts: Parts,
    topic: str,
    minutes: float,
    pause_s: float,
    without: Sequence[str],
    confirm: Callable[[], bool],
) -> None:
    """A move of the same kind that was begun before is gone on with, and nothing is measured."""
    from relay.kafka_partitions import KafkaTopicPartitions  # noqa: PLC0415

    _check_one_journal(parts)
    slot_map = await _map_of(parts, topic)
    seats = (await parts.slot_maps.planned()).get(topic)
    if seats is not None:
        if used_partitions(seats) != used_partitions(slot_map.seats):
            raise _other_move(topic, slot_map.seats, seats)
        typer.echo(f"{topic}: goes on with the move of {len(moved_slots(slot_map.seats, seats))} slots that was begun")
    else:
        load = await _load_of(parts, topic, minutes)
        seats = balanced(slot_map.seats, load)
        _show_plan(topic, slot_map.seats, seats, load)
        if seats == slot_map.seats or not confirm():
            return
    with _Bar(topic) as tell:
        on_kafka = KafkaTopicPartitions(parts.kafka, topic)
        await move_slots(parts.slot_maps, topic, seats, on_kafka, tell, pause_s=pause_s, without=without)
    typer.echo(f"{topic}: {len(moved_slots(slot_map.seats, seats))} slots have moved")


async def _load_of(parts: Parts, topic: str, minutes: float) -> Mapping[int, int]:
    from relay.kafka_log import KafkaLog  # noqa: PLC0415

    load: Counter[int] = Counter()
    try:
        async for logged in KafkaLog(parts.kafka).read_since(topic, datetime.now(UTC) - timedelta(minutes=minutes)):
            load[slot_of(logged.event.key)] += 1
    except (UnreadableRecord, UnusableTopic) as error:
        raise Refused(f"{topic}: {error}") from error
    if not load:
        raise Refused(f"{topic}: no events in the last {minutes:g} minutes, so there is no load to balance")
    return load


def _show_plan(topic: str, before: Seats, after: Seats, load: Mapping[int, int]) -> None:
    now, then = load_by_partition(before, load), load_by_partition(after, load)
    table = Table("partition", "events", "after")
    for partition, (events, events_then) in enumerate(zip(now, then, strict=True)):
        table.add_row(str(partition), str(events), str(events_then))
    console = Console()
    console.print(table)
    mean = sum(now) / len(now)
    if before == after:
        console.print(f"{topic}: nothing to move; the fullest partition has {max(now) / mean:.2f} of the mean")
        return
    console.print(
        f"{topic}: moving {len(moved_slots(before, after))} of 4096 slots takes the fullest partition from"
        f" {max(now) / mean:.2f} to {max(then) / mean:.2f} of the mean"
    )


def _confirm(yes: bool) -> Callable[[], bool]:
    return lambda: yes or typer.confirm("move them now?")


def _other_move(topic: str, before: Seats, planned: Seats) -> Refused:
    count = used_partitions(planned)
    finish = f"grow {topic} {count}" if count != used_partitions(before) else f"balance {topic}"
    return Refused(
        f"{topic}: another move, to {count} partitions, is under way; finish it with"
        f" `sluice partitions {finish}`, or end it with `sluice partitions abort {topic}`"
    )


async def abort_move(parts: Parts, topic: str) -> None:
    _check_one_journal(parts)
    await _map_of(parts, topic)
    if not await parts.slot_maps.abort(topic):
        raise Refused(f"{topic}: no move is under way")


async def _map_of(parts: Parts, topic: str) -> SlotMap:
    if topic == TOPIC_ORDER_REQUESTED:
        raise Refused(
            f"{topic} has {ORDER_REQUESTED_PARTITIONS} partitions from the start and keeps them:"
            " every gateway writes it, and nobody can hold back what all of them write while slots move"
        )
    if topic not in RELAY_TOPICS:
        raise Refused(f"no topic of the relay is called {topic!r}; there are {', '.join(RELAY_TOPICS)}")
    maps = await parts.slot_maps.in_force()
    if topic not in maps:
        raise Refused(f"{topic} has no slots yet: a relay makes it when it first runs on this journal")
    return maps[topic]


def _check_one_journal(parts: Parts) -> None:
    if parts.journals > 1:
        raise Refused(
            f"orders are divided over {parts.journals} journals, and slots stay: who reads the log from the start"
            " orders the events of a key by their positions, and positions in different journals have no order"
        )


class _Bar:
    """On a terminal a bar of the steps; elsewhere a line for each step."""

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._last = ""
        self._progress = Progress(
            TextColumn(topic), BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"), TimeElapsedColumn(),
            console=Console(stderr=True), disable=not sys.stderr.isatty(),
        )  # fmt: skip
        self._task = self._progress.add_task("", total=len(STEPS) - 1)

    def __enter__(self) -> Tell:
        self._progress.start()
        return self._tell

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def _tell(self, step: Step) -> None:
        waiting_for = f": waits for {step.waiting_for}" if step.waiting_for else ""
        self._progress.update(
            self._task, completed=list(STEPS).index(step.name), description=f"{STEPS[step.name]}{waiting_for}"
        )
        if self._progress.disable and step.name != self._last:
            typer.echo(f"{self._topic}: {STEPS[step.name]}{waiting_for}", err=True)
        self._last = step.name


def _run(journal_url: str | None, kafka: str | None, work: Callable[[Parts], Coroutine[Any, Any, Any]]) -> Any:
    given = {"journal_url": journal_url, "kafka": kafka}
    settings = load(RelaySettings, {name: value for name, value in given.items() if value is not None})

    async def open_and_work() -> Any:
        async with _opened(settings) as parts:
            return await work(parts)

    try:
        return asyncio.run(open_and_work())
    except (Refused, MoveAborted) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(EXIT_REFUSED) from error
    except (Unreachable, DatabaseTooNew, WrongPlace) as error:
        typer.echo(f"cannot go on now: {error}. Events flow as before; the same command goes on", err=True)
        raise typer.Exit(EXIT_CANNOT_REACH) from error
    except KeyboardInterrupt:
        typer.echo("interrupted: events flow as before; the same command goes on, `abort` ends the move", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None


@asynccontextmanager
async def _opened(settings: RelaySettings) -> AsyncIterator[Parts]:
    # The driver takes a while to load, and most commands need none.
    from journal.postgres_shards import opened_journals  # noqa: PLC0415
    from journal.postgres_slot_maps import PostgresSlotMaps  # noqa: PLC0415

    urls = settings.journal_urls
    async with opened_journals(urls, timeout_s=ANSWER_LIMIT_S):
        pass
    slot_maps = PostgresSlotMaps(urls[0], timeout_s=ANSWER_LIMIT_S)
    try:
        yield Parts(slot_maps, settings.kafka, len(urls))
    finally:
        await slot_maps.close()
