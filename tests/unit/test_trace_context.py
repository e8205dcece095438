"""A trace is taken as the specification (W3C Trace Context) says; what is none is no fault of the order."""

import pytest

from sluice.trace_context import TraceContext, trace_context

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"


def test_it_is_taken_as_it_came() -> None:
    metadata = [("user-agent", "grpc"), ("traceparent", PARENT), ("tracestate", "shop=a,bank=b")]
    assert trace_context(metadata) == TraceContext(PARENT, "shop=a,bank=b")
    assert trace_context([("traceparent", PARENT)]) == TraceContext(PARENT)


def test_there_is_none_without_a_traceparent() -> None:
    assert trace_context([]) is None
    assert trace_context([("tracestate", "shop=a")]) is None


@pytest.mark.parametrize(
    "value",
    [
        "",
        PARENT[:-1],
        PARENT + "0",
        PARENT + "-more",
        PARENT.upper(),
        f" {PARENT}",
        f"{PARENT}\n",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID}-{SPAN_ID}-0g",
        f"01-{TRACE_ID}-{SPAN_ID}-01more",
        PARENT.encode(),
    ],
)
def test_an_invalid_one_is_ignored(value: str | bytes) -> None:
    assert trace_context([("traceparent", value), ("tracestate", "shop=a")]) is None


def test_two_are_none() -> None:
    assert trace_context([("traceparent", PARENT), ("traceparent", PARENT)]) is None


@pytest.mark.parametrize("value", [f"01-{TRACE_ID}-{SPAN_ID}-01", f"cc-{TRACE_ID}-{SPAN_ID}-01-what-comes"])
def test_of_a_later_version_the_fields_of_today_are_taken(value: str) -> None:
    assert trace_context([("traceparent", value)]) == TraceContext(PARENT)


def test_several_tracestates_are_one_list() -> None:
    states = [("tracestate", "shop=a"), ("traceparent", PARENT), ("tracestate", "bank=b")]
    assert trace_context(states) == TraceContext(PARENT, "shop=a,bank=b")


@pytest.mark.parametrize("state", ["a=" + "b" * 511, "shop=\u00e9", "a=b\n", b"a=b"])
def test_a_tracestate_that_cannot_be_passed_on_is_left_out(state: str | bytes) -> None:
    assert trace_context([("traceparent", PARENT), ("tracestate", state)]) == TraceContext(PARENT)
