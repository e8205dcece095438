"""`sluice audit`: does what was sold add up, and is it all on the log? Exit status 0: yes, 1: no, 2: cannot look."""

import asyncio
import gc
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from audit.checks import Finding, HeldUnits
from audit.fcfs import FcfsReport, audit_fcfs
from audit.rest import check_at_rest
from audit.rows import rows_of
from audit.running import AuditReport, Look, run_confirmed_audit
from audit.running import watch as watching
from commands.data_dir import DATABASE_FILE
from commands.options import checked_kafka, load
from journal.embedded_log import EmbeddedLog
from journal.events import MalformedOutboxRow
from journal.migration import DatabaseTooNew, DatabaseTooOld
from journal.postgres_place import WrongPlace
from journal.protocol import Journals
from journal.sqlite import SqliteJournal
from journal.sqlite_requests import SqliteRequests
from sluice.cloud_events import UnreadableRecord
from sluice.errors import LedgerMissing, Unreachable
from sluice.kafka_topics import UnusableTopic
from sluice.seams.event_log import EventLog
from sluice.seams.stock_store import StockStore
from sluice.settings import StockStoreSettings, parse_journal_urls
from sluice.sqlite_file import SqliteFile
from stockd.stores.chosen import open_standing_store
from stockd.stores.sqlite import SqliteStore

app = typer.Typer(add_completion=False)

GC_THRESHOLDS = (20_000, 20, 20)
"""Nothing of what is read has cycles. To look for them as often as Python does by itself is a third of the work."""

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
    WrongPlace,
    OSError,
)


class Parts(NamedTuple):
    """What an audit looks at."""

    journal: Journals
    store: StockStore
    log: EventLog


@app.command()
def audit(
    *,
    data_dir: Annotated[Path, typer.Option(help="the embedded gateway's data; it may be running")] = Path(".sluice"),
    journal_url: Annotated[
        str | None,
        typer.Option(
            envvar="SLUICE_JOURNAL_URL",
            help="a cluster's PostgreSQL, or several comma separated, instead of --data-dir",
        ),
    ] = None,
    cassandra: Annotated[str | None, typer.Option(help="the cluster's Cassandra; SLUICE_CASSANDRA")] = None,
    keyspace: Annotated[str | None, typer.Option(help="the cluster's keyspace; SLUICE_KEYSPACE")] = None,
    stock_store: Annotated[str | None, typer.Option(help="cassandra or redis; SLUICE_STOCK_STORE")] = None,
    redis_url: Annotated[str | None, typer.Option(help="the cluster's Redis; SLUICE_REDIS_URL")] = None,
    kafka: Annotated[
        str, typer.Option(envvar="SLUICE_KAFKA", help="the cluster's Kafka", callback=checked_kafka)
    ] = "127.0.0.1:9092",
    at_rest: Annotated[
        bool,
        typer.Option("--at-rest", help="nothing should be going on: units in escrow and waiting events are findings"),
    ] = False,
    fcfs: Annotated[
        bool,
        typer.Option("--fcfs", help="instead: were queued orders served in the order in which they came?"),
    ] = False,
    watch: Annotated[
        float | None, typer.Option(min=0.1, metavar="SECONDS", help="look again and again, and say what has changed")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object, with --watch one a line")] = False,
) -> None:
    """Checks that nothing is oversold, lost or invented (I1 to I4, I6, I7), naming what is wrong and where to look.
    What it finds it looks at again before it says so: the system may be running.
    """
    gc.set_threshold(*GC_THRESHOLDS)
    if journal_url is None:
        parts = embedded_parts(data_dir)
    else:
        options = {"cassandra": cassandra, "keyspace": keyspace, "stock_store": stock_store, "redis_url": redis_url}
        given = {option: value for option, value in options.items() if value is not None}
        parts = cluster_parts(journal_url, load(StockStoreSettings, given), kafka)
    try:
        if fcfs:
            _finish_fcfs(asyncio.run(_run_fcfs(parts)), as_json=as_json)
            return
        if watch is not None:
            asyncio.run(_watch(parts, watch, at_rest=at_rest, as_json=as_json))
        report = asyncio.run(_run(parts, at_rest=at_rest))
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


async def _run(parts: AbstractAsyncContextManager[Parts], *, at_rest: bool) -> AuditReport:
    async with parts as opened:
        report = await run_confirmed_audit(opened.journal, opened.store, opened.log)
        return _resting(report) if at_rest else report


async def _run_fcfs(parts: AbstractAsyncContextManager[Parts]) -> FcfsReport:
    async with parts as opened:
        # Where there are several journals there is no queue.
        return await audit_fcfs(opened.log, opened.journal.shards[0], opened.store)


def _finish_fcfs(report: FcfsReport, *, as_json: bool) -> None:
    findings, *counts = report
    if as_json:
        shown = dict(zip(FcfsReport._fields[1:], counts, strict=True))
        typer.echo(json.dumps({"fcfs": _found(findings) or "ok"} | shown))
    else:
        console = Console()
        if findings:
            console.print(_table(findings))
        verdict = f"{len(findings)} findings" if findings else "ok"
        console.print(
            f"fcfs: {verdict} ({report.requests} orders in {report.queues} queues:"
            f" {report.accepted} accepted, {report.rejected} rejected, {report.undecided} undecided)"
        )
    if findings:
        raise typer.Exit(EXIT_FINDINGS)


async def _watch(parts: AbstractAsyncContextManager[Parts], interval_s: float, *, at_rest: bool, as_json: bool) -> None:
    """For ever, or until Ctrl-C."""
    async with parts as opened:
        async for look in watching(
            opened.journal, opened.store, opened.log, interval_s=interval_s, monotonic=time.monotonic
        ):
            report = _resting(look.report) if at_rest else look.report
            if as_json:
                typer.echo(json.dumps(as_object(report) | {"new": _found(look.new), "gone": _found(look.gone)}))
            else:
                _print_look(look._replace(report=report))


def _resting(report: AuditReport) -> AuditReport:
    return report._replace(findings=[*report.findings, *check_at_rest(report.held, report.backlog)])


@asynccontextmanager
async def embedded_parts(data_dir: Path) -> AsyncIterator[Parts]:
    """Reads the files beside the process that serves them. Raises SqliteUnavailable, JournalUnreachable."""
    file = await SqliteFile.open_read_only(data_dir / DATABASE_FILE)
    try:
        journal = await SqliteJournal.open(file)
        log = EmbeddedLog(journal, SqliteRequests(file, journal.journal_id))
        yield Parts(journal, await SqliteStore.open(file), log)
    finally:
        await file.close()


@asynccontextmanager
async def cluster_parts(journal_url: str, stock: StockStoreSettings, kafka: str) -> AsyncIterator[Parts]:
    """`journal_url` as the setting. Makes no ledger. Raises JournalUnreachable, StoreUnreachable, LedgerMissing."""
    # An embedded gateway is audited without the drivers of servers that it does not have: they take a while to load.
    from journal.postgres_shards import opened_journals  # noqa: PLC0415
    from relay.kafka_log import KafkaLog  # noqa: PLC0415

    async with opened_journals(parse_journal_urls(journal_url), timeout_s=ANSWER_LIMIT_S) as journals:
        store = await open_standing_store(stock)
        try:
            yield Parts(journals, store, KafkaLog(kafka))
        finally:
            await store.close()


def as_object(report: AuditReport) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "audit": _found(report.findings) or "ok",
        "orders": report.orders,
        "skus": report.skus,
        "events": report.events,
        "stranded": _held(report.stranded),
        "in_escrow": _held([units for units in report.held if not units.stranded]),
    }


