"""Requests of any content to every public method: never INTERNAL or UNKNOWN, never a unit moved, every bad field named.

The rules here are written down from what the proto files promise to clients, not from the code that checks them.
"""

import string
from collections.abc import Iterator
from uuid import UUID, uuid4

import grpc
import pytest
from google.protobuf import duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sluice._gen.orders.v1 import orders_pb2
from sluice._gen.stock.v1 import stock_pb2
from tests.integration.embedded.conftest import Embedded, audit_files

ORDERS = "sluice.orders.v1.OrderService"
STOCK = "sluice.stock.v1.StockService"

EXAMPLES = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

BROKEN = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)

STANDING = "standing-sku"
"""Valid orders and restocks may name it, so that the gateway really works between the bad requests."""

text = st.one_of(
    st.just(""),
    st.just(STANDING),
    st.text(max_size=12),
    st.text(alphabet="\x00\x01\n\x1f\x7f\x85\u200b\u2028\ud7ff\ue000\ufeff a", max_size=6),
    st.text(alphabet=string.ascii_letters, min_size=126, max_size=131),
    st.integers(1_000, 100_000).map(lambda count: "x" * count),
    st.text(alphabet="\U0001f600é", min_size=120, max_size=130),
)
uuids = st.one_of(
    st.uuids().map(str),
    st.uuids().map(lambda each: str(each).upper()),
    st.uuids().map(lambda each: each.hex),
    st.uuids().map(lambda each: f"{{{each}}}"),
    st.uuids().map(lambda each: f"{each} "),
    st.uuids().map(lambda each: f"{each}\n"),
    st.uuids().map(lambda each: str(each).replace("0", "\u0660")),
    text,
)
quantities = st.one_of(st.sampled_from([0, 1, 2, 999_999, 1_000_000, 1_000_001, 2**32 - 1]), st.integers(0, 2**32 - 1))
amounts = st.one_of(st.sampled_from([0, 1, 10**12, 10**12 + 1, 2**63, 2**64 - 1]), st.integers(0, 2**64 - 1))
enums = st.one_of(st.integers(0, 5), st.sampled_from([-1, -(2**31), 2**31 - 1]))
sizes = st.one_of(st.sampled_from([0, 1, 1_000, 1_001, -1, -(2**31), 2**31 - 1]), st.integers(-(2**31), 2**31 - 1))
lines = st.builds(orders_pb2.OrderLine, sku=text, quantity=quantities)
some_lines = st.one_of(
    st.lists(lines, max_size=5),
    lines.flatmap(lambda line: st.lists(st.just(line), min_size=2, max_size=3)),
    st.sampled_from([64, 65, 1_000]).map(
        lambda count: [orders_pb2.OrderLine(sku=f"{number}", quantity=1) for number in range(count)]
    ),
)
holds = st.one_of(
    st.none(), st.builds(duration_pb2.Duration, seconds=st.integers(-(2**63), 2**63 - 1), nanos=st.integers(-5, 5))
)
# Queued orders are decided later, and here nothing may be in flight when the stock is counted.
modes = enums.filter(lambda mode: mode != orders_pb2.MODE_QUEUED)
priorities = st.sampled_from([0, 1, 1_000, 1_001, 2**32 - 1])
places = st.builds(
    orders_pb2.PlaceOrderRequest,
    order_id=uuids,
    customer_id=text,
    lines=some_lines,
    hold=holds,
    mode=modes,
    priority=priorities,
)


@pytest.fixture(scope="module")
def channel(gateway: Embedded) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(gateway.endpoint) as opened:
        create = stock_pb2.CreateSkuRequest(sku=STANDING, units=1_000_000_000)
        assert call(opened, f"/{STOCK}/CreateSku", create).code == grpc.StatusCode.OK
        yield opened


