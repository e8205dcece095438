"""What must be true once nothing is broken any more and nobody buys."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple, TypeVar

import grpc

from audit.running import run_audit
from commands.audit import Parts, cluster_parts
from deploy.local.services import stock_store
from journal.protocol import Journals
from sluice._gen.stock.v1 import stock_pb2
from sluice.errors import Unreachable
from sluice.model import Order, OrderState
from tests.chaos.buyers import Buyers
from tests.chaos.faults import role_of
from tests.chaos.records import Finding, Record
from tests.chaos.shelf import Shelf
from tests.chaos.system import PEER_DEAD_AFTER_S, System
from tests.integration.buying import CALL_LIMIT_S, Client, stock_of

LAG_LIMIT_S = 30.0
"""The relay waits 3 s at most between attempts; then it has some thousand events to catch up with."""

ESCROW_LIMIT_S = 1.4 * PEER_DEAD_AFTER_S + 1.0 + 30.0 + 10.0
"""Who died last is found silent within the limit and two looks, and folded within a second; 30 s later if the server
that claimed it died as well. What a zombie's late write stranded goes back at the next sweep, 10 s later."""

COMPENSATED_LIMIT_S = ESCROW_LIMIT_S
"""Compensation reads the log behind the relay, and returns units through servers that may just have started."""

PATIENCE_S = 2 * CALL_LIMIT_S
POLL_S = 0.25
UNANSWERED = (Unreachable, TimeoutError, grpc.aio.AioRpcError)
EXCEPTIONS = ("Traceback (most recent call last)", "deciding failed", "committing failed", "tending a SKU failed")
"""What our own processes log when something happened that nobody thought of."""
CALLER_IS_GONE = "ExecuteBatchError: Failed "
"""How gRPC, in a traceback of its own, tells that an answer had no caller any more to go to."""

LIVE = frozenset({OrderState.CREATED, OrderState.VALIDATED, OrderState.CONFIRMED, OrderState.HELD})


T = TypeVar("T")


class Settled(NamedTuple):
    """`lag_s` and `escrow_s`: after how long the outbox was empty, and every unit was for sale or sold."""

    lag_s: float
    escrow_s: float
    orders: int
    events: int
    stands_although_refused: int
    """Told OUT_OF_STOCK by one gateway while an earlier call of unknown outcome was still on its way at the other."""


class Books:
    """What the orders of earlier rounds came to: it must stay so."""

    def __init__(self) -> None:
        self._live: dict[str, bool] = {}

    def __len__(self) -> int:
        return len(self._live)

    def check_and_remember(self, stands: Mapping[str, Order]) -> list[Finding]:
        """`stands`: every order of the journal."""
        live = {order_id: order.state in LIVE for order_id, order in stands.items()}
        findings = [
            Finding("earlier order", order_id, "stood after an earlier round, and is gone")
            for order_id in self._live.keys() - live.keys()
        ]
        findings += [
            Finding("earlier order", order_id, "was ended in an earlier round, and is alive again")
            for order_id, lives in live.items()
            if lives and self._live.get(order_id) is False
        ]
        self._live = live
        return findings


async def settle(
    system: System, clients: Sequence[Client], buyers: Buyers, shelf: Shelf, books: Books, findings: list[Finding]
) -> Settled:
    """Waits until the system is quiet, checks all, and appends what is wrong to `findings`."""
    found = system.cluster.endpoints
    healed = time.monotonic()
    async with cluster_parts(found.postgres, stock_store(found), found.kafka) as parts:
        lag_s = await _becomes(lambda: _outbox_is_empty(parts), healed, LAG_LIMIT_S)
        if lag_s is None:
            backlog = await parts.journal.backlog()
            findings.append(
                Finding("I10", "outbox", f"{backlog.rows} rows are not on Kafka {LAG_LIMIT_S:g} s after healing")
            )
        escrow_s = await _becomes(lambda: _nothing_in_escrow(clients[0], shelf), healed, ESCROW_LIMIT_S)
        if escrow_s is None:
            findings += await _units_left_behind(clients[0], shelf)
        if await _becomes(lambda: _nothing_is_oversold(clients[0], shelf), healed, COMPENSATED_LIMIT_S) is None:
            findings += await _still_oversold(clients[0], shelf)
        report = await _patiently(lambda: run_audit(parts.journal, parts.store, parts.log))
        findings += [Finding(each.invariant, each.subject, each.message) for each in report.findings]
        findings += [
            Finding("I10", each.sku, f"{each.units} units are stranded in {each.name} {each.incarnation}")
            for each in report.stranded
        ]
        stands = await _patiently(lambda: _all_orders(parts.journal))
        findings += books.check_and_remember(stands)
        findings += _compare(buyers.records, stands)
        findings += await _compare_stock(clients, shelf, buyers, stands)
    findings += buyers.findings
    return Settled(
        lag_s or LAG_LIMIT_S,
        escrow_s or ESCROW_LIMIT_S,
        report.orders,
        report.events,
        sum(1 for record in buyers.records.values() if _stands_although_refused(record, stands)),
    )


async def stands_up_to_audit(system: System) -> list[Finding]:
    """What an audit finds once the relay has caught up."""
    found = system.cluster.endpoints
    async with cluster_parts(found.postgres, stock_store(found), found.kafka) as parts:
        if await _becomes(lambda: _outbox_is_empty(parts), time.monotonic(), LAG_LIMIT_S) is None:
            return [Finding("I10", "outbox", f"not empty after {LAG_LIMIT_S:g} s")]
        report = await _patiently(lambda: run_audit(parts.journal, parts.store, parts.log))
        return [Finding(each.invariant, each.subject, each.message) for each in report.findings]


