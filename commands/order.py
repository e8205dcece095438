"""`sluice order …`: place orders and look at them."""

import sys
from datetime import timedelta
from typing import Annotated

import typer

from commands.calling import DEFAULT_ENDPOINT, AsJson, Endpoint, call, follow, show, show_rows
from sluice._gen.orders.v1 import orders_pb2
from sluice.client.order_ids import new_order_id

QueuePosition = Annotated[
    str, typer.Option(help="PARTITION/OFFSET as `place --queued` said: then any gateway knows the order at once")
]
SERVICE = "/sluice.orders.v1.OrderService/"

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)


@app.command()
def place(
    lines: Annotated[list[str], typer.Argument(help="SKU or SKU=quantity, one or more")],
    customer: Annotated[str, typer.Option(help="who buys")] = "cli",
    order_id: Annotated[str, typer.Option(help="UUID of the order; give the same one to repeat safely")] = "",
    hold_s: Annotated[float, typer.Option("--hold", help="seconds to hold the units until `confirm`; 0: sell")] = 0,
    queued: Annotated[
        bool, typer.Option("--queued", help="take it into the queue: `watch` tells what becomes of it")
    ] = False,
    priority: Annotated[int, typer.Option(min=0, help="the higher, the later cancelled if oversold; up to 1000")] = 0,
    endpoint: Endpoint = DEFAULT_ENDPOINT,
    as_json: AsJson = False,
) -> None:
    """Places one order. With --queued the answer says where it stands in the queue."""
    request = orders_pb2.PlaceOrderRequest(
        order_id=order_id or new_order_id(),
        customer_id=customer,
        lines=[_line(text) for text in lines],
        priority=priority,
    )
    if hold_s:
        request.hold.FromTimedelta(timedelta(seconds=hold_s))
    if queued:
        request.mode = orders_pb2.MODE_QUEUED
    show(call(endpoint, SERVICE + "PlaceOrder", request, orders_pb2.PlaceOrderResponse), as_json=as_json)


@app.command()
def get(
    order_id: str,
    queue_position: QueuePosition = "",
    endpoint: Endpoint = DEFAULT_ENDPOINT,
    as_json: AsJson = False,
) -> None:
    """One order."""
    request = orders_pb2.GetOrderRequest(order_id=order_id, queue_position=_position(queue_position))
    show(call(endpoint, SERVICE + "GetOrder", request, orders_pb2.GetOrderResponse), as_json=as_json)


@app.command()
def watch(
    order_id: str,
    after_version: Annotated[int, typer.Option(min=0, help="only versions above this one")] = 0,
    queue_position: QueuePosition = "",
    endpoint: Endpoint = DEFAULT_ENDPOINT,
    as_json: AsJson = False,
) -> None:
    """One order, again each time it has moved, until it is confirmed or has ended."""
    version = after_version
    position = _position(queue_position)

    def next_request() -> orders_pb2.WatchOrderRequest:
        return orders_pb2.WatchOrderRequest(order_id=order_id, after_version=version, queue_position=position)

    def show_one(response: orders_pb2.WatchOrderResponse) -> None:
        nonlocal version
        version = response.order.version
        show(response if as_json else response.order, as_json=as_json)
        sys.stdout.flush()  # whoever reads through a pipe waits for this line, not for the next ones

    follow(endpoint, SERVICE + "WatchOrder", next_request, orders_pb2.WatchOrderResponse, show_one)


@app.command()
def confirm(order_id: str, endpoint: Endpoint = DEFAULT_ENDPOINT, as_json: AsJson = False) -> None:
    """Makes a held order final. Repeating is harmless."""
    request = orders_pb2.ConfirmOrderRequest(order_id=order_id)
    show(call(endpoint, SERVICE + "ConfirmOrder", request, orders_pb2.ConfirmOrderResponse), as_json=as_json)


@app.command()
def cancel(order_id: str, endpoint: Endpoint = DEFAULT_ENDPOINT, as_json: AsJson = False) -> None:
    """Ends an order and gives its units back. Repeating is harmless."""
    request = orders_pb2.CancelOrderRequest(order_id=order_id)
    show(call(endpoint, SERVICE + "CancelOrder", request, orders_pb2.CancelOrderResponse), as_json=as_json)


@app.command(name="list")
def list_orders(
    customer: Annotated[str, typer.Option(help="only this customer's")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    endpoint: Endpoint = DEFAULT_ENDPOINT,
    as_json: AsJson = False,
) -> None:
    """Orders by descending id."""
    request = orders_pb2.ListOrdersRequest(customer_id=customer, page_size=limit)
    page = call(endpoint, SERVICE + "ListOrders", request, orders_pb2.ListOrdersResponse)
    show_rows(list(page.orders), as_json=as_json)


def _position(text: str) -> orders_pb2.QueuePosition | None:
    if not text:
        return None
    partition, separator, offset = text.partition("/")
    if not (separator and partition.isdigit() and offset.isdigit()):
        raise typer.BadParameter(f"{text!r} is not PARTITION/OFFSET", param_hint="--queue-position")
    return orders_pb2.QueuePosition(partition=int(partition), offset=int(offset))


def _line(text: str) -> orders_pb2.OrderLine:
    sku, separator, quantity = text.rpartition("=")
    if not separator:
        return orders_pb2.OrderLine(sku=text, quantity=1)
    if not quantity.isdigit():
        raise typer.BadParameter(f"{text!r} is not SKU or SKU=quantity", param_hint="LINES")
    return orders_pb2.OrderLine(sku=sku, quantity=int(quantity))
