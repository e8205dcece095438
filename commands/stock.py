"""`sluice stock …`: what there is to sell."""

import sys
from enum import Enum
from typing import Annotated
from uuid import uuid4

import typer

from commands import stock_compensate, stock_reclaim
from commands.calling import DEFAULT_ENDPOINT, AsJson, Endpoint, call, follow, show, show_rows
from sluice._gen.stock.v1 import stock_pb2
from sluice.seams.stock_store import Consistency

SERVICE = "/sluice.stock.v1.StockService/"
PAGE_SIZE = 1_000


class Policy(Enum):
    """The policies of this version."""

    EXACT = "exact"
    ESCROW = "escrow"
    COUNTER = "counter"


app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
app.command()(stock_reclaim.reclaim)
app.command(name="compensate")(stock_compensate.compensate_command)


@app.command()
def create(
    sku: str,
    units: Annotated[int, typer.Argument(min=0)],
    policy: Annotated[
        Policy,
        typer.Option(
            help="exact: nothing is taken ahead; escrow: some seconds of demand are; counter: may oversell by a bound"
        ),
    ] = Policy.ESCROW,
    owners: Annotated[int, typer.Option(min=1, help="stock servers that its orders are spread over")] = 1,
    endpoint: Endpoint = DEFAULT_ENDPOINT,
    as_json: AsJson = False,
) -> None:
    """Creates a SKU with its first units. The same again changes nothing."""
    request = stock_pb2.CreateSkuRequest(sku=sku, units=units, policy=f"STOCK_POLICY_{policy.name}", owners=owners)
    show(call(endpoint, SERVICE + "CreateSku", request, stock_pb2.CreateSkuResponse), as_json=as_json)


@app.command()
def restock(
    sku: str,
    units: Annotated[int, typer.Argument(min=1)],
    restock_id: Annotated[str, typer.Option(help="UUID of this delivery; give the same one to repeat safely")] = "",
    endpoint: Endpoint = DEFAULT_ENDPOINT,
    as_json: AsJson = False,
) -> None:
    """Adds units."""
    request = stock_pb2.RestockRequest(sku=sku, units=units, restock_id=restock_id or str(uuid4()))
    show(call(endpoint, SERVICE + "Restock", request, stock_pb2.RestockResponse), as_json=as_json)


@app.command()
def withdraw(
    sku: str,
    units: Annotated[int, typer.Argument(min=1)],
    withdrawal_id: Annotated[
        str, typer.Option(help="UUID of this withdrawal; give the same one to repeat safely")
    ] = "",
    endpoint: Endpoint = DEFAULT_ENDPOINT,
    as_json: AsJson = False,
) -> None:
    """Takes units out of stock that nobody has: all of them, or none."""
    request = stock_pb2.WithdrawRequest(sku=sku, units=units, withdrawal_id=withdrawal_id or str(uuid4()))
    show(call(endpoint, SERVICE + "Withdraw", request, stock_pb2.WithdrawResponse), as_json=as_json)


@app.command()
def spread(
    sku: str,
    owners: Annotated[int, typer.Argument(min=1, help="stock servers that its orders are spread over")],
    endpoint: Endpoint = DEFAULT_ENDPOINT,
    as_json: AsJson = False,
) -> None:
    """Spreads a hot SKU over several stock servers, or gathers it at one again. Gateways follow within seconds."""
    request = stock_pb2.SpreadSkuRequest(sku=sku, owners=owners)
    show(call(endpoint, SERVICE + "SpreadSku", request, stock_pb2.SpreadSkuResponse), as_json=as_json)


@app.command()
def get(
    sku: str,
    consistency: Annotated[Consistency, typer.Option(help="how fresh the answer must be")] = Consistency.QUORUM,
    endpoint: Endpoint = DEFAULT_ENDPOINT,
    as_json: AsJson = False,
) -> None:
    """What is available, in escrow and sold, with the bounds."""
    request = stock_pb2.GetStockRequest(sku=sku, consistency=f"CONSISTENCY_{consistency.name}")
    show(call(endpoint, SERVICE + "GetStock", request, stock_pb2.GetStockResponse), as_json=as_json)


@app.command()
def watch(
    sku: str,
    resume_token: Annotated[str, typer.Option(help="go on from what an earlier watch told with it")] = "",
    endpoint: Endpoint = DEFAULT_ENDPOINT,
    as_json: AsJson = False,
) -> None:
    """The stock of a SKU, again each time it has changed, until you stop it. Goes on by itself after a restart."""
    token = resume_token

    def next_request() -> stock_pb2.WatchStockRequest:
        return stock_pb2.WatchStockRequest(sku=sku, resume_token=token)

    def show_one(response: stock_pb2.WatchStockResponse) -> None:
        nonlocal token
        token = response.resume_token
        show(response if as_json else response.stock, as_json=as_json)
        sys.stdout.flush()  # whoever reads through a pipe waits for this line, not for the next ones

    follow(endpoint, SERVICE + "WatchStock", next_request, stock_pb2.WatchStockResponse, show_one)


@app.command(name="list")
def list_skus(endpoint: Endpoint = DEFAULT_ENDPOINT, as_json: AsJson = False) -> None:
    """All SKUs."""
    token = ""
    rows = []
    while True:
        request = stock_pb2.ListSkusRequest(page_size=PAGE_SIZE, page_token=token)
        page = call(endpoint, SERVICE + "ListSkus", request, stock_pb2.ListSkusResponse)
        rows += page.skus
        token = page.next_page_token
        if not token:
            break
    show_rows(rows, as_json=as_json)


@app.command()
def limit(
    sku: str,
    units: Annotated[int | None, typer.Argument(min=0, help="for each customer; 0: no limit; none: show it")] = None,
    customer: Annotated[str, typer.Option(help="show how much of it this customer has")] = "",
    endpoint: Endpoint = DEFAULT_ENDPOINT,
    as_json: AsJson = False,
) -> None:
    """Sets or shows how many units of a SKU one customer may have. Set it before the sale."""
    if units is None:
        asked = stock_pb2.GetCustomerLimitRequest(sku=sku, customer_id=customer)
        answer = call(endpoint, SERVICE + "GetCustomerLimit", asked, stock_pb2.GetCustomerLimitResponse)
    else:
        wanted = stock_pb2.SetCustomerLimitRequest(sku=sku, units=units)
        answer = call(endpoint, SERVICE + "SetCustomerLimit", wanted, stock_pb2.SetCustomerLimitResponse)
    show(answer, as_json=as_json)