def exceptions_in_logs(system: System, read_to: dict[str, int]) -> list[Finding]:
    """What our processes did not expect, since the last look; `read_to` holds how far each log was read."""
    findings = []
    for name in system.names:
        if role_of(name) in ("cassandra", "kafka", "postgres"):
            continue
        log = system.cluster.log(name)
        text, read_to[name] = _read_from(log, read_to.get(name, 0))
        lines = text.splitlines()
        findings += [
            Finding("exception", name, f"{log}: " + "\n      ".join(lines[at : at + 30]))
            for at, line in enumerate(lines)
            if any(each in line for each in EXCEPTIONS) and not _caller_is_gone(lines[at + 1 :])
        ][:3]
    return findings


def _caller_is_gone(after: Sequence[str]) -> bool:
    """Whether no code but gRPC's stands in the traceback that goes on so, and it ends as that does."""
    end = next((line for line in after if not line.startswith(" ")), "")
    frames = list(takewhile(lambda line: line.startswith(" "), after))
    return CALLER_IS_GONE in end and all("/grpc/_cython/" in line for line in frames)


async def _patiently(ask: Callable[[], Awaitable[T]]) -> T:
    """Asks again while nobody answers: on a machine that runs everything, what is whole may still be slow."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await ask()
        except UNANSWERED:
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(POLL_S)


async def _stock(client: Client, sku: str) -> stock_pb2.GetStockResponse:
    return await _patiently(lambda: stock_of(client, sku))


async def _becomes(holds: Callable[[], Awaitable[bool]], since: float, limit_s: float) -> float | None:
    """How long after `since` it held; None if not within the limit."""
    while True:
        try:
            async with asyncio.timeout(limit_s):
                if await holds():
                    return time.monotonic() - since
        except UNANSWERED:
            pass
        if time.monotonic() > since + limit_s:
            return None
        await asyncio.sleep(POLL_S)


async def _outbox_is_empty(parts: Parts) -> bool:
    return (await parts.journal.backlog()).rows == 0


async def _nothing_in_escrow(client: Client, shelf: Shelf) -> bool:
    stocks = [await _stock(client, sku.name) for sku in shelf.skus]
    return not any(stock.escrow for stock in stocks)


async def _units_left_behind(client: Client, shelf: Shelf) -> list[Finding]:
    stocks = [await _stock(client, sku.name) for sku in shelf.skus]
    return [
        Finding("I10", stock.sku, f"{stock.escrow} units are still in escrow {ESCROW_LIMIT_S:g} s after healing")
        for stock in stocks
        if stock.escrow
    ]


async def _nothing_is_oversold(client: Client, shelf: Shelf) -> bool:
    return not await _still_oversold(client, shelf)


async def _still_oversold(client: Client, shelf: Shelf) -> list[Finding]:
    stocks = [await _stock(client, sku.name) for sku in shelf.skus]
    return [
        Finding("I1", stock.sku, f"{stock.sold} units are sold of {stock.restocked}, and nobody has cancelled any")
        for stock in stocks
        if stock.sold > stock.restocked
    ]


async def _all_orders(journal: Journals) -> dict[str, Order]:
    return {order.order_id: order async for page in journal.scan_orders() for order in page}


def _compare(records: Mapping[str, Record], stands: Mapping[str, Order]) -> list[Finding]:
    findings = []
    for record in records.values():
        findings += record.contradictions()
        wrong = record.disagreement(stands.get(record.order_id))
        if wrong is not None:
            findings.append(record.finding(wrong))
    return findings


async def _compare_stock(
    clients: Sequence[Client], shelf: Shelf, buyers: Buyers, stands: Mapping[str, Order]
) -> list[Finding]:
    findings = []
    sold: Counter[str] = Counter()
    for order in stands.values():
        if order.state in LIVE:
            sold.update(dict(order.lines))
    for number, sku in enumerate(shelf.skus):
        stock = await _stock(clients[number % len(clients)], sku.name)
        least = buyers.restocked[sku.name] - buyers.withdrawals_unknown[sku.name]
        most = buyers.restocked[sku.name] + buyers.restocks_unknown[sku.name]
        shown = " ".join(str(stock).split())
        if not least <= stock.restocked <= most:
            findings.append(Finding("I2", sku.name, f"clients restocked {least} to {most}: {shown}"))
        if stock.sold != sold[sku.name]:
            findings.append(Finding("I1", sku.name, f"orders hold {sold[sku.name]} units: {shown}"))
        if sku.policy == stock_pb2.STOCK_POLICY_COUNTER:
            continue  # what is counted may be wrong until the drift is repaired
        if stock.sold > stock.restocked:
            findings.append(Finding("I1", sku.name, f"more is sold than was ever there: {shown}"))
        if stock.available + stock.escrow + stock.sold != stock.restocked:
            findings.append(Finding("I2", sku.name, f"the books do not balance: {shown}"))
    return findings


def _stands_although_refused(record: Record, stands: Mapping[str, Order]) -> bool:
    return record.order_id in stands and not record.accepted and record.was_refused


def _read_from(log: Path, offset: int) -> tuple[str, int]:
    with log.open("rb") as file:
        file.seek(offset)
        text = file.read()
    return text.decode(errors="replace"), offset + len(text)
