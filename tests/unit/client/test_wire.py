"""Orders that are put together by hand are read as they were meant; what the contract has no room for is not sent."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice._gen.orders.v1 import orders_pb2
from sluice.client.answers import Line
from sluice.client.order_ids import new_order_id
from sluice.client.wire import (
    MAX_ORDER_BYTES,
    encode_batch,
    encode_hold,
    encode_lines,
    encode_order,
    encode_priority,
    one_line,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
orders = st.tuples(
    texts,
    st.lists(st.tuples(texts, st.integers(0, 2**32 - 1)), max_size=40),
    st.none() | st.timedeltas(timedelta(0), timedelta(days=40)),
    st.integers(0, 2**32 - 1),
)


@given(st.integers(0, 2**64 - 1), st.lists(orders, max_size=5))
def test_a_batch_is_read_as_it_was_meant(
    batch_id: int, wanted: list[tuple[str, list[tuple[str, int]], timedelta | None, int]]
) -> None:
    messages = []
    entries = []
    for customer, pairs, hold, priority in wanted:
        order_id = new_order_id()
        message = orders_pb2.PlaceOrderRequest(
            order_id=order_id,
            customer_id=customer,
            lines=[orders_pb2.OrderLine(sku=sku, quantity=quantity) for sku, quantity in pairs],
            priority=priority,
        )
        rest = encode_lines([Line(*pair) for pair in pairs])
        if hold is not None:
            message.hold.FromTimedelta(hold)
            rest += encode_hold(hold)
        rest += encode_priority(priority)
        messages.append(message)
        entries.append(encode_order(order_id, customer, rest))
    read = orders_pb2.PlaceOrdersRequest.FromString(encode_batch(batch_id, entries))
    assert read == orders_pb2.PlaceOrdersRequest(batch_id=batch_id, orders=messages)


@pytest.mark.parametrize("quantity", [-1, 2**32])
def test_what_is_no_quantity_is_not_sent(quantity: int) -> None:
    with pytest.raises(ValueError, match="range"):
        one_line("mug", quantity)


def test_what_would_end_the_stream_for_all_is_not_sent() -> None:
    with pytest.raises(ValueError, match="bytes"):
        encode_order(new_order_id(), "a" * MAX_ORDER_BYTES, b"")


def test_half_a_character_is_not_sent() -> None:
    with pytest.raises(ValueError, match="surrogate"):
        one_line("mug\ud800", 1)
    with pytest.raises(ValueError, match="surrogate"):
        encode_order(new_order_id(), "ada\ud800", b"")
