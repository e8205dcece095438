"""What was released stays: who was built on earlier contracts reads what is written today, and the other way round."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet
from google.protobuf.json_format import MessageToDict

from gateway.validation import parse_order
from journal.events import decode_events, encode_order_events, encode_transition_events
from journal.protocol import OutboxRow, Transition
from proto.releases import breaches, described, releases, write_release
from sluice._gen.events.v1 import events_pb2
from sluice._gen.orders.v1 import orders_pb2
from sluice._gen.stock.v1 import stock_pb2
from sluice.model import Line, NewOrder, Order, OrderState
from sluice.trace_context import TraceContext
from tests.unit.test_outbox_payload import entries

RELEASES = releases()
each_release = pytest.mark.parametrize("version", RELEASES)
NOW = datetime(2026, 11, 20, tzinfo=UTC)
GENERATED = {module.DESCRIPTOR.package: module for module in (events_pb2, orders_pb2, stock_pb2)}


@each_release
def test_nothing_of_a_release_is_broken(version: str) -> None:
    assert breaches(described(), RELEASES[version]) == []


def test_every_release_is_kept() -> None:
    changelog = (Path(__file__).parents[2] / "CHANGELOG.md").read_text(encoding="utf-8")
    released = set(re.findall(r"^## \[([^\]]+)\] - \d", changelog, re.MULTILINE))
    assert released <= RELEASES.keys()
    assert RELEASES


def test_a_release_is_never_written_again() -> None:
    with pytest.raises(FileExistsError):
        write_release(next(iter(RELEASES)))


# The check is checked: what each change breaks, by the name of buf's rule.


def message(contracts: FileDescriptorSet, name: str) -> DescriptorProto:
    return next(each for file in contracts.file for each in file.message_type if each.name == name)


def field(contracts: FileDescriptorSet, of: str, name: str) -> FieldDescriptorProto:
    return next(each for each in message(contracts, of).field if each.name == name)


def enum(contracts: FileDescriptorSet, name: str) -> EnumDescriptorProto:
    return next(each for file in contracts.file for each in file.enum_type if each.name == name)


def remove_field(contracts: FileDescriptorSet, of: str, name: str, *, number: bool = False, text: bool = False) -> None:
    gone = field(contracts, of, name)
    if number:
        message(contracts, of).reserved_range.add(start=gone.number, end=gone.number + 1)
    if text:
        message(contracts, of).reserved_name.append(name)
    message(contracts, of).field.remove(gone)


def reuse_number(contracts: FileDescriptorSet) -> None:
    reason = field(contracts, "OrderCancelled", "reason")
    reason.name, reason.json_name = "cause", "cause"


def retype(contracts: FileDescriptorSet) -> None:
    field(contracts, "StockChanged", "delta").type = FieldDescriptorProto.TYPE_INT64


def renumber(contracts: FileDescriptorSet) -> None:
    field(contracts, "OrderCancelled", "reason").number = 20


def rename_json(contracts: FileDescriptorSet) -> None:
    field(contracts, "OrderCreated", "order_id").json_name = "id"


def repeat_field(contracts: FileDescriptorSet) -> None:
    field(contracts, "OrderCancelled", "reason").label = FieldDescriptorProto.LABEL_REPEATED


def change_enum_value(contracts: FileDescriptorSet) -> None:
    values = enum(contracts, "OrderState").value
    next(each for each in values if each.name == "ORDER_STATE_CREATED").name = "ORDER_STATE_MADE"


def remove_enum_value(contracts: FileDescriptorSet) -> None:
    del enum(contracts, "Outcome").value[-1]


def remove_method(contracts: FileDescriptorSet) -> None:
    service = next(each for file in contracts.file for each in file.service if each.name == "OrderService")
    del service.method[0]


def change_request(contracts: FileDescriptorSet) -> None:
    service = next(each for file in contracts.file for each in file.service if each.name == "OrderService")
    service.method[0].input_type = ".sluice.orders.v1.GetOrderRequest"


def stop_streaming(contracts: FileDescriptorSet) -> None:
    for file in contracts.file:
        for service in file.service:
            for method in service.method:
                method.client_streaming = False


def remove_message(contracts: FileDescriptorSet) -> None:
    for file in contracts.file:
        if file.package == "sluice.events.v1":
            file.message_type.remove(message(contracts, "TraceContext"))
            outbox = message(contracts, "OutboxEvent")
            outbox.field.remove(field(contracts, "OutboxEvent", "trace_context"))


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda c: remove_field(c, "OrderCancelled", "reason"), "FIELD_NO_DELETE_UNLESS_NUMBER_RESERVED"),
        (lambda c: remove_field(c, "OrderCancelled", "reason", text=True), "FIELD_NO_DELETE_UNLESS_NUMBER_RESERVED"),
        (lambda c: remove_field(c, "OrderCancelled", "reason", number=True), "FIELD_NO_DELETE_UNLESS_NAME_RESERVED"),
        (reuse_number, "FIELD_SAME_NAME"),
        (retype, "FIELD_SAME_TYPE"),
        (renumber, "FIELD_NO_DELETE_UNLESS_NUMBER_RESERVED"),
        (rename_json, "FIELD_SAME_JSON_NAME"),
        (repeat_field, "FIELD_SAME_CARDINALITY"),
        (change_enum_value, "ENUM_VALUE_SAME_NAME"),
        (remove_enum_value, "ENUM_VALUE_NO_DELETE_UNLESS_NUMBER_RESERVED"),
        (remove_method, "RPC_NO_DELETE"),
        (change_request, "RPC_SAME_REQUEST_TYPE"),
        (stop_streaming, "RPC_SAME_CLIENT_STREAMING"),
        (remove_message, "MESSAGE_NO_DELETE"),
    ],
)
def test_what_breaks_somebody_is_found(change: Callable[[FileDescriptorSet], object], rule: str) -> None:
    before = described()
    now = FileDescriptorSet.FromString(before.SerializeToString())
    change(now)
    assert rule in {breach.rule for breach in breaches(now, before)}


def test_what_breaks_nobody_is_let_through() -> None:
    before = described()
    now = FileDescriptorSet.FromString(before.SerializeToString())
    remove_field(now, "OrderCancelled", "reason", number=True, text=True)
    message(now, "OrderCreated").field.add(
        name="channel",
        json_name="channel",
        number=99,
        type=FieldDescriptorProto.TYPE_STRING,
        label=FieldDescriptorProto.LABEL_OPTIONAL,
    )
    enum(now, "OrderState").value.add(name="ORDER_STATE_SHIPPED", number=99)
    assert breaches(now, before) == []


# Bytes, both ways.


class Contracts:
    """Message classes as somebody has them who was built on a release."""

    def __init__(self, version: str) -> None:
        self._pool = descriptor_pool.DescriptorPool()
        self.files = RELEASES[version].file
        for file in self.files:
            self._pool.Add(file)

    def __call__(self, full_name: str) -> Any:
        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(full_name))

    def own_messages(self) -> Iterator[str]:
        for file in self.files:
            if file.package in GENERATED:
                yield from (f"{file.package}.{each.name}" for each in file.message_type)


def filled(message_type: Any) -> Any:
    """A message with something in every field."""
    made = message_type()
    for each in message_type.DESCRIPTOR.fields:
        if each.message_type is not None:
            part = filled(message_factory.GetMessageClass(each.message_type))
            if each.is_repeated:
                getattr(made, each.name).append(part)
            else:
                getattr(made, each.name).CopyFrom(part)
            continue
        value = sample(each)
        if each.is_repeated:
            getattr(made, each.name).append(value)
        else:
            setattr(made, each.name, value)
    return made


def sample(each: FieldDescriptor) -> Any:
    if each.enum_type is not None:
        return each.enum_type.values[-1].number
    if each.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        text = f"{each.name} 🍵"
        return text.encode() if each.type == FieldDescriptor.TYPE_BYTES else text
    return True if each.cpp_type == FieldDescriptor.CPPTYPE_BOOL else each.number + 1_000


@each_release
def test_whatever_was_written_then_is_read_now(version: str) -> None:
    old = Contracts(version)
    names = list(old.own_messages())
    assert "sluice.events.v1.OutboxEvent" in names
    for name in names:
        written = filled(old(name))
        package, _, short = name.rpartition(".")
        read = getattr(GENERATED[package], short).FromString(written.SerializeToString())
        assert MessageToDict(read) == MessageToDict(written), name


def new_events() -> list[bytes]:
    """Outbox rows with everything that events have today."""
    trace = TraceContext(f"00-{'4b' * 16}-{'00f0' * 4}-01", "shop=1")
    lines = (Line("tea", 2), Line("coat", 1))
    new = NewOrder(str(uuid4()), "anna", lines, timedelta(hours=1), 7, trace)
    order = Order(new.order_id, new.customer_id, lines, OrderState.HELD, NOW, NOW, 1)
    steps = [
        Transition(order, OrderState.VALIDATED),
        Transition(order._replace(version=2), OrderState.CONFIRMED),
        Transition(order._replace(version=3), OrderState.CANCELLED, "CLIENT"),
    ]
    return [encode_order_events([new], NOW)[0], encode_transition_events(steps, NOW)[0]]


def without(shown: Any, known: Any) -> Any:
    """What of `shown` a reader who knows only the fields of `known` can see, by JSON names."""
    return {
        name: without(value, known.fields_by_camelcase_name[name].message_type) if isinstance(value, dict) else value
        for name, value in shown.items()
        if name in known.fields_by_camelcase_name
    }


@each_release
def test_who_was_built_then_reads_the_events_of_now(version: str) -> None:
    old = Contracts(version)
    kinds = set()
    for row in new_events():
        for entry in entries(row):
            kind = entry.WhichOneof("body")
            if kind == "trace_context":  # stays in the outbox
                continue
            now = getattr(entry, str(kind))
            read = old(now.DESCRIPTOR.full_name).FromString(now.SerializeToString())
            assert MessageToDict(read) == without(MessageToDict(now), read.DESCRIPTOR)
            # And passes on what it does not know.
            assert type(now).FromString(read.SerializeToString()) == now
            kinds.add(kind)
    assert len(kinds) == 5


@each_release
def test_an_outbox_row_of_then_is_published_now(version: str) -> None:
    outbox_event = Contracts(version)("sluice.events.v1.OutboxEvent")
    written = []
    for kind in outbox_event.DESCRIPTOR.oneofs_by_name["body"].fields:
        event = outbox_event()
        getattr(event, kind.name).CopyFrom(filled(message_factory.GetMessageClass(kind.message_type)))
        written.append(event)
    payload = b"".join(bytes([each.ByteSize()]) + each.SerializeToString() for each in written)
    assert all(each.ByteSize() < 128 for each in written)  # sizes of one byte
    events = decode_events(OutboxRow(7, NOW, payload, len(written)), UUID(int=1))
    assert [event.value for event in events] == [
        getattr(each, each.WhichOneof("body")).SerializeToString() for each in written
    ]
    assert {event.trace for event in events} == {None}


@each_release
def test_an_order_of_a_client_of_then_is_taken_as_it_was(version: str) -> None:
    request_type = Contracts(version)("sluice.orders.v1.PlaceOrderRequest")
    request = request_type(order_id=str(uuid4()), customer_id="anna")
    request.lines.add(sku="tea", quantity=2)
    order = parse_order(orders_pb2.PlaceOrderRequest.FromString(request.SerializeToString()))
    assert order == NewOrder(request.order_id, "anna", (Line("tea", 2),))
