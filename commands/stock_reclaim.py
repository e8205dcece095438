"""`sluice stock reclaim NAME`: an operator takes back what a stock server held and will not sell."""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, NamedTuple
from uuid import UUID

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from commands.calling import EXIT_REFUSED, AsJson
from commands.options import load
from journal.migration import DatabaseTooNew
from journal.postgres_place import WrongPlace
from journal.protocol import IncarnationRow, Journals
from sluice.errors import LedgerMissing, Unreachable
from sluice.seams.stock_store import StockStore
from sluice.settings import StockdSettings
from stockd.reclaim import HeldRow, fold, held_rows, preview
from stockd.stores.chosen import open_standing_store

EXIT_CANNOT_REACH = 2

ANSWER_LIMIT_S = 10.0
"""A person waits rather than hears of a timeout; a fence waits for commits in flight, which end sooner."""


class StillAlive(Exception):
    """An incarnation of the name has shown lately that it lives, or is of a release that does not show it."""

    def __init__(self, name: str, incarnation: UUID, dead_after_s: float) -> None:
        super().__init__(
            f"{name} seems to be alive: its incarnation {incarnation} has not been silent for {dead_after_s:g} s. "
            "Stop it, or give --force: it is then fenced, sells nothing more and has to restart"
        )


class UnknownName(Exception):
    """No stock server of this name was ever started on this journal."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"no stock server was ever called {name!r} here; known: {', '.join(known) or 'none'}")


class Reclaimed(NamedTuple):
    """What came back, or in a dry run would: units by SKU. `fenced`: incarnations that this run fences."""

    fenced: Sequence[UUID]
    units: Counter[str]


def reclaim(
    name: Annotated[str, typer.Argument(help="name of the stock server, as in its setting")],
    *,
    journal_url: Annotated[str | None, typer.Option(help="the cluster's PostgreSQL; SLUICE_JOURNAL_URL")] = None,
    cassandra: Annotated[str | None, typer.Option(help="the cluster's Cassandra; SLUICE_CASSANDRA")] = None,
    keyspace: Annotated[str | None, typer.Option(help="the cluster's keyspace; SLUICE_KEYSPACE")] = None,
    stock_store: Annotated[str | None, typer.Option(help="cassandra or redis; SLUICE_STOCK_STORE")] = None,
    redis_url: Annotated[str | None, typer.Option(help="the cluster's Redis; SLUICE_REDIS_URL")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would come back, change nothing")] = False,
    force: Annotated[bool, typer.Option("--force", help="even if it is alive")] = False,
    as_json: AsJson = False,
) -> None:
    """Fences every start of a stock server and gives its unsold units back to the ledger. May be repeated."""
    options = {
        "journal_url": journal_url,
        "cassandra": cassandra,
        "keyspace": keyspace,
        "stock_store": stock_store,
        "redis_url": redis_url,
    }
    settings = load(StockdSettings, {option: value for option, value in options.items() if value is not None})
    try:
        done = asyncio.run(_run(settings, name, dry_run=dry_run, force=force))
    except (StillAlive, UnknownName) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(EXIT_REFUSED) from error
    except (Unreachable, LedgerMissing, DatabaseTooNew, WrongPlace) as error:
        typer.echo(f"cannot reclaim, or not all; nothing is lost, run it again: {error}", err=True)
        raise typer.Exit(EXIT_CANNOT_REACH) from error
    if as_json:
        typer.echo(json.dumps(_as_object(name, done, dry_run=dry_run)))
    else:
        _print(name, done, dry_run=dry_run)


async def _run(settings: StockdSettings, name: str, *, dry_run: bool, force: bool) -> Reclaimed:
    # The driver takes a while to load, and most stock commands need none.
    from journal.postgres_shards import opened_journals  # noqa: PLC0415

    async with opened_journals(settings.journal_urls, timeout_s=ANSWER_LIMIT_S) as journals:
        store = await open_standing_store(settings)
        try:
            starts = await _starts(name, journals)
            if dry_run:
                return await _preview(starts, journals, store)
            if not force:
                await _check_dead(starts, journals, settings.peer_dead_after_s)
            return await _fence_and_fold(starts, journals, store)
        finally:
            await store.close()


async def _starts(name: str, journal: Journals) -> Sequence[IncarnationRow]:
    known = await journal.incarnations()
    starts = [row for row in known if row.name == name]
    if not starts:
        raise UnknownName(name, sorted({row.name for row in known}))
    return starts


async def _check_dead(starts: Sequence[IncarnationRow], journal: Journals, dead_after_s: float) -> None:
    silent = {row.incarnation for row in await journal.silent(dead_after_s)}
    for row in starts:
        if not row.fenced and row.incarnation not in silent:
            raise StillAlive(row.name, row.incarnation, dead_after_s)


async def _preview(starts: Sequence[IncarnationRow], journal: Journals, store: StockStore) -> Reclaimed:
    units: Counter[str] = Counter()
    async for row, unsold in preview(await _held(starts, journal, store), store):
        units[row.sku] += unsold
    return Reclaimed([row.incarnation for row in starts if not row.fenced], +units)


async def _fence_and_fold(starts: Sequence[IncarnationRow], journal: Journals, store: StockStore) -> Reclaimed:
    fenced = [row.incarnation for row in starts if await journal.fence(row.incarnation)]
    held = await _held(starts, journal, store)
    units: Counter[str] = Counter()
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("ledger rows", total=len(held))
        async for row, returned in fold(held, store):
            units[row.sku] += returned
            progress.advance(task)
    for start in starts:
        await journal.reclaimed(start.incarnation)
    return Reclaimed(fenced, +units)


async def _held(starts: Sequence[IncarnationRow], journal: Journals, store: StockStore) -> Sequence[HeldRow]:
    return [held for row in starts for held in await held_rows(row.incarnation, journal, store)]


def _as_object(name: str, done: Reclaimed, *, dry_run: bool) -> dict[str, object]:
    return {
        "name": name,
        "dry_run": dry_run,
        "fenced": [str(incarnation) for incarnation in done.fenced],
        "units": dict(sorted(done.units.items())),
        "total": done.units.total(),
    }


def _print(name: str, done: Reclaimed, *, dry_run: bool) -> None:
    console = Console()
    if done.units:
        table = Table("SKU", "units")
        for sku, units in sorted(done.units.items()):
            table.add_row(sku, str(units))
        console.print(table)
    fences, came = ("would be fenced", "would come back") if dry_run else ("fenced", "came back")
    console.print(
        f"{name}: {len(done.fenced)} incarnations {fences}, {done.units.total()} units of {len(done.units)} SKUs {came}"
    )
