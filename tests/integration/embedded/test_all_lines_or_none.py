"""Carts of several lines that together want far more than there is: each gets all of its lines or none."""

import asyncio

from tests.integration.buying import Client, create_skus, place_until_answered
from tests.integration.carts import UNITS, check_all_lines_or_none, check_refusals_name_what_was_short, random_carts
from tests.integration.embedded.conftest import Embedded, audit_files


async def test_carts_get_all_of_their_lines_or_none(gateway: Embedded, clients: list[Client], name: str) -> None:
    skus, carts = random_carts(name, seed=1)
    await create_skus(clients[0], skus, UNITS)
    # Hundreds of carts that wait for each other may outlast a time limit; a buyer who hears so asks again.
    replies = await asyncio.gather(*(place_until_answered(clients, cart, n) for n, cart in enumerate(carts)))
    await check_all_lines_or_none(clients, skus, replies)
    check_refusals_name_what_was_short(replies)
    assert (await audit_files(gateway)).findings == []
