"""`sluice projection …`: what the log says of the stock, as the consumer `projection` keeps it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from uuid import uuid4

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from commands.calling import AsJson
from commands.data_dir import DATABASE_FILE
from commands.options import load
from consumers.kafka_log_reading import BeginningGone
from consumers.rebuilding import HandOverFailed, LogReading, Overtaken, Rebuilt
from consumers.rebuilding import rebuild as rebuild_from
from consumers.runtime.handling import Poison, now_ms
from journal.events import MalformedOutboxRow
from sluice.cloud_events import UnreadableRecord
from sluice.errors import LedgerMissing, Unreachable
from sluice.seams.event_log import TOPIC_STOCK_CHANGED
from sluice.seams.stock_projection import SkuState, StockChange, StockProjection
from sluice.settings import ConsumeSettings
from sluice.sqlite_file import AlreadyServed, SqliteFile

EXIT_NOTHING_KNOWN = 1
EXIT_CANNOT_LOOK = 2
EXIT_NOTHING_CHANGED = 1
CANNOT_LOOK = (Unreachable, LedgerMissing, AlreadyServed, BeginningGone, UnreadableRecord, MalformedOutboxRow, Poison)

DataDir = Annotated[Path | None, typer.Option(help="an embedded gateway's data instead of a cluster")]
Cassandra = Annotated[str | None, typer.Option(help="the cluster's Cassandra; SLUICE_CASSANDRA")]
Keyspace = Annotated[str | None, typer.Option(help="its keyspace; SLUICE_KEYSPACE")]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="What the log says of the stock, as the consumer `projection` keeps it.",
)


@app.callback()
def projection() -> None:
    """What the log says of the stock, as the consumer `projection` keeps it."""


@app.command()
def show(
    sku: str,
    *,
    changes: Annotated[int, typer.Option(min=0, max=10_000, help="how many of the last changes")] = 10,
    data_dir: DataDir = None,
    cassandra: Cassandra = None,
    keyspace: Keyspace = None,
    as_json: AsJson = False,
) -> None:
    """How many units of a SKU are sold, as far as the log was read, and its last changes."""
    settings = settings_of(cassandra=cassandra, keyspace=keyspace)
    found = run_or_exit(lambda: _look(settings, data_dir, sku, changes))
    if found is None:
        typer.echo(f"the projection knows no change of {sku}", err=True)
        raise typer.Exit(EXIT_NOTHING_KNOWN)
    if as_json:
        typer.echo(json.dumps(_as_object(sku, found)))
    else:
        _print(sku, found)


@app.command()
def rebuild(
    *,
    data_dir: DataDir = None,
    cassandra: Cassandra = None,
    keyspace: Keyspace = None,
    kafka: Annotated[str | None, typer.Option(help="the cluster's Kafka; SLUICE_KAFKA")] = None,
    as_json: AsJson = False,
) -> None:
    """Reads the log from its beginning and puts what it says in the place of the projection, which goes on meanwhile.

    Interrupt it whenever you like: until its end nothing has changed. With --data-dir the gateway must be stopped.
    """
    settings = settings_of(cassandra=cassandra, keyspace=keyspace, kafka=kafka)
    try:
        rebuilt: Rebuilt = run_or_exit(lambda: _rebuild(settings, data_dir, bar=not as_json))
    except (Overtaken, HandOverFailed) as error:
        why = "another rebuild has begun" if isinstance(error, Overtaken) else "it took too long at its very end"
        typer.echo(f"nothing has changed: {why}", err=True)
        raise typer.Exit(EXIT_NOTHING_CHANGED) from error
    if as_json:
        typer.echo(json.dumps(_difference_as_object(rebuilt)))
    else:
        _print_difference(rebuilt)


async def _rebuild(settings: ConsumeSettings, data_dir: Path | None, *, bar: bool) -> Rebuilt:
    async with opened_to_rebuild(settings, data_dir) as (projection, log):
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), disable=not bar) as shown:
            task = shown.add_task("events read", total=None)

            def tell(events: int) -> None:
                # Records that stand on the log twice count once here.
                total = None if log.total is None else max(log.total, events)
                shown.update(task, completed=events, total=total)

            return await rebuild_from(projection, log, uuid4(), tell)


@asynccontextmanager
async def opened_to_rebuild(
    settings: ConsumeSettings, data_dir: Path | None
) -> AsyncIterator[tuple[StockProjection, LogReading]]:
    """Makes the tables if they are not there."""
    if data_dir is not None:
        from consumers.embedded_log_reading import EmbeddedLogReading  # noqa: PLC0415
        from journal.sqlite import SqliteJournal  # noqa: PLC0415
        from stockd.stores.sqlite_projection import SqliteProjection  # noqa: PLC0415

        file = await SqliteFile.open(data_dir / DATABASE_FILE)
        try:
            journal = await SqliteJournal.open(file)
            yield await SqliteProjection.open(file, now_ms), EmbeddedLogReading(journal, TOPIC_STOCK_CHANGED)
        finally:
            await file.close()
        return
    from consumers.kafka_log_reading import KafkaLogReading  # noqa: PLC0415
    from stockd.stores.chosen import open_projection  # noqa: PLC0415

    async with AsyncExitStack() as opened:
        projection = await open_projection(settings, now_ms)
        opened.push_async_callback(projection.close)
        log = KafkaLogReading(settings.kafka, TOPIC_STOCK_CHANGED)
        opened.push_async_callback(log.close)
        yield projection, log


class Found(NamedTuple):
    states: Sequence[SkuState]
    changes: Sequence[StockChange]


async def _look(settings: ConsumeSettings, data_dir: Path | None, sku: str, changes: int) -> Found | None:
    async with opened_to_look(settings, data_dir) as projection:
        live = (await projection.control()).live
        states = list((await projection.states(live, [sku])).values())
        return Found(states, await projection.recent(live, sku, changes) if changes else []) if states else None


@asynccontextmanager
async def opened_to_look(settings: ConsumeSettings, data_dir: Path | None) -> AsyncIterator[StockProjection]:
    """Raises StoreUnreachable, LedgerMissing."""
    # Each loads its own driver only.
    if data_dir is not None:
        from stockd.stores.sqlite_projection import SqliteProjection  # noqa: PLC0415

        file = await SqliteFile.open_read_only(data_dir / DATABASE_FILE)
        try:
            yield await SqliteProjection.open(file, now_ms)
        finally:
            await file.close()
        return
    from stockd.stores.chosen import open_standing_projection  # noqa: PLC0415

    projection = await open_standing_projection(settings, now_ms)
    try:
        yield projection
    finally:
        await projection.close()


def settings_of(**given: str | None) -> ConsumeSettings:
    return load(ConsumeSettings, {name: value for name, value in given.items() if value is not None})


def run_or_exit(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    try:
        return asyncio.run(work())
    except CANNOT_LOOK as error:
        typer.echo(f"cannot look at the projection: {error}", err=True)
        raise typer.Exit(EXIT_CANNOT_LOOK) from error


def _as_object(sku: str, found: Found) -> dict[str, Any]:
    return {
        "sku": sku,
        "sold": sum(state.sold for state in found.states),
        "states": [
            {
                "journal": str(state.journal),
                "number": state.number,
                "place": state.place,
                "sold": state.sold,
                "changes": state.changes,
                "time": _time(state.time_ms),
            }
            for state in found.states
        ],
        "changes": [
            {
                "time": _time(change.time_ms),
                "delta": change.delta,
                "order_id": change.order_id,
                "order_version": change.order_version,
            }
            for change in found.changes
        ],
    }


def _print(sku: str, found: Found) -> None:
    console = Console()
    sold, changes = sum(state.sold for state in found.states), sum(state.changes for state in found.states)
    last = max(state.time_ms for state in found.states)
    console.print(f"{sku}: {sold} sold after {changes} changes, the last of {_time(last)}")
    if found.changes:
        table = Table("time", "delta", "order", "version")
        for change in found.changes:
            table.add_row(_time(change.time_ms), f"{change.delta:+d}", change.order_id, str(change.order_version))
        console.print(table)


def _difference_as_object(rebuilt: Rebuilt) -> dict[str, Any]:
    return {
        "events": rebuilt.events,
        "states": rebuilt.states,
        "same": rebuilt.same,
        "behind": rebuilt.behind,
        "differing": rebuilt.differing_count,
        "skus": [
            {"sku": live.sku, "sold_before": live.sold, "sold": right.sold if right else None}
            for live, right in rebuilt.differing
        ],
    }


def _print_difference(rebuilt: Rebuilt) -> None:
    console = Console()
    console.print(
        f"rebuilt {rebuilt.states} states from {rebuilt.events} events; of those before {rebuilt.same} were the same, "
        f"{rebuilt.behind} had not come so far, {rebuilt.differing_count} were wrong"
    )
    if rebuilt.differing:
        table = Table("sku", "sold, before", "sold, by the log")
        for live, right in rebuilt.differing:
            table.add_row(live.sku, str(live.sold), str(right.sold) if right else "no change")
        console.print(table)


def _time(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")
