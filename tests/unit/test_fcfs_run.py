"""What the audit of the queue asks of journal and ledger when the log alone does not say it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from audit import fcfs
from audit.fcfs import audit_fcfs
from journal.events import decode_events, encode_order_events, encode_rejection_events, encode_request_events
from journal.protocol import OutboxRow, Rejection
from sluice.model import Line, NewOrder, StockPolicy
from sluice.order_requests import OrderRequest
from sluice.seams.event_log import Event, LoggedEvent
from sluice.seams.stock_store import Ledger

TIME = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
JOURNAL, RESTOCK, WITHDRAWAL = UUID(int=1), UUID(int=99), UUID(int=98)
FIRST, SECOND = (NewOrder(str(UUID(int=number)), "anna", (Line("teapot", 1),)) for number in (1, 2))


def events(number: int, encoded: tuple[bytes, int]) -> list[Event]:
    payload, count = encoded
    return decode_events(OutboxRow(number, TIME, payload, count), JOURNAL)


QUEUE = events(1, encode_request_events([OrderRequest(FIRST, TIME), OrderRequest(SECOND, TIME)]))


class Parts:
    """Log, journal and ledger of a shop with one teapot."""

    journal_id = JOURNAL

    def __init__(self, logged: Sequence[Event], standing: Sequence[NewOrder] = ()) -> None:
        self.logged = [*QUEUE, *logged]
        self.standing = {order.order_id: order for order in standing}
        self.restocks = {RESTOCK: 1}

    async def read(self, sku: Any, consistency: Any) -> Ledger:
        return Ledger("teapot", StockPolicy.EXACT, 0, self.restocks, {})

    async def find_orders(self, order_ids: Sequence[str]) -> Mapping[str, NewOrder]:
        return {each: self.standing[each] for each in order_ids if each in self.standing}


class Log:
    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    async def read(self, topic: str, *, follow: bool) -> AsyncIterator[LoggedEvent]:
        for offset, event in enumerate(self.parts.logged):
            if event.topic == topic:
                yield LoggedEvent(event, 0, offset)


async def found(parts: Parts) -> list[tuple[str, str]]:
    journal: Any = parts
    report = await audit_fcfs(Log(parts), journal, journal)
    return [(finding.subject, finding.message) for finding in report.findings]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcfs, "RECHECK_PAUSE_S", 0)


async def test_an_order_that_was_passed_over_is_found_unless_it_stands_in_the_journal() -> None:
    second_sold = events(1, encode_order_events([SECOND], TIME))
    assert await found(Parts(second_sold)) == [(FIRST.order_id, "is not decided, and orders behind it are")]
    assert await found(Parts(second_sold, [FIRST])) == []


@pytest.mark.parametrize(("claimed", "wrong"), [(1, False), (2, True)])
async def test_a_rejection_that_knows_of_more_units_than_there_ever_were(claimed: int, wrong: bool) -> None:
    sold = events(1, encode_order_events([FIRST], TIME))
    rejected = events(2, encode_rejection_events([Rejection(SECOND, "OUT_OF_STOCK", "teapot", claimed)], TIME))
    subjects = [
        (subject, "its rejection knows of" in message) for subject, message in await found(Parts(sold + rejected))
    ]
    assert ((SECOND.order_id, True) in subjects) == wrong


async def test_a_rejection_may_know_of_units_that_were_withdrawn_since() -> None:
    sold = events(1, encode_order_events([FIRST], TIME))
    rejected = events(2, encode_rejection_events([Rejection(SECOND, "OUT_OF_STOCK", "teapot", 1)], TIME))
    parts = Parts(sold + rejected)
    before = await found(parts)
    parts.restocks = {RESTOCK: 1, WITHDRAWAL: -1}
    assert await found(parts) == before