class Told:
    def __init__(self, code: grpc.StatusCode, trailers: dict[str, str | bytes], response: bytes = b"") -> None:
        self.code = code
        self.response = response
        self.fields: set[str] = set()
        details = trailers.get("grpc-status-details-bin")
        for detail in status_pb2.Status.FromString(details).details if isinstance(details, bytes) else ():
            bad = error_details_pb2.BadRequest()
            if detail.Unpack(bad):
                self.fields = {violation.field for violation in bad.field_violations}
                assert all(violation.description for violation in bad.field_violations)


def call(channel: grpc.Channel, method: str, request: Message) -> Told:
    told = send(channel, method, request.SerializeToString())
    assert told.code not in BROKEN, (method, request)
    return told


def send(channel: grpc.Channel, method: str, request: bytes) -> Told:
    try:
        response = channel.unary_unary(method)(request, timeout=30)
    except grpc.RpcError as error:
        return Told(error.code(), dict(error.trailing_metadata() or ()))
    return Told(grpc.StatusCode.OK, {}, response)


def all_stock(channel: grpc.Channel) -> dict[str, tuple[int, int, int]]:
    """Every SKU: restocked, available, sold. Nothing is in flight between two calls of these tests."""
    found = {}
    token = ""
    while True:
        page = stock_pb2.ListSkusResponse.FromString(
            call(channel, f"/{STOCK}/ListSkus", stock_pb2.ListSkusRequest(page_size=1_000, page_token=token)).response
        )
        for summary in page.skus:
            request = stock_pb2.GetStockRequest(sku=summary.sku, consistency=stock_pb2.CONSISTENCY_STRONG)
            stock = stock_pb2.GetStockResponse.FromString(call(channel, f"/{STOCK}/GetStock", request).response)
            found[summary.sku] = (stock.restocked, stock.available + stock.escrow, stock.sold)
        token = page.next_page_token
        if not token:
            return found


def is_name(value: str) -> bool:
    """1 to 128 characters, no control characters. What Python does not print is nothing that people can read."""
    return 1 <= len(value) <= 128 and value.isprintable()


def is_uuid(value: str) -> bool:
    try:
        return value.isascii() and len(value) == 36 and str(UUID(value)) == value.lower()
    except ValueError:
        return False


def bad_fields_of_order(request: orders_pb2.PlaceOrderRequest) -> set[str]:
    bad = set()
    if not is_uuid(request.order_id):
        bad.add("order_id")
    if not is_name(request.customer_id):
        bad.add("customer_id")
    if not 1 <= len(request.lines) <= 64:
        bad.add("lines")
    skus = [line.sku for line in request.lines]
    for index, line in enumerate(request.lines[:64]):
        if not is_name(line.sku) or line.sku in skus[:index]:
            bad.add(f"lines[{index}].sku")
        if not 1 <= line.quantity <= 1_000_000:
            bad.add(f"lines[{index}].quantity")
    if request.HasField("hold") and not is_hold(request.hold):
        bad.add("hold")
    if request.mode not in (0, 1):
        bad.add("mode")
    if request.priority > 1_000:
        bad.add("priority")
    return bad


def is_hold(hold: duration_pb2.Duration) -> bool:
    return 0 <= hold.nanos < 10**9 and 10**9 <= hold.seconds * 10**9 + hold.nanos < 30 * 86_400 * 10**9 + 1_000


def check(told: Told, bad: set[str]) -> None:
    """INVALID_ARGUMENT exactly when something is bad, and then all of it is named."""
    assert (told.code == grpc.StatusCode.INVALID_ARGUMENT) == bool(bad), (told.code, told.fields, bad)
    assert told.fields == bad


@EXAMPLES
@given(request=places)
def test_place_order(channel: grpc.Channel, request: orders_pb2.PlaceOrderRequest) -> None:
    bad = bad_fields_of_order(request)
    before = all_stock(channel) if bad else {}
    told = call(channel, f"/{ORDERS}/PlaceOrder", request)
    check(told, bad)
    if bad:
        assert all_stock(channel) == before


