"""The audit follows orders through the outbox and onto the log, and asks again for those that it has not read."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from audit.checks import Finding, OrderEvents
from audit.running import LOOK_UP_ORDERS, _follow_orders
from journal.events import decode_events, encode_order_events
from journal.protocol import Backlog, OutboxRow
from sluice.model import Line, NewOrder, Order, OrderState
from sluice.seams.event_log import LoggedEvent

TIME = datetime(2026, 11, 20, 12, 0, 0, 123_456, tzinfo=UTC)
JOURNAL, OTHER = UUID(int=1), UUID(int=2)


def order(number: int) -> Order:
    return Order(str(UUID(int=number)), "anna", (Line("apple", 1),), OrderState.CREATED, TIME, TIME, 1)


def row(number: int, *orders: Order) -> OutboxRow:
    payload, count = encode_order_events([NewOrder(*placed[:3]) for placed in orders], TIME)
    return OutboxRow(number, TIME, payload, count)


def page(entry: OutboxRow, journal: UUID = JOURNAL) -> list[LoggedEvent]:
    return [LoggedEvent(event, 0, offset) for offset, event in enumerate(decode_events(entry, journal))]


class StandingJournal:
    """One journal with these orders and this outbox."""

    journal_id = JOURNAL

    def __init__(self, standing: Sequence[Order] = (), outbox: Sequence[OutboxRow] = ()) -> None:
        self.shards = [self]
        self.standing = {placed.order_id: placed for placed in standing}
        self.outbox = outbox
        self.looked_up: list[int] = []

    async def backlog(self) -> Backlog:
        return Backlog(len(self.outbox), sum(each.event_count for each in self.outbox), None)

    async def scan_outbox(self) -> AsyncIterator[Sequence[OutboxRow]]:
        yield self.outbox

    async def find_orders(self, order_ids: Sequence[str]) -> Mapping[str, Order]:
        self.looked_up.append(len(order_ids))
        return {order_id: self.standing[order_id] for order_id in order_ids if order_id in self.standing}


class Log:
    def __init__(self, *pages: Sequence[LoggedEvent]) -> None:
        self.pages = pages

    async def read_pages(self, topics: Sequence[str]) -> AsyncIterator[Iterator[LoggedEvent]]:
        for each in self.pages:
            yield (logged for logged in each if logged.event.topic in topics)


async def followed(read: Sequence[Order], journal: StandingJournal, *pages: Sequence[LoggedEvent]) -> list[Finding]:
    events = OrderEvents()
    for placed in read:
        events.order(placed)
    sound: Any = journal
    log: Any = Log(*pages)
    return await _follow_orders(events, sound, log)


async def test_what_waits_in_the_outbox_is_not_missing_on_the_log() -> None:
    a, b = order(1), order(2)
    assert await followed([a, b], StandingJournal([a, b], [row(2, b)]), page(row(1, a))) == []
    assert await followed([a, b], StandingJournal([a, b]), page(row(1, a)))


async def test_i4_an_outbox_row_that_nobody_can_read() -> None:
    a = order(1)
    broken = row(7, a)._replace(event_count=3)
    (finding,) = await followed([a], StandingJournal([a], [broken]), page(row(1, a)))
    assert finding[:2] == ("I4", "outbox row 7")


async def test_orders_newer_than_those_read_are_looked_up_some_at_a_time_and_what_is_not_there_is_i4() -> None:
    orders = [order(number) for number in range(1, 2 * LOOK_UP_ORDERS + 10)]
    journal = StandingJournal(orders[1:])
    (finding,) = await followed([], journal, page(row(1, *orders)))
    assert finding[:2] == ("I4", orders[0].order_id)
    assert sum(journal.looked_up) == len(orders)
    assert max(journal.looked_up) <= LOOK_UP_ORDERS


async def test_events_of_a_journal_of_others_are_left_out() -> None:
    a = order(1)
    assert await followed([a], StandingJournal([a]), page(row(1, a)), page(row(1, order(2)), OTHER)) == []
