"""What the audit asks of a system at rest, what it calls idle, and how it leaves out what only looked wrong."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from audit import running
from audit.checks import Finding, HeldUnits
from audit.rest import IDLE_LIMIT_S, IdleUnits, check_at_rest, idle_holdings
from audit.rows import rows_of
from audit.running import AuditReport, run_confirmed_audit, watch
from journal.protocol import Backlog, IncarnationRow
from sluice.model import StockPolicy
from sluice.seams.stock_store import Ledger, Row

TIME = datetime(2026, 11, 20, tzinfo=UTC)
ONE, TWO = UUID(int=1), UUID(int=2)
EMPTY = Backlog(0, 0, None)
WRONG, PASSING = Finding("I1", "apple", "wrong"), Finding("I3", "pear", "only looked so")


def ledger(sku: str, available: int, held: dict[UUID, Row]) -> Ledger:
    return Ledger(sku, StockPolicy.ESCROW, available, {}, held)


def test_i10_nothing_is_held_and_nothing_waits() -> None:
    held = [HeldUnits("apple", ONE, "stockd-1", 3, stranded=False), HeldUnits("pear", TWO, None, 2, stranded=True)]
    assert check_at_rest([], EMPTY) == []
    assert [(found.invariant, found.subject) for found in check_at_rest(held, Backlog(1, 4, TIME))] == [
        ("I10", "apple"),
        ("I10", "pear"),
        ("I10", "outbox"),
    ]


def test_idle_is_what_lay_still_while_the_ledger_had_none() -> None:
    ledgers = [
        ledger("apple", 0, {ONE: Row(5, 3), TWO: Row(7, 1)}),
        ledger("pear", 1, {ONE: Row(5, 3)}),  # can be had from the ledger
        ledger("plum", 0, {ONE: Row(4, 2)}),  # all sold
        ledger("fig", 0, {ONE: Row(4, 2)}),  # is being sold
    ]
    before = {ONE: {"apple": 2, "plum": 4, "fig": 1}, TWO: {"apple": 7}}
    after = {ONE: {"apple": 2, "plum": 4, "fig": 2}, TWO: {"apple": 7}}
    assert idle_holdings(ledgers, before, after) == {("apple", ONE): (3, 3)}


def test_i11_idle_units_are_found_after_their_time_and_not_when_anything_moved() -> None:
    known = {ONE: IncarnationRow("stockd-1", ONE, TIME, fenced=False)}
    idle = IdleUnits()
    holding = ("apple", ONE)
    assert idle.look({holding: (3, 1)}, known, 100.0) == []
    assert idle.look({holding: (3, 1)}, known, 100.0 + IDLE_LIMIT_S - 1) == []
    (finding,) = idle.look({holding: (3, 1)}, known, 100.0 + IDLE_LIMIT_S)
    assert (finding.invariant, finding.subject) == ("I11", "apple")
    assert "stockd-1" in finding.message
    assert idle.look({holding: (3, 3)}, known, 140.0) == []  # its row was written since
    assert idle.look({}, known, 170.0) == []
    assert idle.look({holding: (3, 3)}, known, 180.0) == []


def test_every_kind_of_finding_names_rows() -> None:
    order_id = str(UUID(int=7))
    for finding in [
        WRONG,
        Finding("I2", "o'apple", ""),
        PASSING,
        Finding("I4", order_id, ""),
        Finding("I4", f"{order_id}/1", ""),
        Finding("I7", order_id, ""),
        Finding("I10", "apple", ""),
        Finding("I11", "apple", ""),
        Finding("I4", "outbox row 7", ""),
    ]:
        assert rows_of(finding), finding
    assert "sku = 'o''apple'" in rows_of(Finding("I2", "o'apple", ""))[0]


class Looks:
    """Audits that find what the test says, one after the other; the last is repeated."""

    def __init__(self, *found: Sequence[Finding]) -> None:
        self.found = list(found)
        self.count = 0

    async def __call__(self, *_: Any) -> AuditReport:
        found = self.found[min(self.count, len(self.found) - 1)]
        self.count += 1
        return AuditReport(list(found), 1, 1, 1, [])


async def confirmed(looks: Looks, monkeypatch: pytest.MonkeyPatch) -> Sequence[Finding]:
    monkeypatch.setattr(running, "run_audit", looks)
    nothing: Any = None
    return (await run_confirmed_audit(nothing, nothing, nothing, pause_s=0)).findings


async def test_what_looked_wrong_once_is_not_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await confirmed(Looks([PASSING], []), monkeypatch) == []
    assert await confirmed(Looks([PASSING, WRONG], [WRONG], [PASSING, WRONG]), monkeypatch) == [WRONG]
    looks = Looks([])
    assert await confirmed(looks, monkeypatch) == []
    assert looks.count == 1


async def test_watching_says_what_is_new_and_what_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "run_audit", Looks([], *[[WRONG]] * 4, []))
    nothing: Any = None
    seen = []

    async def look(looks: AsyncIterator[running.Look]) -> None:
        async for each in looks:
            seen.append((list(each.new), list(each.gone)))
            if len(seen) == 3:
                return

    looks = watch(nothing, nothing, nothing, interval_s=0, monotonic=asyncio.get_running_loop().time, pause_s=0)
    await look(looks)
    assert seen == [([], []), ([WRONG], []), ([], [WRONG])]
