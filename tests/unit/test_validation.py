"""An order is taken if it keeps the rules that the proto states, and else every field that breaks one is named."""

import unicodedata
from datetime import timedelta
from uuid import UUID

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.validation import parse_order, parse_uuid
from sluice._gen.orders.v1.orders_pb2 import MODE_DIRECT, MODE_QUEUED, OrderLine, PlaceOrderRequest
from sluice.model import Line, NewOrder

GOOD_ID = "0D4C7A10-6a39-4c3e-9d2f-7f2f9a1b2c3d"
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=130) | st.sampled_from(
    ["", "a", "a" * 128, "a" * 129]
)
IDS = st.uuids().map(str) | st.sampled_from([GOOD_ID, GOOD_ID[:-1], GOOD_ID + "0", GOOD_ID.replace("-", ""), ""]) | TEXT
QUANTITIES = st.sampled_from([0, 1, 2, 1_000_000, 1_000_001, 2**32 - 1])
LINES = st.lists(st.builds(OrderLine, sku=st.sampled_from(["a", "b", "c"]) | TEXT, quantity=QUANTITIES), max_size=4)
MANY_LINES = st.integers(62, 67).map(lambda count: [OrderLine(sku=f"s{n}", quantity=1) for n in range(count)])
ORDERS = st.builds(
    PlaceOrderRequest,
    order_id=IDS,
    customer_id=TEXT,
    lines=LINES | MANY_LINES,
    mode=st.sampled_from([0, MODE_DIRECT, MODE_QUEUED, 9]),
    priority=st.sampled_from([0, 1, 1_000, 1_001, 2**32 - 1]),
)


def _is_name(text: str) -> bool:
    """1 to 128 characters that people can see; of spaces only the plain one."""
    seen = all(char == " " or unicodedata.category(char)[0] not in "CZ" for char in text)
    return 1 <= len(text) <= 128 and seen


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower() and len(text) == 36 and text.isascii()
    except ValueError:
        return False


def _bad_lines(request: PlaceOrderRequest) -> set[str]:
    bad = set()
    if not 1 <= len(request.lines) <= 64:
        bad.add("lines")
    skus = [line.sku for line in request.lines]
    for index, line in enumerate(list(request.lines)[:64]):
        if not _is_name(line.sku) or line.sku in skus[:index]:
            bad.add(f"lines[{index}].sku")
        if not 1 <= line.quantity <= 1_000_000:
            bad.add(f"lines[{index}].quantity")
    return bad


def _bad_fields(request: PlaceOrderRequest) -> set[str]:
    bad = _bad_lines(request)
    if not _is_uuid(request.order_id):
        bad.add("order_id")
    if not _is_name(request.customer_id):
        bad.add("customer_id")
    if request.HasField("hold"):
        nanoseconds = request.hold.seconds * 10**9 + request.hold.nanos
        if not (0 <= request.hold.nanos < 10**9 and 10**9 <= nanoseconds < 30 * 86_400 * 10**9 + 1_000):
            bad.add("hold")
    if request.priority > 1_000:
        bad.add("priority")
    if request.mode not in (0, MODE_DIRECT, MODE_QUEUED):
        bad.add("mode")
    return bad


def _good() -> PlaceOrderRequest:
    lines = [OrderLine(sku="b", quantity=1), OrderLine(sku="a", quantity=2)]
    return PlaceOrderRequest(order_id=GOOD_ID, customer_id="anna", lines=lines)


HOLDS = st.builds(
    Duration,
    seconds=st.sampled_from([0, 1, 2, 30 * 86_400, 30 * 86_400 + 1, -1, 2**62]),
    nanos=st.sampled_from([0, 1, 999, 1_000, 999_999_999, 10**9, -1]),
)


@given(ORDERS, st.none() | HOLDS)
@example(_good(), None)
@example(_good(), Duration())
@settings(max_examples=400)
def test_exactly_the_bad_fields_are_named(request: PlaceOrderRequest, hold: Duration | None) -> None:
    if hold is not None:
        request.hold.CopyFrom(hold)
    parsed = parse_order(request)
    bad = _bad_fields(request)
    if isinstance(parsed, NewOrder):
        assert bad == set()
    else:
        assert {violation.field for violation in parsed} == bad
        assert bad
        assert all(violation.description for violation in parsed)


def test_a_good_order_is_taken_in_canonical_form() -> None:
    assert parse_order(_good()) == NewOrder(GOOD_ID.lower(), "anna", (Line("a", 2), Line("b", 1)))


def test_a_priority_is_taken_with_and_without_a_hold() -> None:
    request = _good()
    request.priority = 1_000
    plain = NewOrder(GOOD_ID.lower(), "anna", (Line("a", 2), Line("b", 1)), None, 1_000)
    assert parse_order(request) == plain
    request.hold.CopyFrom(Duration(seconds=90))
    assert parse_order(request) == plain._replace(hold=timedelta(seconds=90))


def test_a_hold_is_taken_in_whole_microseconds() -> None:
    request = _good()
    request.hold.CopyFrom(Duration(seconds=90, nanos=1_999))
    parsed = parse_order(request)
    assert isinstance(parsed, NewOrder)
    assert parsed.hold == timedelta(seconds=90, microseconds=1)


@given(IDS)
def test_a_uuid_has_one_form(text: str) -> None:
    parsed, violations = parse_uuid(text, "restock_id")
    assert (violations == []) == _is_uuid(text)
    if _is_uuid(text):
        assert parsed == str(UUID(text))


@pytest.mark.parametrize("char", ["\u017f", "\u212a", "\uff10", "\u0660"])
def test_look_alikes_of_hexadecimal_digits_are_not_digits(char: str) -> None:
    assert parse_uuid(char + GOOD_ID[1:], "order_id")[1]
