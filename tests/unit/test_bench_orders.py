"""Orders put together from pieces of bytes are what the generated classes would have written."""

from bench.orders import CUSTOMERS, OrderSource
from sluice._gen.orders.v1 import orders_pb2

SKUS = ["apple", "pear", "plum"]


def test_a_batch_holds_valid_orders_with_fresh_ids_over_all_skus() -> None:
    source = OrderSource(SKUS)
    requests = [orders_pb2.PlaceOrdersRequest.FromString(source.batch_request(batch, 500)) for batch in (0, 7)]
    assert [request.batch_id for request in requests] == [0, 7]
    orders = [order for request in requests for order in request.orders]
    assert len({order.order_id for order in orders}) == len(orders) == 1_000
    assert {len(order.order_id) for order in orders} == {36}
    assert [order.lines[0].sku for order in orders[:4]] == ["apple", "pear", "plum", "apple"]
    assert {order.lines[0].quantity for order in orders} == {1}
    assert len({order.customer_id for order in orders}) == CUSTOMERS


def test_requests_and_rows_are_the_same_orders_but_for_their_ids() -> None:
    requests, rows = OrderSource(SKUS), OrderSource(SKUS).rows(5)
    for row in rows:
        message = orders_pb2.PlaceOrderRequest.FromString(requests.request())
        assert message.customer_id == row.customer_id
        assert [(line.sku, line.quantity) for line in message.lines] == list(row.lines)
