"""`sluice audit`: does what was sold add up, and is it all on the log? Exit status 0: yes, 1: no, 2: cannot look."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from audit.checks import HeldUnits
from audit.running import AuditReport, run_audit
from commands.data_dir import DATABASE_FILE
from commands.options import load
from journal.embedded_log import EmbeddedLog
from journal.events import MalformedOutboxRow
from journal.migration import DatabaseTooNew, DatabaseTooOld
from journal.protocol import Journal
from journal.sqlite import SqliteJournal
from sluice.cloud_events import UnreadableRecord
from sluice.errors import LedgerMissing, Unreachable
from sluice.kafka_topics import UnusableTopic
from sluice.seams.event_log import EventLog
from sluice.seams.stock_store import StockStore
from sluice.settings import StockStoreSettings
from sluice.sqlite_file import SqliteFile
from stockd.stores.chosen import open_standing_store
from stockd.stores.sqlite import SqliteStore

EXIT_FINDINGS = 1
EXIT_CANNOT_LOOK = 2

ANSWER_LIMIT_S = 10.0
"""An audit is in no hurry; what does not answer for so long is away."""

CANNOT_LOOK = (
    Unreachable,
    LedgerMissing,
    UnusableTopic,
    UnreadableRecord,
    MalformedOutboxRow,
    DatabaseTooNew,
    DatabaseTooOld,
    OSError,
)


class Parts(NamedTuple):
    """What an audit looks at."""

    journal: Journal
    store: StockStore
    log: EventLog


def audit(
    *,
    data_dir: Annotated[Path, typer.Option(help="the embedded gateway's data; it may be running")] = Path(".sluice"),
    journal_url: Annotated[
        str | None, typer.Option(envvar="SLUICE_JOURNAL_URL", help="a cluster's PostgreSQL, instead of --data-dir")
    ] = None,
    cassandra: Annotated[str | None, typer.Option(help="the cluster's Cassandra; SLUICE_CASSANDRA")] = None,
    keyspace: Annotated[str | None, typer.Option(help="the cluster's keyspace; SLUICE_KEYSPACE")] = None,
    stock_store: Annotated[str | None, typer.Option(help="cassandra or redis; SLUICE_STOCK_STORE")] = None,
    redis_url: Annotated[str | None, typer.Option(help="the cluster's Redis; SLUICE_REDIS_URL")] = None,
    kafka: Annotated[str, typer.Option(envvar="SLUICE_KAFKA", help="the cluster's Kafka")] = "127.0.0.1:9092",
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object")] = False,
) -> None:
    """Checks that nothing is oversold, lost or invented: invariants I1 to I4 and I6, naming what is wrong."""
    if journal_url is None:
        parts = embedded_parts(data_dir)
    else:
        options = {"cassandra": cassandra, "keyspace": keyspace, "stock_store": stock_store, "redis_url": redis_url}
        given = {option: value for option, value in options.items() if value is not None}
        parts = cluster_parts(journal_url, load(StockStoreSettings, given), kafka)
    try:
        report = asyncio.run(_run(parts))
    except CANNOT_LOOK as error:
        typer.echo(
            json.dumps({"audit": None, "error": str(error)}) if as_json else f"cannot audit: {error}", err=not as_json
        )
        raise typer.Exit(EXIT_CANNOT_LOOK) from error
    if as_json:
        typer.echo(json.dumps(as_object(report)))
    else:
        _print(report)
    if report.findings:
        raise typer.Exit(EXIT_FINDINGS)


async def _run(parts: AbstractAsyncContextManager[Parts]) -> AuditReport:
    async with parts as opened:
        return await run_audit(opened.journal, opened.store, opened.log)


@asynccontextmanager
async def embedded_parts(data_dir: Path) -> AsyncIterator[Parts]:
    """Reads the files beside the process that serves them. Raises SqliteUnavailable, JournalUnreachable."""
    file = await SqliteFile.open_read_only(data_dir / DATABASE_FILE)
    try:
        journal = await SqliteJournal.open(file)
        yield Parts(journal, await SqliteStore.open(file), EmbeddedLog(journal))
    finally:
        await file.close()


@asynccontextmanager
async def cluster_parts(journal_url: str, stock: StockStoreSettings, kafka: str) -> AsyncIterator[Parts]:
    """Makes no ledger. Raises JournalUnreachable, StoreUnreachable, LedgerMissing."""
    # An embedded gateway is audited without the drivers of servers that it does not have: they take a while to load.
    from journal.postgres import PostgresJournal  # noqa: PLC0415
    from relay.kafka_log import KafkaLog  # noqa: PLC0415

    journal = await PostgresJournal.open(journal_url, connections=1, timeout_s=ANSWER_LIMIT_S)
    try:
        store = await open_standing_store(stock)
        try:
            yield Parts(journal, store, KafkaLog(kafka))
        finally:
            await store.close()
    finally:
        await journal.close()


def as_object(report: AuditReport) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "audit": [finding._asdict() for finding in report.findings] or "ok",
        "orders": report.orders,
        "skus": report.skus,
        "events": report.events,
        "stranded": _held(report.stranded),
        "in_escrow": _held([units for units in report.held if not units.stranded]),
    }


def _held(held: Sequence[HeldUnits]) -> list[dict[str, Any]]:
    return [
        {"sku": units.sku, "incarnation": str(units.incarnation), "name": units.name, "units": units.units}
        for units in held
    ]


def _print(report: AuditReport) -> None:
    console = Console()
    if report.findings:
        table = Table("invariant", "subject", "what is wrong")
        for finding in report.findings:
            table.add_row(*finding)
        console.print(table)
    verdict = f"{len(report.findings)} findings" if report.findings else "ok"
    console.print(f"audit: {verdict} ({report.orders} orders, {report.skus} SKUs, {report.events} events)")
    if report.held:
        table = Table("SKU", "units", "held by", "state")
        for units in report.held:
            state = "stranded until it is reclaimed" if units.stranded else "in escrow"
            table.add_row(units.sku, str(units.units), f"{units.name or 'unknown'} {units.incarnation}", state)
        console.print(table)