def _found(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    return [finding._asdict() | {"rows": list(rows_of(finding))} for finding in findings]


def _held(held: Sequence[HeldUnits]) -> list[dict[str, Any]]:
    return [
        {"sku": units.sku, "incarnation": str(units.incarnation), "name": units.name, "units": units.units}
        for units in held
    ]


def _print_look(look: Look) -> None:
    report = look.report
    held, stranded = (sum(each.units for each in units) for units in (report.held, report.stranded))
    typer.echo(
        f"{datetime.now(UTC):%H:%M:%S} {len(report.findings)} findings, {report.orders} orders, {report.skus} SKUs,"
        f" {report.events} events, {report.backlog.rows} rows wait,"
        f" {held} units held, {stranded} of them stranded"
    )
    for finding in look.new:
        typer.echo(f"  NEW  {finding.invariant} {finding.subject}: {finding.message}")
        for row in rows_of(finding):
            typer.echo(f"       {row}")
    for finding in look.gone:
        typer.echo(f"  gone {finding.invariant} {finding.subject}: {finding.message}")


def _table(findings: Sequence[Finding]) -> Table:
    table = Table("invariant", "subject", "what is wrong", "rows to look at")
    for finding in findings:
        table.add_row(*finding, "\n".join(rows_of(finding)))
    return table


def _print(report: AuditReport) -> None:
    console = Console()
    if report.findings:
        console.print(_table(report.findings))
    verdict = f"{len(report.findings)} findings" if report.findings else "ok"
    console.print(f"audit: {verdict} ({report.orders} orders, {report.skus} SKUs, {report.events} events)")
    if report.held:
        table = Table("SKU", "units", "held by", "state")
        for units in report.held:
            state = "stranded until it is reclaimed" if units.stranded else "in escrow"
            table.add_row(units.sku, str(units.units), f"{units.name or 'unknown'} {units.incarnation}", state)
        console.print(table)
