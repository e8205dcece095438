"""Each check finds the one thing it is for, and a sound history has no findings."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from audit.checks import (
    Finding,
    HeldUnits,
    OrderEvents,
    check_counts,
    check_ledger,
    check_orders_exist,
    check_sold_is_created,
    check_spends,
    held_units,
)
from journal.events import decode_events, encode_order_events, encode_rejection_events, encode_transition_events
from journal.protocol import IncarnationRow, OutboxRow, Rejection, Transition
from sluice.counting import UNCOUNTED_CAP
from sluice.model import Line, NewOrder, Order, OrderState, StockPolicy
from sluice.seams.event_log import Event
from sluice.seams.stock_store import ALL_CELLS, Cell, Counts, Ledger, Row

TIME = datetime(2026, 11, 20, 12, 0, 0, 123_456, tzinfo=UTC)
LATER = TIME + timedelta(minutes=5)
JOURNAL = UUID("6b1f5a4e-6f0a-4a53-9d53-0d8f6a0a0c11")
ONE, TWO = UUID(int=1), UUID(int=2)
RESTOCK = UUID(int=99)


def ledger(restocked: int, available: int, **held: int) -> Ledger:
    names = {"one": ONE, "two": TWO}
    return Ledger(
        "apple",
        StockPolicy.EXACT,
        available,
        {RESTOCK: restocked},
        {names[name]: Row(units, 1) for name, units in held.items()},
    )


def test_a_sound_ledger_has_no_findings() -> None:
    assert check_ledger(ledger(10, 3, one=5, two=2), {ONE: {"apple": 5}, TWO: {"pear": 7}}) == []


def test_i1_more_sold_than_was_ever_there() -> None:
    findings = check_ledger(ledger(10, 0, one=11), {ONE: {"apple": 11}})
    assert Finding("I1", "apple", "11 units are sold, 10 were ever there") in findings


@pytest.mark.parametrize("available", [2, 4])
def test_i2_units_that_vanished_or_appeared(available: int) -> None:
    (finding,) = check_ledger(ledger(10, available, one=7), {})
    assert finding[:2] == ("I2", "apple")


def test_i2_an_incarnation_that_sold_more_than_it_took() -> None:
    (finding,) = check_ledger(ledger(10, 3, one=7), {TWO: {"apple": 1}})
    assert finding == Finding("I2", "apple", f"incarnation {TWO} sold 1 units but holds 0")


def _counter(restocked: int) -> Ledger:
    return Ledger("apple", StockPolicy.COUNTER, restocked, {RESTOCK: restocked}, {})


def _counts(**units: int) -> Counts:
    names = {"one": ONE, "two": TWO}
    return Counts({Cell(names[name], 0): count for name, count in units.items()}, {})


def test_of_a_counter_sku_nothing_is_taken() -> None:
    assert check_ledger(_counter(10), {ONE: {"apple": 7}, TWO: {"apple": 5}}) == []
    (finding,) = check_ledger(_counter(10)._replace(available=9), {})
    assert finding[:2] == ("I2", "apple")


def test_i1_a_counter_sku_may_be_oversold_up_to_the_bound() -> None:
    sold = {ONE: {"apple": 12}, TWO: {"apple": 8, "pear": 1}}
    assert check_counts(_counter(10), _counts(one=12, two=8), sold, sold) == []
    findings = check_counts(_counter(10), _counts(one=12), sold, sold)
    assert findings == [Finding("I1", "apple", "10 units are sold beyond what was there; the bound is 0")]


def test_i2_a_server_with_more_uncounted_than_the_cap() -> None:
    sold = {ONE: {"apple": UNCOUNTED_CAP + 5}}
    assert check_counts(_counter(9_999), _counts(one=5), sold, sold) == []
    (finding,) = check_counts(_counter(9_999), _counts(one=4), sold, sold)
    assert finding[:2] == ("I2", "apple")


def test_of_a_server_that_is_gone_every_unit_counts_and_no_other() -> None:
    sold = {ONE: {"apple": 7}}
    assert check_counts(_counter(10), _closed(7), sold, sold) == []
    assert check_counts(_counter(10), _closed(7), {ONE: {"apple": 5}}, sold) == [], "it sold on after the first look"
    assert check_counts(_counter(10), _closed(10), sold, sold) == [
        Finding("I11", "apple", f"3 units count as sold by incarnation {ONE}, which did not sell them")
    ]
    assert check_counts(_counter(10), _closed(6), sold, sold) == [
        Finding("I2", "apple", f"incarnation {ONE} sold 1 units that nobody else can see")
    ]


def test_a_server_that_sells_may_have_counted_what_came_back_since() -> None:
    sold = {ONE: {"apple": 7}}
    assert check_counts(_counter(10), _counts(one=10), sold, sold) == []


def _closed(units: int) -> Counts:
    return Counts({Cell(ONE, 0): 2}, {Cell(ONE, ALL_CELLS): units})


def test_i2_a_sku_that_was_sold_but_never_created() -> None:
    assert check_sold_is_created({ONE: {"apple": 1, "pear": 2, "plum": 0}}, frozenset({"apple"})) == [
        Finding("I2", "pear", "was sold but never created")
    ]


def test_units_taken_and_not_sold_are_stranded_when_nobody_can_sell_them() -> None:
    alive = IncarnationRow("stockd-1", ONE, TIME, fenced=False)
    fenced = IncarnationRow("stockd-2", TWO, TIME, fenced=True)
    spends = {ONE: {"apple": 3}, TWO: {"apple": 1}}
    held = ledger(10, 1, one=5, two=4)
    assert held_units(held, spends, {ONE: alive, TWO: fenced}) == [
        HeldUnits("apple", ONE, "stockd-1", 2, stranded=False),
        HeldUnits("apple", TWO, "stockd-2", 3, stranded=True),
    ]
    assert [units.stranded for units in held_units(held, spends, {})] == [True, True]
    assert held_units(ledger(4, 0, one=3, two=1), spends, {ONE: alive, TWO: fenced}) == []


def test_i3_orders_and_spends_agree_exactly_when_quiet_and_lie_between_when_moving() -> None:
    assert check_spends({"apple": 5}, {"apple": 5}, {"apple": 5}) == []
    assert check_spends({"apple": 5}, {"apple": 4}, {"apple": 7}) == []
    for ordered in (3, 8):
        (finding,) = check_spends({"apple": ordered}, {"apple": 4}, {"apple": 7})
        assert finding[:2] == ("I3", "apple")
    (finding,) = check_spends({"apple": 5}, {"apple": 6}, {"apple": 6})
    assert finding == Finding("I3", "apple", "orders hold 5 units, spends say 6")
    (finding,) = check_spends({}, {"pear": 1}, {"pear": 1})
    assert finding == Finding("I3", "pear", "orders hold 0 units, spends say 1")


def order(number: int, *lines: Line, state: OrderState = OrderState.CREATED) -> Order:
    return Order(str(UUID(int=number)), "anna", lines or (Line("apple", 1), Line("pear", 2)), state, TIME, TIME, 1)


def events_of(number: int, *orders: Order, journal: UUID = JOURNAL) -> list[Event]:
    new = [NewOrder(placed.order_id, placed.customer_id, placed.lines) for placed in orders]
    payload, count = encode_order_events(new, TIME)
    return decode_events(OutboxRow(number, TIME, payload, count), journal)


A, B = order(1), order(2)


def findings_of(
    orders: Sequence[Order], logged: Sequence[Event], waiting: Sequence[Event] = ()
) -> tuple[list[Finding], dict[str, str]]:
    events = OrderEvents()
    for placed in orders:
        events.order(placed)
    for event in waiting:
        events.waiting(event)
    for event in logged:
        events.logged(event, 0)
    return list(events.findings()), events.take_without_order()


def test_a_sound_history_has_no_findings_repeats_and_backlog_included() -> None:
    first, second = events_of(1, A), events_of(2, B)
    assert findings_of([A, B], first + second) == ([], {})
    assert findings_of([A, B], first + first + second + second[1:]) == ([], {})
    assert findings_of([A, B], first, waiting=second) == ([], {})
    assert findings_of([A, B], first + second[:1], waiting=second) == ([], {})


def test_i3_an_order_id_that_stands_twice() -> None:
    findings, _ = findings_of([A, A], events_of(1, A))
    assert findings[0][:2] == ("I3", A.order_id)


def test_i4_an_order_without_its_order_created() -> None:
    assert findings_of([A, B], events_of(1, A) + events_of(2, B)[1:]) == (
        [Finding("I4", B.order_id, "its order-created is neither on the log nor waiting")],
        {},
    )


def test_i4_an_event_without_an_order() -> None:
    findings, without_order = findings_of([A], events_of(1, A) + events_of(2, B)[:1])
    assert findings == []
    assert without_order == {B.order_id: f"{B.order_id}/1"}
    assert check_orders_exist(without_order, {B.order_id}) == []
    assert check_orders_exist(without_order, set()) == [
        Finding("I4", B.order_id, f"event {B.order_id}/1 tells of it, but there is no such order")
    ]


def test_i4_the_same_event_under_two_positions() -> None:
    findings, _ = findings_of([A], events_of(1, A) + events_of(2, A)[:1])
    assert findings == [Finding("I4", f"{A.order_id}/1", "is on the log under a second position, 2/0")]


def test_i4_an_event_behind_one_that_came_later() -> None:
    findings, _ = findings_of([A, B], events_of(2, B) + events_of(1, A))
    assert Finding("I4", f"{A.order_id}/1", "stands on the log behind 2/0, which came later") in findings
    assert len(findings) == 3


def test_positions_of_different_journals_have_no_order() -> None:
    for other in (UUID(int=0), UUID(int=2**128 - 1)):
        assert findings_of([A, B], events_of(2, B, journal=other) + events_of(1, A))[0] == []


def test_i6_a_line_without_stock_changed() -> None:
    assert findings_of([A], events_of(1, A)[:2])[0] == [
        Finding("I6", A.order_id, "1 of its 2 lines have no stock-changed")
    ]


@pytest.mark.parametrize("changed", [order(1, Line("apple", 1)), order(1, Line("apple", 1), Line("pear", 3))])
def test_i6_an_event_that_says_something_else_than_the_order(changed: Order) -> None:
    findings, _ = findings_of([A], events_of(1, A) + events_of(1, changed))
    assert findings
    assert all(finding[:2] == ("I6", A.order_id) for finding in findings)


def test_i6_an_event_of_another_customer() -> None:
    findings, _ = findings_of([A], events_of(1, A) + events_of(1, A._replace(customer_id="berta"))[:1])
    assert findings == [Finding("I6", A.order_id, f"event {A.order_id}/1 does not say what the order says")]


def test_i6_an_event_of_another_time() -> None:
    created, *changed = events_of(1, A)
    findings, _ = findings_of([A], [created._replace(time_ms=created.time_ms + 1), *changed])
    assert Finding("I6", A.order_id, f"event {A.order_id}/1 does not say what the order says") in findings
    apple, pear = changed
    findings, _ = findings_of([A], [created, apple._replace(time_ms=apple.time_ms + 1), pear])
    assert Finding("I6", A.order_id, f"event {apple.event_id} is of no line of the order") in findings


def test_i6_a_stock_changed_of_no_line() -> None:
    _, *changed = events_of(1, order(1, Line("apple", 1), Line("pear", 3)))
    findings, _ = findings_of([A], events_of(1, A) + changed)
    assert findings == [Finding("I6", A.order_id, f"event {A.order_id}/1/pear is of no line of the order")]


def rejection_of(number: int, rejected: Order, reason: str) -> list[Event]:
    rejection = Rejection(NewOrder(*rejected[:3]), reason, "apple", 7)
    payload, count = encode_rejection_events([rejection], TIME)
    return decode_events(OutboxRow(number, TIME, payload, count), JOURNAL)


def test_i4_a_rejected_order_has_its_rejection_and_nothing_else() -> None:
    rejected = order(3, state=OrderState.REJECTED)._replace(reason="OUT_OF_STOCK")
    no = rejection_of(2, rejected, "OUT_OF_STOCK")
    assert findings_of([A, rejected], events_of(1, A) + no) == ([], {})
    assert findings_of([A, rejected], events_of(1, A))[0] == [
        Finding("I4", rejected.order_id, "its order-rejected is neither on the log nor waiting")
    ]
    assert findings_of([rejected], rejection_of(2, rejected, "CUSTOMER_LIMIT"))[0]
    assert findings_of([rejected], [*no, *events_of(3, rejected)])[0], "it was told to be created, too"
    assert findings_of([A], events_of(1, A) + rejection_of(2, A, "OUT_OF_STOCK"))[0], "and the other way round"


def moved(number: int, placed: Order, state: OrderState, reason: str = "") -> tuple[Order, list[Event]]:
    step = Transition(placed, state, reason)
    payload, count = encode_transition_events([step], LATER)
    return step.after(LATER), decode_events(OutboxRow(number, LATER, payload, count), JOURNAL)


def test_the_life_of_an_order_is_on_the_log_and_its_units_come_back_at_its_end() -> None:
    confirmed, yes = moved(2, A, OrderState.CONFIRMED)
    cancelled, no = moved(3, confirmed, OrderState.CANCELLED, "CLIENT")
    assert findings_of([confirmed], events_of(1, A) + yes) == ([], {})
    assert findings_of([cancelled], events_of(1, A) + yes + no) == ([], {})
    assert findings_of([cancelled], events_of(1, A) + yes, waiting=no) == ([], {})
    events = OrderEvents()
    events.order(cancelled)
    assert events.units_by_sku == {}


def test_what_became_of_an_order_after_it_was_read_is_no_finding() -> None:
    confirmed, yes = moved(2, A, OrderState.CONFIRMED)
    _, no = moved(3, confirmed, OrderState.CANCELLED)
    assert findings_of([A], events_of(1, A) + yes + no) == ([], {})


def test_i4_a_change_of_state_without_an_event() -> None:
    confirmed, yes = moved(2, A, OrderState.CONFIRMED)
    cancelled, no = moved(3, confirmed, OrderState.CANCELLED)
    assert findings_of([cancelled], events_of(1, A) + no)[0] == [
        Finding("I4", A.order_id, "no event tells how it came to version 2")
    ]
    assert findings_of([cancelled], events_of(1, A) + yes + no[1:])[0] == [
        Finding("I4", A.order_id, "no event tells how it came to version 3")
    ]


def test_i6_units_that_came_back_without_a_stock_changed() -> None:
    cancelled, no = moved(2, A, OrderState.EXPIRED, "HOLD_EXPIRED")
    assert findings_of([cancelled], events_of(1, A) + no[:2])[0] == [
        Finding("I6", A.order_id, "no stock-changed tells that 1 of its lines came back")
    ]


def test_i6_units_that_came_back_of_an_order_that_has_them() -> None:
    confirmed, yes = moved(2, A, OrderState.CONFIRMED)
    _, no = moved(3, A, OrderState.CANCELLED)
    findings, _ = findings_of([confirmed], events_of(1, A) + yes + no[1:])
    assert [finding[:2] for finding in findings] == [("I6", A.order_id)] * 2


def test_i7_an_order_that_was_ended_and_confirmed() -> None:
    confirmed, yes = moved(2, A, OrderState.CONFIRMED)
    _, expired = moved(3, A, OrderState.EXPIRED)
    findings, _ = findings_of([confirmed], events_of(1, A) + yes + expired[:1])
    assert findings == [
        Finding("I7", A.order_id, f"event {A.order_id}/2 says order-cancelled: the order has come elsewhere")
    ]


def test_i7_an_order_that_ended_and_went_on() -> None:
    cancelled, no = moved(2, A, OrderState.CANCELLED)
    confirmed, yes = moved(3, cancelled, OrderState.CONFIRMED)
    findings, _ = findings_of([confirmed], events_of(1, A) + no[:1] + yes)
    assert (
        Finding("I7", A.order_id, f"event {A.order_id}/2 says order-cancelled: the order has come elsewhere")
        in findings
    )


def test_i7_a_change_of_state_that_no_order_can_have() -> None:
    _, never = moved(2, A._replace(version=0), OrderState.CONFIRMED)
    findings, _ = findings_of([A], events_of(1, A) + never)
    assert findings == [
        Finding("I7", A.order_id, f"event {A.order_id}/1 says order-confirmed: the order has come elsewhere")
    ]


def test_units_that_came_back_to_a_server_that_never_took_any_are_held_by_it() -> None:
    assert held_units(ledger(10, 5, one=5), {ONE: {"apple": 5}, TWO: {"apple": -2}}, {}) == [
        HeldUnits("apple", TWO, None, 2, stranded=True)
    ]


def test_units_of_a_counter_sku_that_came_back_to_a_server_are_held_by_nobody() -> None:
    assert held_units(_counter(10), {ONE: {"apple": 3}, TWO: {"apple": -1}}, {}) == []


def test_an_order_with_more_events_than_a_column_holds_is_followed_too() -> None:
    long = order(1, *(Line(f"sku-{number:02}", 1) for number in range(64)))
    assert findings_of([long, B], events_of(1, long) + events_of(2, B)) == ([], {})
    findings, _ = findings_of([long, B], events_of(1, long)[:-1] + events_of(2, B))
    assert findings == [Finding("I6", long.order_id, "1 of its 64 lines have no stock-changed")]


def test_each_order_is_found_by_its_id_however_alike_ids_are() -> None:
    ids = sorted(UUID(int=high << 64 | low) for high in (0, 1, 2**63, 2**64 - 1) for low in (0, 1, 2**63, 2**64 - 1))[
        1:
    ]
    orders = [order(each.int) for each in ids]
    logged = [event for number, each in enumerate(orders, 1) for event in events_of(number, each)]
    assert findings_of(orders, logged) == ([], {})
    for left_out in (0, 3, 8, len(orders) - 1):
        others = [each for number, each in enumerate(orders) if number != left_out]
        assert set(findings_of(others, logged)[1]) == {orders[left_out].order_id}
