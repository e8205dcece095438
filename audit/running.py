"""Reads journal, stock store and event log once, in the order that the checks need, and keeps little of it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple
from uuid import UUID

from audit.checks import (
    Finding,
    HeldUnits,
    OrderEvents,
    UnitsBySku,
    check_counts,
    check_ledger,
    check_orders_exist,
    check_sold_is_created,
    check_spends,
    held_units,
)
from audit.rest import Holding, IdleUnits, idle_holdings
from journal.events import MalformedOutboxRow, decode_events
from journal.protocol import Backlog, IncarnationRow, Journal, Journals
from sluice.model import StockPolicy
from sluice.seams.event_log import (
    TOPIC_ORDER_CANCELLED,
    TOPIC_ORDER_CONFIRMED,
    TOPIC_ORDER_CREATED,
    TOPIC_ORDER_REJECTED,
    TOPIC_ORDER_VALIDATED,
    TOPIC_STOCK_CHANGED,
    EventLog,
)
from sluice.seams.stock_store import Consistency, Ledger, StockStore

TOPICS = (
    TOPIC_ORDER_CREATED,
    TOPIC_ORDER_VALIDATED,
    TOPIC_ORDER_CONFIRMED,
    TOPIC_ORDER_CANCELLED,
    TOPIC_ORDER_REJECTED,
    TOPIC_STOCK_CHANGED,
)

SKUS_PER_PAGE = 500
LEDGERS_AT_ONCE = 16
"""Serial reads cost the store a round of consensus each; an audit must not be in the way of a sale."""

RECHECKS = 3
RECHECK_PAUSE_S = 1.0
"""A commit, a settlement and a conditional write take milliseconds. Of a SKU that is sold and returned all the time one
look in three may come at a bad moment; four in a row hardly ever."""

LOOK_UP_ORDERS = 1_000
"""Orders that are newer than the scan, looked up together."""


class AuditReport(NamedTuple):
    """`held` is what servers hold and have not sold: no finding while the system works, and `idle` the part of it that
    did not move while the audit looked. `events` counts records on the log, repeats too.
    """

    findings: Sequence[Finding]
    orders: int
    skus: int
    events: int
    held: Sequence[HeldUnits]
    idle: Mapping[Holding, tuple[int, int]] = MappingProxyType({})
    incarnations: Mapping[UUID, IncarnationRow] = MappingProxyType({})
    backlog: Backlog = Backlog(0, 0, None)

    @property
    def stranded(self) -> Sequence[HeldUnits]:
        return [units for units in self.held if units.stranded]


async def run_audit(journal: Journals, store: StockStore, log: EventLog) -> AuditReport:
    """Checks I1 to I4, I6 and I7. The system may go on selling meanwhile; what it is just selling is then checked less
    sharply. Events of other journals on the same log are left out.

    Raises JournalUnreachable, StoreUnreachable, LogUnreachable, and what the log raises for a record it cannot read.
    """
    findings: list[Finding] = []
    before = await journal.all_spends()
    ledgers = [ledger async for ledger in _ledgers(store)]
    counts = {
        ledger.sku: await store.counts(ledger.sku, Consistency.QUORUM)
        for ledger in ledgers
        if ledger.policy is StockPolicy.COUNTER
    }
    findings += check_sold_is_created(before, frozenset(ledger.sku for ledger in ledgers))

    events = OrderEvents()
    async for orders in journal.scan_orders():
        for order in orders:
            events.order(order)
    after = await journal.all_spends()
    least = _least(before, after)
    for ledger in ledgers:
        findings += check_ledger(ledger, least)
        if ledger.sku in counts:
            findings += check_counts(ledger, counts[ledger.sku], least, after)
    incarnations = {row.incarnation: row for row in await journal.incarnations()}
    held = [units for ledger in ledgers for units in held_units(ledger, after, incarnations)]
    findings += check_spends(events.units_by_sku, _by_sku(before), _by_sku(after))
    findings += await _follow_orders(events, journal, log)
    idle = idle_holdings(ledgers, before, after)
    backlog = await journal.backlog()
    return AuditReport(findings, events.orders, len(ledgers), events.events, held, idle, incarnations, backlog)


async def run_confirmed_audit(
    journal: Journals, store: StockStore, log: EventLog, *, pause_s: float = RECHECK_PAUSE_S
) -> AuditReport:
    """As `run_audit`, and looks again at what it finds: the rows are read at different moments, and what happened
    between two of them may look wrong once. What is wrong stays wrong.
    """
    report = await run_audit(journal, store, log)
    for _ in range(RECHECKS):
        if not report.findings:
            break
        await asyncio.sleep(pause_s)
        again = await run_audit(journal, store, log)
        found = {(finding.invariant, finding.subject) for finding in report.findings}
        kept = [finding for finding in again.findings if (finding.invariant, finding.subject) in found]
        report = again._replace(findings=kept)
    return report


class Look(NamedTuple):
    """One look of `watch`. `new` were not found by the look before, `gone` are not found any more."""

    report: AuditReport
    new: Sequence[Finding]
    gone: Sequence[Finding]


async def watch(
    journal: Journals,
    store: StockStore,
    log: EventLog,
    *,
    interval_s: float,
    monotonic: Callable[[], float],
    pause_s: float = RECHECK_PAUSE_S,
) -> AsyncIterator[Look]:
    """Looks for ever. Finds besides, over several looks, units that lie idle while buyers hear "sold out" (I11).

    Raises what `run_audit` raises.
    """
    idle = IdleUnits()
    before: dict[tuple[str, str], Finding] = {}
    while True:
        report = await run_confirmed_audit(journal, store, log, pause_s=pause_s)
        lying = idle.look(report.idle, report.incarnations, monotonic())
        report = report._replace(findings=[*report.findings, *lying])
        now = {(finding.invariant, finding.subject): finding for finding in report.findings}
        yield Look(
            report,
            [finding for key, finding in now.items() if key not in before],
            [finding for key, finding in before.items() if key not in now],
        )
        before = now
        await asyncio.sleep(interval_s)


async def _follow_orders(events: OrderEvents, journal: Journals, log: EventLog) -> list[Finding]:
    """Through the outbox and onto the log."""
    findings: list[Finding] = []
    # Their numbers: a UUID's own hash and comparison are written in Python.
    own = {shard.journal_id.int for shard in journal.shards}
    # Where the outbox is the log nothing ever waits, and its rows need not be read twice.
    for shard in journal.shards:
        if (await shard.backlog()).rows:
            findings += await _read_outbox(events, shard)
    unknown: dict[str, str] = {}
    async for page in log.read_pages(TOPICS):
        for event, partition, _ in page:
            if event.position.journal.int in own:
                events.logged(event, partition)
        unknown |= events.take_without_order()
        if len(unknown) >= LOOK_UP_ORDERS:
            findings += await _look_up(unknown, journal)
            unknown = {}
    unknown |= events.take_without_order()
    findings += await _look_up(unknown, journal)
    findings += events.findings()
    return findings


async def _read_outbox(events: OrderEvents, journal: Journal) -> list[Finding]:
    findings = []
    async for rows in journal.scan_outbox():
        for row in rows:
            try:
                for event in decode_events(row, journal.journal_id):
                    events.waiting(event)
            except MalformedOutboxRow as error:
                findings.append(Finding("I4", f"outbox row {row.number}", error.reason))
    return findings


async def _look_up(unknown: Mapping[str, str], journal: Journals) -> list[Finding]:
    order_ids = list(unknown)
    existing: set[str] = set()
    for at in range(0, len(order_ids), LOOK_UP_ORDERS):
        existing |= set(await journal.find_orders(order_ids[at : at + LOOK_UP_ORDERS]))
    return check_orders_exist(unknown, existing)


async def _ledgers(store: StockStore) -> AsyncIterator[Ledger]:
    after: str | None = None
    while True:
        page = await store.list_skus(after, SKUS_PER_PAGE)
        for at in range(0, len(page.skus), LEDGERS_AT_ONCE):
            some = page.skus[at : at + LEDGERS_AT_ONCE]
            for ledger in await asyncio.gather(*(store.read(summary.sku, Consistency.STRONG) for summary in some)):
                if ledger is not None:
                    yield ledger
        if page.next_after is None:
            return
        after = page.next_after


def _least(before: Mapping[UUID, UnitsBySku], after: Mapping[UUID, UnitsBySku]) -> dict[UUID, UnitsBySku]:
    return {
        incarnation: {
            sku: min(before.get(incarnation, {}).get(sku, 0), units) for sku, units in after[incarnation].items()
        }
        for incarnation in after
    }


def _by_sku(spends: Mapping[UUID, UnitsBySku]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for units in spends.values():
        for sku, count in units.items():
            sums[sku] = sums.get(sku, 0) + count
    return sums