@EXAMPLES
@given(batches=st.lists(st.lists(places, max_size=4), max_size=3))
def test_place_orders(channel: grpc.Channel, batches: list[list[orders_pb2.PlaceOrderRequest]]) -> None:
    """In a stream every bad order gets a result of its own, and the stream goes on."""
    stream = channel.stream_stream(
        f"/{ORDERS}/PlaceOrders",
        request_serializer=orders_pb2.PlaceOrdersRequest.SerializeToString,
        response_deserializer=orders_pb2.PlaceOrdersResponse.FromString,
    )
    good_lines = sum(
        line.quantity for batch in batches for each in batch if not bad_fields_of_order(each) for line in each.lines
    )
    before = all_stock(channel)
    requests = [orders_pb2.PlaceOrdersRequest(batch_id=n, orders=batch) for n, batch in enumerate(batches)]
    answers = list(stream(iter(requests), timeout=30))
    assert sorted(answer.batch_id for answer in answers if answer.done) == list(range(len(batches)))
    for number, batch in enumerate(batches):
        results = [result for answer in answers if answer.batch_id == number for result in answer.results]
        assert sorted(result.order_id.lower() for result in results) == sorted(each.order_id.lower() for each in batch)
        invalid = [result for result in results if result.reason == "INVALID_ORDER"]
        assert len(invalid) == sum(bool(bad_fields_of_order(each)) for each in batch)
        assert all(result.outcome == orders_pb2.OUTCOME_REJECTED for result in invalid)
        assert "INTERNAL" not in {result.reason for result in results}
    if not good_lines:
        assert all_stock(channel) == before


@EXAMPLES
@given(request=st.builds(orders_pb2.GetOrderRequest, order_id=uuids))
def test_get_order(channel: grpc.Channel, request: orders_pb2.GetOrderRequest) -> None:
    check(call(channel, f"/{ORDERS}/GetOrder", request), set() if is_uuid(request.order_id) else {"order_id"})


TOKENS_OF_ALL_SKUS = ("MDp4", "MDowMDAw")
"""Tokens may name a SKU that is not there any more, or never was."""

tokens = st.one_of(
    text,
    st.binary(max_size=20).map(lambda raw: raw.hex()),
    st.sampled_from([*TOKENS_OF_ALL_SKUS, "LTE6", "===", "MTp4"]),
)


@EXAMPLES
@given(request=st.builds(orders_pb2.ListOrdersRequest, customer_id=text, page_size=sizes, page_token=tokens))
def test_list_orders(channel: grpc.Channel, request: orders_pb2.ListOrdersRequest) -> None:
    told = call(channel, f"/{ORDERS}/ListOrders", request)
    bad = set()
    if request.customer_id and not is_name(request.customer_id):
        bad.add("customer_id")
    if request.page_size < 0:
        bad.add("page_size")
    if request.page_token:
        bad.add("page_token")  # no token above was ever given
    check(told, bad)


@EXAMPLES
@given(request=st.builds(stock_pb2.ListSkusRequest, page_size=sizes, page_token=tokens))
def test_list_skus(channel: grpc.Channel, request: stock_pb2.ListSkusRequest) -> None:
    bad = set()
    if request.page_size < 0:
        bad.add("page_size")
    if request.page_token and request.page_token not in TOKENS_OF_ALL_SKUS:
        bad.add("page_token")
    check(call(channel, f"/{STOCK}/ListSkus", request), bad)


@EXAMPLES
@given(request=st.builds(stock_pb2.CreateSkuRequest, sku=text, units=amounts, policy=enums))
def test_create_sku(channel: grpc.Channel, request: stock_pb2.CreateSkuRequest) -> None:
    bad = set()
    if not is_name(request.sku):
        bad.add("sku")
    if request.units > 10**12:
        bad.add("units")
    if request.policy not in (0, 1, 2, 3):
        bad.add("policy")
    before = all_stock(channel) if bad else {}
    check(call(channel, f"/{STOCK}/CreateSku", request), bad)
    if bad:
        assert all_stock(channel) == before


