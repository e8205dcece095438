"""Growth under everything that happens at once. `python -m tests.growing turmoil --orders 200000` does it with more."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.growing.scene import opened
from tests.growing.turmoil import CALM, turmoil
from tests.journals import new_postgres_database
from tests.servers import make_kafka, running, server_directory

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]

ORDERS = 20_000
ORDERS_PER_S = 400
"""Consumers must keep up, or the growth waits for them: this goes on beside all they do on two cores."""


@pytest.fixture
def broker() -> Iterator[str]:
    with server_directory() as directory:
        process, bootstrap = make_kafka(directory)
        with running(process):
            yield bootstrap


async def test_no_key_is_out_of_order_nothing_is_lost_and_repeats_are_dropped(
    broker: str, postgres_url: str, cassandra_contact_points: str, tmp_path: Path
) -> None:
    async with new_postgres_database(postgres_url) as journal_url:
        with opened(broker, journal_url, cassandra_contact_points, tmp_path) as scene:
            result = await turmoil(scene, ORDERS, ORDERS_PER_S, print)
    assert result.repeats > 0, "relays that were killed repeat nothing: then this shows less than it says"
    assert result.handled[CALM].repeats == 0
