"""Writes docs/asyncapi.yaml, the AsyncAPI 3.0 document of the topics: `python -m docs.asyncapi`. A test holds it fresh.

What is written down here is what the code does not say already: what keys and ids are made of. Topics, types of events,
schemas and their explanations come from where they are used.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from journal import events
from sluice import cloud_events
from sluice._gen.events.v1.events_pb2 import (
    OrderCancelled,
    OrderConfirmed,
    OrderCreated,
    OrderRejected,
    OrderRequested,
    OrderValidated,
    StockChanged,
)
from sluice.kafka_topics import ORDER_REQUESTED_PARTITIONS, TOPIC_SLOT_MAPS
from sluice.order_requests import TYPE_ORDER_REQUESTED
from sluice.seams import event_log
from sluice.trace_context import MAX_TRACESTATE_CHARS, TRACEPARENT, TRACESTATE

PAGE = Path(__file__).parent / "asyncapi.yaml"
PROTO_DIR = Path(__file__).parents[1] / "proto"
HEAD = "# Written by `python -m docs.asyncapi`; a test holds it fresh.\n"

UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"

_ORDER_KEY = {"type": "string", "description": "The order's id.", "pattern": f"^{UUID}$"}
_SKU_KEY = {"type": "string", "description": "The SKU.", "minLength": 1, "maxLength": 128}
_ORDER_EVENT_ID = f"^{UUID}/[1-9][0-9]*$"
_REQUEST_EVENT_ID = f"^{UUID}/0$"
_LINE_EVENT_ID = f"^{UUID}/[1-9][0-9]*/.+$"

_PARTITIONING = (
    "The partition is that of the key's slot, murmur2(key, 4096), by the topic's slot map; the first map is the Java "
    "client's default placement. The events of a key are in order. Delivery is at least once; a repeat has the same "
    "`sluice-position`."
)

_QUEUE_PARTITIONING = (
    "Written by gateways. The partition is that of the key's slot, murmur2(key, 4096), modulo the partitions, which "
    "never change. Orders of a key are decided in the order of their offsets. An order may be there more than once; "
    "the first one counts."
)


class Topic(NamedTuple):
    """`key` is a JSON schema, `event_id` the pattern of `ce_id`. `partitions`: of a topic whose order is that of its
    offsets; None: of one that the relay writes, with positions.
    """

    name: str
    message: type[Message]
    event_type: str
    key: Mapping[str, Any]
    event_id: str
    partitions: int | None = None


TOPICS: Sequence[Topic] = (
    Topic(event_log.TOPIC_ORDER_CREATED, OrderCreated, events.TYPE_ORDER_CREATED, _ORDER_KEY, _ORDER_EVENT_ID),
    Topic(event_log.TOPIC_ORDER_VALIDATED, OrderValidated, events.TYPE_ORDER_VALIDATED, _ORDER_KEY, _ORDER_EVENT_ID),
    Topic(event_log.TOPIC_ORDER_CONFIRMED, OrderConfirmed, events.TYPE_ORDER_CONFIRMED, _ORDER_KEY, _ORDER_EVENT_ID),
    Topic(event_log.TOPIC_ORDER_CANCELLED, OrderCancelled, events.TYPE_ORDER_CANCELLED, _ORDER_KEY, _ORDER_EVENT_ID),
    Topic(event_log.TOPIC_ORDER_REJECTED, OrderRejected, events.TYPE_ORDER_REJECTED, _ORDER_KEY, _ORDER_EVENT_ID),
    Topic(
        event_log.TOPIC_ORDER_REQUESTED,
        OrderRequested,
        TYPE_ORDER_REQUESTED,
        _SKU_KEY | {"description": "The first SKU of the order; its lines are sorted."},
        _REQUEST_EVENT_ID,
        ORDER_REQUESTED_PARTITIONS,
    ),
    Topic(event_log.TOPIC_STOCK_CHANGED, StockChanged, events.TYPE_STOCK_CHANGED, _SKU_KEY, _LINE_EVENT_ID),
)


def document() -> dict[str, Any]:
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Sluice events",
            "version": version("sluice-gateway"),
            "description": "What Sluice puts on Kafka: one record for each thing that became of an order or of the "
            "stock. Values are protobuf without a schema registry's prefix, headers CloudEvents 1.0 in binary mode. "
            "docs/events.md says how to drop repeats and what order there is.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": cloud_events.CONTENT_TYPE,
        "channels": {topic.name: _channel(topic) for topic in TOPICS} | {TOPIC_SLOT_MAPS: _slot_map_channel()},
        "operations": {f"publish-{name}": _operation(name) for name in (*map(_name, TOPICS), TOPIC_SLOT_MAPS)},
        "components": {
            "messages": {topic.message.DESCRIPTOR.name: _message(topic) for topic in TOPICS}
            | {"SlotMap": _slot_map_message()}
        },
    }


def headers(topic: Topic) -> dict[str, Any]:
    """The JSON schema of a record's headers; all of them are UTF-8 text."""
    properties = {
        "ce_specversion": {"type": "string", "const": "1.0"},
        "ce_source": _text("The journal that the event comes from.", f"^/sluice/{UUID}$"),
        "ce_type": {"type": "string", "const": topic.event_type},
        "ce_time": {
            "type": "string",
            "format": "date-time",
            "description": "When it was committed, UTC with milliseconds, by the clock of whoever committed it.",
        },
        "content-type": {"type": "string", "const": cloud_events.CONTENT_TYPE},
        "ce_id": _text("The same whenever the event is repeated.", topic.event_id),
        "sluice-position": _text(
            "Journal id, number, place. Per partition and journal it rises: drop what is not above the highest.",
            f"^{UUID}/[1-9][0-9]*/[0-9]+$",
        ),
        TRACEPARENT: _text(
            "W3C Trace Context of the call that caused the event, if that named a trace.",
            "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$",
        ),
        TRACESTATE: {
            "type": "string",
            "description": "Only beside traceparent, if the caller sent one.",
            "maxLength": MAX_TRACESTATE_CHARS,
        },
    }
    if topic.partitions is not None:
        properties["ce_source"] = {"type": "string", "const": "/sluice"}
        properties["ce_time"] |= {"description": "When a gateway took the order in, UTC with milliseconds."}
        del properties["sluice-position"]
    required = [name for name in properties if name not in (TRACEPARENT, TRACESTATE)]
    return {"type": "object", "properties": properties, "required": required}


