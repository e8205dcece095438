"""Each final answer of a stream is an error of its own type, which carries what the caller needs."""

import asyncio

import pytest

from gateway.messages import refusal_result
from gateway.outcomes import FINAL_REASONS, Reason, Refused
from gateway.validation import parse_order
from sluice._gen.orders.v1 import orders_pb2
from sluice.client.answers import Line
from sluice.client.batches import Undecided
from sluice.client.errors import CustomerLimit, InvalidOrder, OrderIdReused, OutOfStock, SkuNotFound, SluiceError
from sluice.client.refusals import refusal
from tests.unit.virtual_time import in_virtual_time

ORDER_ID = "018f4e9e-7c1a-7b2e-9d53-0a4b6c8d1e2f"


def refused(reason: Reason, subject: str, *skus: str) -> SluiceError:
    """What the caller of an order for `skus` gets when the gateway refuses it so."""
    result = refusal_result(ORDER_ID, Refused(reason, subject))
    assert result.outcome == orders_pb2.OUTCOME_REJECTED
    lines = tuple(Line(sku, 1) for sku in skus)
    order = Undecided(ORDER_ID, lines, b"", 0.0, asyncio.get_running_loop().create_future())
    return refusal(order, result.reason, result.detail)


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        (Reason.OUT_OF_STOCK, OutOfStock),
        (Reason.SKU_NOT_FOUND, SkuNotFound),
        (Reason.CUSTOMER_LIMIT, CustomerLimit),
    ],
)
@in_virtual_time
async def test_the_sku_that_decided_it_is_named(
    reason: Reason, kind: type[OutOfStock | SkuNotFound | CustomerLimit]
) -> None:
    for subject, skus in (("mug", ["mug"]), ("red mug", ["mug", "red mug"]), ("mug", ["mug", "mug-2", "a"])):
        error = refused(reason, subject, *skus)
        assert isinstance(error, kind)
        assert (error.sku, error.order_id) == (subject, ORDER_ID)


@in_virtual_time
async def test_an_unclear_sku_is_left_out() -> None:
    error = refused(Reason.OUT_OF_STOCK, "", "mug", "cup")
    assert isinstance(error, OutOfStock)
    assert error.sku == ""


@in_virtual_time
async def test_a_reused_id_is_named() -> None:
    error = refused(Reason.ORDER_ID_REUSED, ORDER_ID, "mug")
    assert isinstance(error, OrderIdReused)
    assert error.order_id == ORDER_ID


@in_virtual_time
async def test_all_that_is_wrong_is_named_as_the_gateway_names_it() -> None:
    message = orders_pb2.PlaceOrderRequest(
        order_id=ORDER_ID,
        lines=[orders_pb2.OrderLine(sku="mug"), orders_pb2.OrderLine(sku="mug", quantity=1)],
    )
    violations = parse_order(message)
    assert isinstance(violations, list)
    text = "; ".join(f"orders[17].{field}: {description}" for field, description in violations)
    error = refused(Reason.INVALID_ORDER, text, "mug", "mug")
    assert isinstance(error, InvalidOrder)
    assert list(error.violations) == violations
    assert len(violations) == 3


@in_virtual_time
async def test_every_final_reason_has_a_type() -> None:
    for reason in FINAL_REASONS:
        assert type(refused(reason, "mug", "mug")).__name__ != "CallFailed"