@EXAMPLES
@given(request=st.builds(stock_pb2.RestockRequest, sku=text, restock_id=uuids, units=amounts))
def test_restock(channel: grpc.Channel, request: stock_pb2.RestockRequest) -> None:
    bad = set()
    if not is_name(request.sku):
        bad.add("sku")
    if not is_uuid(request.restock_id):
        bad.add("restock_id")
    if not 1 <= request.units <= 10**12:
        bad.add("units")
    before = all_stock(channel) if bad else {}
    check(call(channel, f"/{STOCK}/Restock", request), bad)
    if bad:
        assert all_stock(channel) == before


@EXAMPLES
@given(request=st.builds(stock_pb2.WithdrawRequest, sku=text, withdrawal_id=uuids, units=amounts))
def test_withdraw(channel: grpc.Channel, request: stock_pb2.WithdrawRequest) -> None:
    bad = set()
    if not is_name(request.sku):
        bad.add("sku")
    if not is_uuid(request.withdrawal_id):
        bad.add("withdrawal_id")
    if not 1 <= request.units <= 10**12:
        bad.add("units")
    before = all_stock(channel) if bad else {}
    check(call(channel, f"/{STOCK}/Withdraw", request), bad)
    if bad:
        assert all_stock(channel) == before


@EXAMPLES
@given(request=st.builds(stock_pb2.GetStockRequest, sku=text, consistency=enums))
def test_get_stock(channel: grpc.Channel, request: stock_pb2.GetStockRequest) -> None:
    bad = set()
    if not is_name(request.sku):
        bad.add("sku")
    if request.consistency not in (0, 1, 2, 3):
        bad.add("consistency")
    check(call(channel, f"/{STOCK}/GetStock", request), bad)


@EXAMPLES
@given(sku=text.map(lambda each: each and f"unmade {each}"), resume_token=text)
def test_watch_stock_of_what_is_not_there(channel: grpc.Channel, sku: str, resume_token: str) -> None:
    request = stock_pb2.WatchStockRequest(sku=sku, resume_token=resume_token)
    bad = set() if is_name(sku) else {"sku"}
    if len(resume_token) > 64:
        bad.add("resume_token")
    told = call(channel, f"/{STOCK}/WatchStock", request)
    check(told, bad)
    assert told.code != grpc.StatusCode.OK


@pytest.mark.parametrize("method", ["PlaceOrder", "GetOrder", "ListOrders"])
@EXAMPLES
@given(raw=st.binary(max_size=60))
def test_bytes_that_are_no_message(channel: grpc.Channel, method: str, raw: bytes) -> None:
    """gRPC itself answers what cannot be parsed; whatever parses is judged like any other request."""
    told = send(channel, f"/{ORDERS}/{method}", raw)
    assert told.code not in BROKEN or not _parses(raw, method)


def _parses(raw: bytes, method: str) -> bool:
    try:
        getattr(orders_pb2, f"{method}Request").FromString(raw)
    except Exception:  # noqa: BLE001 - whatever protobuf raises, it does not parse
        return False
    return True


def test_a_method_that_is_not_there_says_so(channel: grpc.Channel) -> None:
    assert call(channel, f"/{ORDERS}/DeleteOrder", orders_pb2.GetOrderRequest()).code == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("method", ["CancelOrder", "ConfirmOrder", "WatchOrder"])
@EXAMPLES
@given(order_id=uuids)
def test_orders_that_nobody_placed(channel: grpc.Channel, method: str, order_id: str) -> None:
    told = call(channel, f"/{ORDERS}/{method}", orders_pb2.CancelOrderRequest(order_id=order_id))
    check(told, set() if is_uuid(order_id) else {"order_id"})
    assert told.code != grpc.StatusCode.OK


async def test_after_all_that_the_gateway_sells_and_the_audit_is_content(
    gateway: Embedded, channel: grpc.Channel
) -> None:
    request = orders_pb2.PlaceOrderRequest(
        order_id=str(uuid4()), customer_id="anna", lines=[orders_pb2.OrderLine(sku=STANDING, quantity=1)]
    )
    assert call(channel, f"/{ORDERS}/PlaceOrder", request).code == grpc.StatusCode.OK
    assert (await audit_files(gateway)).findings == []
