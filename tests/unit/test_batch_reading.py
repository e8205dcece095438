"""A batch is read as the generated classes read it, whatever its bytes are: the same good orders, the same bad ones."""

import uuid
from collections.abc import Callable

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from gateway.batch_reading import BadOrder, OrderBatch, read_batch
from gateway.validation import parse_order
from sluice._gen.orders.v1.orders_pb2 import MODE_DIRECT, MODE_QUEUED, OrderLine, PlaceOrderRequest, PlaceOrdersRequest
from sluice.model import Line, NewOrder
from tests.unit.test_validation import ORDERS, TEXT

ID = str(uuid.UUID(int=7))
SKUS = st.sampled_from(["tea", "ä" * 60])
PLAIN = st.builds(
    PlaceOrderRequest,
    order_id=st.uuids().map(str),
    customer_id=st.sampled_from(["ada", "bob", "x" * 127, "x" * 128, "ß" * 64, "a\nb"]) | TEXT,
    lines=st.lists(st.builds(OrderLine, sku=SKUS, quantity=st.integers(0, 3)), max_size=2),
    mode=st.sampled_from([0, MODE_DIRECT, MODE_QUEUED]),
)
BATCHES = st.builds(PlaceOrdersRequest, batch_id=st.integers(0, 2**64 - 1), orders=st.lists(PLAIN | ORDERS, max_size=6))


def read_by_generated_classes(payload: bytes) -> OrderBatch:
    message = PlaceOrdersRequest.FromString(payload)
    to_decide, to_queue, bad = [], [], []
    for place, each in enumerate(message.orders):
        order = parse_order(each)
        if not isinstance(order, NewOrder):
            bad.append(BadOrder(place, each.order_id, order))
        elif each.mode == MODE_QUEUED:
            to_queue.append(order)
        else:
            to_decide.append(order)
    return OrderBatch(message.batch_id, to_decide, to_queue, bad)


def outcome(read: Callable[[bytes], OrderBatch], payload: bytes) -> OrderBatch | None:
    try:
        return read(payload)
    except DecodeError:
        return None


def check_same(payload: bytes) -> None:
    assert outcome(read_batch, payload) == outcome(read_by_generated_classes, payload)


@given(BATCHES)
def test_any_batch(batch: PlaceOrdersRequest) -> None:
    check_same(batch.SerializeToString())


@given(BATCHES, st.data())
def test_any_batch_of_which_some_bytes_are_others(batch: PlaceOrdersRequest, data: st.DataObject) -> None:
    payload = bytearray(batch.SerializeToString())
    for _ in range(data.draw(st.integers(1, 3)) if payload else 0):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    check_same(bytes(payload))


@given(BATCHES, st.data())
def test_any_batch_that_is_cut_off_or_goes_on(batch: PlaceOrdersRequest, data: st.DataObject) -> None:
    payload = batch.SerializeToString()
    check_same(payload[: data.draw(st.integers(0, len(payload)))])
    check_same(payload + data.draw(st.binary(max_size=8)))


@given(st.lists(BATCHES, max_size=3))
def test_batches_that_are_one_after_the_other_are_merged_into_one(batches: list[PlaceOrdersRequest]) -> None:
    check_same(b"".join(batch.SerializeToString() for batch in batches))


@given(PLAIN, PLAIN)
def test_of_an_order_that_says_something_twice_the_last_counts(
    first: PlaceOrderRequest, last: PlaceOrderRequest
) -> None:
    entry = first.SerializeToString() + last.SerializeToString()
    check_same(PlaceOrdersRequest(orders=[PlaceOrderRequest.FromString(entry)]).SerializeToString())
    if len(entry) < 128:
        check_same(bytes([0x12, len(entry)]) + entry)


@pytest.mark.parametrize("unknown", [b"\x7a\x01x", b"\x78\x05", b"\x12\x00"])
def test_what_a_newer_client_says_besides_is_no_harm(unknown: bytes) -> None:
    order = PlaceOrderRequest(
        order_id=str(uuid.UUID(int=7)), customer_id="ada", lines=[OrderLine(sku="tea", quantity=2)]
    )
    payload = PlaceOrdersRequest(batch_id=3, orders=[order]).SerializeToString()
    check_same(payload + unknown)
    entry = order.SerializeToString() + unknown.replace(b"\x12\x00", b"")
    check_same(bytes([0x12, len(entry)]) + entry)


def test_an_order_like_most() -> None:
    order = PlaceOrderRequest(
        order_id=str(uuid.UUID(int=7)), customer_id="ada", lines=[OrderLine(sku="tea", quantity=2)]
    )
    batch = read_batch(PlaceOrdersRequest(batch_id=2**40, orders=[order]).SerializeToString())
    assert batch == OrderBatch(2**40, [NewOrder(ID, "ada", (Line("tea", 2),))], [], [])
    assert isinstance(batch.to_decide[0], NewOrder)