def _name(topic: Topic) -> str:
    return topic.name


def _channel(topic: Topic) -> dict[str, Any]:
    name = topic.message.DESCRIPTOR.name
    partitions = {} if topic.partitions is None else {"partitions": topic.partitions}
    return {
        "address": topic.name,
        "description": _PARTITIONING if topic.partitions is None else _QUEUE_PARTITIONING,
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
        "bindings": {"kafka": {"topic": topic.name, **partitions, "bindingVersion": "0.5.0"}},
    }


def _operation(topic: str) -> dict[str, Any]:
    return {"action": "send", "channel": {"$ref": f"#/channels/{topic}"}}


def _message(topic: Topic) -> dict[str, Any]:
    descriptor: Descriptor = topic.message.DESCRIPTOR
    return {
        "name": descriptor.name,
        "title": descriptor.full_name,
        "contentType": cloud_events.CONTENT_TYPE,
        "headers": headers(topic),
        "payload": {
            "schemaFormat": "application/vnd.google.protobuf;version=3",
            "schema": proto_text(descriptor),
        },
        "bindings": {"kafka": {"key": dict(topic.key), "bindingVersion": "0.5.0"}},
    }


def _slot_map_channel() -> dict[str, Any]:
    return {
        "address": TOPIC_SLOT_MAPS,
        "description": "The slot maps of every journal, topic and epoch: where each key of a topic is placed. The "
        "highest epoch of a topic is in force.",
        "messages": {"SlotMap": {"$ref": "#/components/messages/SlotMap"}},
        "bindings": {
            "kafka": {
                "topic": TOPIC_SLOT_MAPS,
                "partitions": 1,
                "topicConfiguration": {"cleanup.policy": ["compact"]},
                "bindingVersion": "0.5.0",
            }
        },
    }


def _slot_map_message() -> dict[str, Any]:
    whole = {"type": "integer", "minimum": 0}
    properties = {
        "journal": _text("Whose positions `first_number` counts.", f"^{UUID}$"),
        "topic": {"type": "string"},
        "epoch": whole,
        "first_number": whole | {"description": "Positions from this number on are placed by this map."},
        "left_at": {
            "type": "object",
            "description": "By partition that slots left: its end when all below first_number was there.",
            "additionalProperties": whole,
        },
        "seats": {
            "type": "array",
            "description": "The partition of each slot.",
            "items": whole,
            "minItems": 4096,
            "maxItems": 4096,
        },
    }
    return {
        "name": "SlotMap",
        "title": "Where the keys of a topic are placed",
        "contentType": "application/json",
        "payload": {"type": "object", "properties": properties, "required": list(properties)},
        "bindings": {
            "kafka": {
                "key": _text("Journal id, topic, epoch.", f"^{UUID}/[a-z-]+/[0-9]+$"),
                "bindingVersion": "0.5.0",
            }
        },
    }


def _text(description: str, pattern: str) -> dict[str, Any]:
    return {"type": "string", "description": description, "pattern": pattern}


def proto_text(descriptor: Descriptor) -> str:
    """A proto file of this message alone, with what it needs and its comments."""
    source = (PROTO_DIR / descriptor.file.name).read_text(encoding="utf-8")
    used = [field.message_type for field in descriptor.fields if field.message_type is not None]
    own = [each.name for each in used if each.file.name == descriptor.file.name]
    imports = sorted({each.file.name for each in used if each.file.name != descriptor.file.name})
    lines = ['syntax = "proto3";', f"package {descriptor.file.package};"]
    lines += [f'import "{name}";' for name in imports]
    return "\n\n".join(["\n".join(lines), *(_definition(source, name) for name in (*own, descriptor.name))])


def _definition(source: str, name: str) -> str:
    found = re.search(rf"^(?://[^\n]*\n)*message {name} {{\n.*?^}}$", source, re.MULTILINE | re.DOTALL)
    assert found, name
    return found.group()


def _as_yaml(value: Any) -> Iterator[str]:
    """Its lines, in block style; every text is quoted as JSON does, or literal if it has several lines."""
    items = value.items() if isinstance(value, dict) else ((None, each) for each in value)
    for key, each in items:
        lead = "-" if key is None else f"{json.dumps(key)}:" if key.startswith("$") else f"{key}:"
        if isinstance(each, dict | list):
            yield lead
            yield from (f"  {line}" if line else line for line in _as_yaml(each))
        elif isinstance(each, str) and "\n" in each:
            yield f"{lead} |-"
            yield from (f"  {line}" if line else line for line in each.splitlines())
        else:
            yield f"{lead} {json.dumps(each, ensure_ascii=False)}"


def text() -> str:
    return HEAD + "".join(f"{line}\n" for line in _as_yaml(document()))


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
