"""Reads journal, stock store and event log once, in the order that the checks need, and keeps little of it."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
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
from journal.events import MalformedOutboxRow, decode_events
from journal.protocol import Journal
from sluice.model import StockPolicy
from sluice.seams.event_log import (
    TOPIC_ORDER_CANCELLED,
    TOPIC_ORDER_CONFIRMED,
    TOPIC_ORDER_CREATED,
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
    TOPIC_STOCK_CHANGED,
)

SKUS_PER_PAGE = 500
LEDGERS_AT_ONCE = 16
"""Serial reads cost the store a round of consensus each; an audit must not be in the way of a sale."""

LOOK_UP_ORDERS = 1_000
"""Orders that are newer than the scan, looked up together."""


class AuditReport(NamedTuple):
    """`held` is what servers hold and have not sold: no finding. `events` counts records on the log, repeats too."""

    findings: Sequence[Finding]
    orders: int
    skus: int
    events: int
    held: Sequence[HeldUnits]

    @property
    def stranded(self) -> Sequence[HeldUnits]:
        return [units for units in self.held if units.stranded]


async def run_audit(journal: Journal, store: StockStore, log: EventLog) -> AuditReport:
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
            findings += check_counts(ledger, counts[ledger.sku], least)
    incarnations = {row.incarnation: row for row in await journal.incarnations()}
    held = [units for ledger in ledgers for units in held_units(ledger, after, incarnations)]
    findings += check_spends(events.units_by_sku, _by_sku(before), _by_sku(after))
    findings += await _follow_orders(events, journal, log)
    return AuditReport(findings, events.orders, len(ledgers), events.events, held)


async def _follow_orders(events: OrderEvents, journal: Journal, log: EventLog) -> list[Finding]:
    """Through the outbox and onto the log."""
    findings: list[Finding] = []
    # Where the outbox is the log nothing ever waits, and its rows need not be read twice.
    if (await journal.backlog()).rows:
        async for rows in journal.scan_outbox():
            for row in rows:
                try:
                    for event in decode_events(row, journal.journal_id):
                        events.waiting(event)
                except MalformedOutboxRow as error:
                    findings.append(Finding("I4", f"outbox row {row.number}", error.reason))
    unknown: dict[str, str] = events.take_without_order()
    for topic in TOPICS:
        async for entry in log.read(topic, follow=False):
            if entry.event.position.journal == journal.journal_id:
                events.logged(entry.event, entry.partition)
            if len(unknown) >= LOOK_UP_ORDERS:
                findings += await _look_up(unknown, journal)
                unknown = {}
            unknown |= events.take_without_order()
    findings += await _look_up(unknown, journal)
    findings += events.findings()
    return findings


async def _look_up(unknown: Mapping[str, str], journal: Journal) -> list[Finding]:
    if not unknown:
        return []
    return check_orders_exist(unknown, set(await journal.find_orders(list(unknown))))


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
