"""The audit of real parts: silent on a sound system, loud about each thing that somebody breaks by hand."""

import asyncio
import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
import typer
from typer.testing import CliRunner

from audit.running import run_audit
from commands.audit import audit
from commands.data_dir import DATABASE_FILE
from journal.embedded_log import EmbeddedLog
from journal.events import encode_order_events
from journal.protocol import Batch, Committed, Spend
from journal.sqlite import SqliteJournal
from sluice.model import Line, NewOrder, StockPolicy, units_by_sku
from sluice.seams.stock_store import Applied
from sluice.sqlite_file import SqliteFile
from stockd.stores.sqlite import SqliteStore

ORDERS = 10


async def sell(data_dir: Path) -> None:
    """A small sale: 10 two-line orders out of 100 units each, 5 units left with a server that is gone."""
    file = await SqliteFile.open(data_dir / DATABASE_FILE)
    journal = await SqliteJournal.open(file)
    store = await SqliteStore.open(file)
    incarnation = uuid4()
    await journal.register("stockd-0", incarnation, datetime.now(UTC))
    for sku in ("apple", "pear"):
        await store.create_sku(sku, StockPolicy.EXACT)
        assert await store.restock(sku, uuid4(), 100) == Applied()
        await store.note_held(incarnation, [sku])
        assert await store.take(sku, incarnation, None, 25) == Applied()
    for seq in (1, 2):
        lines = (Line("apple", 1), Line("pear", 2))
        orders = [NewOrder(str(uuid4()), "anna", lines) for _ in range(ORDERS // 2)]
        now = datetime.now(UTC)
        events, count = encode_order_events(orders, now)
        spend = Spend(incarnation, seq, units_by_sku(orders))
        assert await journal.commit(Batch(orders, [spend], events, count, now)) == Committed()
    await journal.fence(incarnation)
    await file.close()


@pytest.fixture
async def data_dir(tmp_path: Path) -> Path:
    await sell(tmp_path)
    return tmp_path


def change(data_dir: Path, statement: str, *arguments: object) -> None:
    with sqlite3.connect(data_dir / DATABASE_FILE) as connection:
        changed = connection.execute(statement, arguments).rowcount
    connection.close()
    assert changed > 0, "the test broke nothing"


def run_command(*arguments: str) -> tuple[int, dict[str, object]]:
    app = typer.Typer()
    app.command()(audit)
    result = CliRunner().invoke(app, [*arguments, "--json"])
    return result.exit_code, json.loads(result.stdout)


async def test_a_sound_sale_is_ok_and_shows_what_is_stranded(data_dir: Path) -> None:
    code, report = await asyncio.to_thread(run_command, "--data-dir", str(data_dir))
    assert code == 0
    assert report["audit"] == "ok"
    assert (report["orders"], report["skus"], report["events"]) == (ORDERS, 2, 3 * ORDERS)
    stranded = report["stranded"]
    assert isinstance(stranded, list)
    assert sorted((units["sku"], units["name"], units["units"]) for units in stranded) == [
        ("apple", "stockd-0", 15),
        ("pear", "stockd-0", 5),
    ]


@pytest.mark.parametrize(
    ("statement", "invariant"),
    [
        ("UPDATE stock SET available = available + 1 WHERE sku = 'apple'", "I2"),
        ("DELETE FROM orders WHERE order_id = (SELECT min(order_id) FROM orders)", "I3"),
        ("DELETE FROM orders WHERE order_id = (SELECT min(order_id) FROM orders)", "I4"),
        ("DELETE FROM outbox WHERE number = 1", "I4"),
        ("DELETE FROM outbox WHERE number = 1", "I6"),
        ("DELETE FROM spends WHERE seq = 1", "I3"),
    ],
)
async def test_what_is_broken_by_hand_is_found(data_dir: Path, statement: str, invariant: str) -> None:
    change(data_dir, statement)
    code, report = await asyncio.to_thread(run_command, "--data-dir", str(data_dir))
    assert code == 1
    findings = report["audit"]
    assert isinstance(findings, list)
    assert invariant in {finding["invariant"] for finding in findings}
    assert all(finding["subject"] and finding["message"] for finding in findings)


async def test_what_is_not_there_cannot_be_audited(tmp_path: Path) -> None:
    code, report = await asyncio.to_thread(run_command, "--data-dir", str(tmp_path / "nothing"))
    assert code == 2
    assert report["audit"] is None


async def test_the_files_of_a_running_process_can_be_audited(data_dir: Path) -> None:
    file = await SqliteFile.open(data_dir / DATABASE_FILE)
    try:
        code, _ = await asyncio.to_thread(run_command, "--data-dir", str(data_dir))
        assert code == 0
        journal = await SqliteJournal.open(file)
        report = await run_audit(journal, await SqliteStore.open(file), EmbeddedLog(journal))
        assert report.findings == []
    finally:
        await file.close()


async def test_at_rest_units_that_nobody_can_sell_are_findings_and_name_their_rows(data_dir: Path) -> None:
    assert (await asyncio.to_thread(run_command, "--data-dir", str(data_dir)))[1]["audit"] == "ok"
    code, found = await asyncio.to_thread(run_command, "--data-dir", str(data_dir), "--at-rest")
    assert code == 1
    findings = found["audit"]
    assert isinstance(findings, list)
    assert {(each["invariant"], each["subject"]) for each in findings} == {("I10", "apple"), ("I10", "pear")}
    assert all("sku = " in each["rows"][0] for each in findings)
