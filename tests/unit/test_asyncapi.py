"""docs/asyncapi.yaml is fresh, whole and true: it has every topic, and says of records what the relay writes."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from grpc_tools import protoc

from commands.events import MESSAGES
from docs import asyncapi
from journal.events import decode_events, encode_order_events, encode_rejection_events, encode_transition_events
from journal.protocol import OutboxRow, Rejection, Transition
from sluice.cloud_events import HeaderWriter, request_headers
from sluice.kafka_topics import RELAY_TOPICS, TOPIC_SLOT_MAPS
from sluice.model import Line, NewOrder, Order, OrderState
from sluice.order_requests import request_event_id
from sluice.seams.event_log import TOPIC_ORDER_REQUESTED, Event
from sluice.trace_context import TRACEPARENT, TRACESTATE, TraceContext

NOW = datetime(2026, 11, 20, 12, 30, 1, 500_000, tzinfo=UTC)
TRACE = TraceContext(f"00-{'4b' * 16}-{'00f0' * 4}-01", "shop=till-7")


def events(trace: TraceContext | None) -> list[Event]:
    """One at least of every kind that the relay publishes."""
    new = NewOrder(str(uuid4()), "anna", (Line("tea 🍵", 2),), timedelta(hours=1), 7, trace)
    order = Order(new.order_id, new.customer_id, new.lines, OrderState.HELD, NOW, NOW, 1)
    steps = [
        Transition(order, OrderState.VALIDATED, "", trace),
        Transition(order._replace(version=2), OrderState.CONFIRMED, "", trace),
        Transition(order._replace(version=3), OrderState.CANCELLED, "CLIENT", trace),
    ]
    rejection = Rejection(new._replace(order_id=str(uuid4())), "OUT_OF_STOCK", "tea 🍵", 3)
    payloads = [
        encode_order_events([new], NOW),
        encode_transition_events(steps, NOW),
        encode_rejection_events([rejection], NOW),
    ]
    rows = [OutboxRow(number, NOW, *payload) for number, payload in enumerate(payloads, 1)]
    journal = uuid4()
    return [event for row in rows for event in decode_events(row, journal)]


def topic_of(name: str) -> asyncapi.Topic:
    (found,) = [topic for topic in asyncapi.TOPICS if topic.name == name]
    return found


def test_the_document_is_fresh() -> None:
    assert asyncapi.PAGE.read_text(encoding="utf-8") == asyncapi.text(), "run: python -m docs.asyncapi"


def test_every_topic_is_in_it() -> None:
    assert set(asyncapi.document()["channels"]) == {*RELAY_TOPICS, TOPIC_ORDER_REQUESTED, TOPIC_SLOT_MAPS}
    assert {topic.name: topic.message for topic in asyncapi.TOPICS} == MESSAGES


@pytest.mark.parametrize("trace", [None, TRACE], ids=["without a trace", "with a trace"])
def test_headers_and_keys_are_those_that_the_relay_writes(trace: TraceContext | None) -> None:
    writer = HeaderWriter()
    published = events(trace)
    assert {event.topic for event in published} == set(RELAY_TOPICS)
    for event in published:
        topic = topic_of(event.topic)
        schema = asyncapi.headers(topic)
        written = {name: as_text(value) for name, value in writer.headers(event).items()}
        assert set(schema["required"]) == set(schema["properties"]) - {TRACEPARENT, TRACESTATE}
        assert set(written) == set(schema["properties"] if trace else schema["required"])
        for name, value in written.items():
            assert fits(schema["properties"][name], value), (event.topic, name, value)
        assert fits(topic.key, event.key), (event.topic, event.key)


@pytest.mark.parametrize("trace", [None, TRACE], ids=["without a trace", "with a trace"])
def test_headers_of_the_queue_are_those_that_gateways_write(trace: TraceContext | None) -> None:
    topic = topic_of(TOPIC_ORDER_REQUESTED)
    schema = asyncapi.headers(topic)
    event_id = request_event_id(str(uuid4()))
    time_ms = round(NOW.timestamp() * 1000)
    headers = request_headers(event_id, topic.event_type, time_ms, trace)
    written = {name: as_text(value) for name, value in headers.items()}
    assert set(written) == set(schema["properties"] if trace else schema["required"])
    assert all(fits(schema["properties"][name], value) for name, value in written.items())


def as_text(value: str | bytes | None) -> str:
    assert value is not None
    return value if isinstance(value, str) else value.decode()


def fits(schema: Any, value: str) -> bool:
    if "const" in schema:
        return bool(schema["const"] == value)
    if schema.get("format") == "date-time":
        return datetime.fromisoformat(value) == NOW
    if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
        return False
    return bool(re.search(schema.get("pattern", ""), value))


def test_a_value_that_is_not_what_is_written_down_would_be_found() -> None:
    topic = topic_of("order-created")
    properties = asyncapi.headers(topic)["properties"]
    assert not fits(properties["ce_id"], f"{uuid4()}")
    assert not fits(properties["ce_type"], "sluice.stock.changed.v1")
    assert not fits(properties["sluice-position"], f"{uuid4()}/7")
    assert not fits(topic.key, "tea")


@pytest.mark.parametrize("topic", asyncapi.TOPICS, ids=lambda topic: topic.name)
def test_each_schema_is_a_proto_file_that_compiles_to_the_message(topic: asyncapi.Topic, tmp_path: Path) -> None:
    (tmp_path / "one.proto").write_text(asyncapi.proto_text(topic.message.DESCRIPTOR))
    well_known = Path(protoc.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{tmp_path}", f"-I{well_known}", f"--descriptor_set_out={tmp_path / 'out'}", "one.proto"]
    assert protoc.main(arguments) == 0


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for each in value.values():
            yield from references(each)


def test_every_reference_leads_somewhere() -> None:
    document = asyncapi.document()
    found = list(references(document))
    assert found
    for reference in found:
        at: Any = document
        for step in reference.removeprefix("#/").split("/"):
            at = at[step]


def test_every_channel_is_published_to_and_its_message_is_whole() -> None:
    """What AsyncAPI 3.0 asks for, as far as it is used here."""
    document = asyncapi.document()
    assert document["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= document["info"].keys()
    assert {each["channel"]["$ref"].rpartition("/")[2] for each in document["operations"].values()} == set(
        document["channels"]
    )
    assert {each["action"] for each in document["operations"].values()} == {"send"}
    for name, channel in document["channels"].items():
        assert channel["address"] == channel["bindings"]["kafka"]["topic"] == name
        (message,) = channel["messages"]
        shown = document["components"]["messages"][message]
        assert {"name", "contentType", "payload", "bindings"} <= shown.keys()
