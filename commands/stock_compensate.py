"""`sluice stock compensate [SKU]`: what compensation would cancel, and doing it by hand."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from commands.calling import AsJson
from commands.front import utc_now
from commands.options import load
from commands.stock_servers import rpc_keepers
from consumers.compensation import Excess, compensate, excess_of
from gateway.keepers import Keepers
from journal.postgres_place import WrongPlace
from journal.postgres_shards import opened_journals, opened_tallies
from journal.tallies import TalliedOrder, Victims
from orders.moving import move_orders_anywhere
from sluice.errors import LedgerMissing, Unreachable
from sluice.settings import ConsumeSettings
from stockd.counter_repair import repair_counter
from stockd.stores.chosen import open_standing_store

EXIT_CANNOT_REACH = 2

ANSWER_LIMIT_S = 10.0
"""A person waits rather than hears of a timeout."""

MAX_SHOWN = 100_000
"""Orders that a preview names; nobody reads more."""


def compensate_command(
    sku: Annotated[str | None, typer.Argument(help="one SKU; all that are sold by counting if not given")] = None,
    *,
    preview: Annotated[bool, typer.Option("--preview", help="show who would be cancelled, change nothing")] = False,
    first: Annotated[Victims | None, typer.Option(help="who goes first; SLUICE_OVERSOLD_FIRST")] = None,
    journal_url: Annotated[str | None, typer.Option(help="the cluster's PostgreSQL; SLUICE_JOURNAL_URL")] = None,
    cassandra: Annotated[str | None, typer.Option(help="the cluster's Cassandra; SLUICE_CASSANDRA")] = None,
    stockd: Annotated[str | None, typer.Option(help="the stock servers, name=host:port,...; SLUICE_STOCKD")] = None,
    as_json: AsJson = False,
) -> None:
    """Cancels what was sold beyond the stock, as the consumer does by itself. Repeating it is harmless."""
    given = {
        "journal_url": journal_url,
        "cassandra": cassandra,
        "stockd": stockd,
        "oversold_first": first.value if first else None,
    }
    settings = load(ConsumeSettings, {name: value for name, value in given.items() if value is not None})
    try:
        shown = asyncio.run(_run(settings, sku, preview=preview))
    except (Unreachable, LedgerMissing, WrongPlace) as error:
        typer.echo(f"cannot compensate: {error}", err=True)
        raise typer.Exit(EXIT_CANNOT_REACH) from error
    if as_json:
        typer.echo(json.dumps([_as_object(excess, orders) for excess, orders in shown]))
    else:
        _show(shown, preview=preview)


async def _run(
    settings: ConsumeSettings, sku: str | None, *, preview: bool
) -> Sequence[tuple[Excess, Sequence[TalliedOrder]]]:
    """What was found for each SKU, with the orders that were or would be cancelled."""
    urls = settings.journal_urls
    victims = Victims(settings.oversold_first)
    found = []
    async with AsyncExitStack() as opened:
        journals = await opened.enter_async_context(opened_journals(urls, timeout_s=ANSWER_LIMIT_S))
        tallies = await opened.enter_async_context(opened_tallies(journals, urls, timeout_s=ANSWER_LIMIT_S))
        store = await open_standing_store(settings)
        opened.push_async_callback(store.close)
        links = Keepers(await opened.enter_async_context(rpc_keepers(settings.stockd)))
        opened.callback(links.close)
        move = partial(move_orders_anywhere, owners=links, journals=journals, now=utc_now)
        for each in [sku] if sku is not None else await tallies.skus():
            if preview:
                excess = await excess_of(each, tallies, store, victims, MAX_SHOWN)
                if excess is not None:
                    found.append((excess, excess.beyond))
                continue
            done = await compensate(each, tallies, store, victims, move)
            if done is not None:
                await repair_counter(each, journals, store)
                found.append((done.excess, done.ended))
    return found


def _as_object(excess: Excess, orders: Sequence[TalliedOrder]) -> dict[str, Any]:
    return {
        "sku": excess.sku,
        "stock": excess.stock,
        "sold": excess.sold,
        "orders": [
            {
                "order_id": each.order.order_id,
                "customer_id": each.order.customer_id,
                "units": each.units,
                "priority": each.order.priority,
                "create_time": each.order.create_time.isoformat(),
            }
            for each in orders
        ],
    }


def _show(shown: Sequence[tuple[Excess, Sequence[TalliedOrder]]], *, preview: bool) -> None:
    console = Console()
    verb = "would be cancelled" if preview else "cancelled"
    for excess, orders in shown:
        console.print(f"{excess.sku}: {excess.sold} sold, {excess.stock} ever in stock, {len(orders)} order(s) {verb}")
        if orders:
            table = Table("order", "customer", "units", "priority", "created")
            for each in orders:
                order = each.order
                table.add_row(
                    order.order_id,
                    order.customer_id,
                    str(each.units),
                    str(order.priority),
                    order.create_time.isoformat(timespec="milliseconds"),
                )
            console.print(table)
    if not shown:
        console.print("no SKU is sold by counting, or nothing of one was sold yet")
