"""`sluice stock reclaim` on real servers: refuses the living, shows before it acts, gives back what was not sold."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID, uuid4

import pytest
from typer.testing import CliRunner, Result

from commands.main import app
from journal.postgres import PostgresJournal
from journal.protocol import Committed, IncarnationFenced, IncarnationsFenced
from sluice.model import StockPolicy
from sluice.seams.stock_store import Applied, Consistency, Row
from stockd.stores.cassandra import CassandraStore
from tests.journals import new_order, new_postgres_database, sale

pytestmark = pytest.mark.servers

NAME = "stockd-7"
UNITS = 100
TAKEN = {"tea": 10, "cup": 4, "pot": 3}
SOLD = {"tea": 6, "pot": 3}
UNSOLD = {"tea": 4, "cup": 4}


class Shop(NamedTuple):
    journal_url: str
    cassandra: str
    keyspace: str
    journal: PostgresJournal
    store: CassandraStore
    incarnation: UUID

    async def reclaim(self, *flags: str, name: str = NAME) -> Result:
        servers = ["--journal-url", self.journal_url, "--cassandra", self.cassandra, "--keyspace", self.keyspace]
        return await asyncio.to_thread(CliRunner().invoke, app, ["stock", "reclaim", name, *servers, *flags])

    async def available(self) -> dict[str, int]:
        ledgers = [await self.store.read(sku, Consistency.STRONG) for sku in TAKEN]
        return {ledger.sku: ledger.available for ledger in ledgers if ledger}


@pytest.fixture
async def shop(postgres_url: str, cassandra_contact_points: str) -> AsyncIterator[Shop]:
    """One stock server has taken units, sold some and says nothing more."""
    keyspace = f"reclaim_{uuid4().hex[:8]}"
    async with new_postgres_database(postgres_url) as url:
        journal = await PostgresJournal.open(url, timeout_s=30)
        store = await CassandraStore.open(cassandra_contact_points, keyspace, 1, "datacenter1")
        incarnation = uuid4()
        await journal.register(NAME, incarnation, datetime.now(UTC))
        for sku, taken in TAKEN.items():
            await store.create_sku(sku, StockPolicy.EXACT)
            assert await store.restock(sku, uuid4(), UNITS) == Applied()
            await store.note_held(incarnation, [sku])
            assert await store.take(sku, incarnation, None, taken) == Applied()
        assert await journal.commit(sale(incarnation, 1, [new_order(SOLD)])) == Committed()
        yield Shop(url, cassandra_contact_points, keyspace, journal, store, incarnation)
        await store.close()
        await journal.close()


async def test_what_is_shown_first_comes_back_once_and_is_never_sold(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = {sku: UNITS - taken for sku, taken in TAKEN.items()}
    whole = {sku: UNITS - SOLD.get(sku, 0) for sku in TAKEN}
    fields = {"name": NAME, "fenced": [str(shop.incarnation)], "units": UNSOLD, "total": sum(UNSOLD.values())}

    shown = await shop.reclaim("--dry-run", "--json")
    assert (shown.exit_code, json.loads(shown.stdout)) == (0, fields | {"dry_run": True})
    await shop.journal.beat(shop.incarnation)
    refused = await shop.reclaim()
    assert refused.exit_code == 1
    assert "seems to be alive" in refused.stderr
    assert str(shop.incarnation) in refused.stderr
    assert await shop.available() == held

    # Dead for long enough, as the setting says.
    monkeypatch.setenv("SLUICE_BEAT_INTERVAL_S", "0.001")
    monkeypatch.setenv("SLUICE_PEER_DEAD_AFTER_S", "0.01")
    done = await shop.reclaim("--json")
    assert (done.exit_code, json.loads(done.stdout)) == (0, fields | {"dry_run": False})
    assert await shop.available() == whole
    late = sale(shop.incarnation, 2, [new_order({"cup": 1})])
    assert await shop.journal.commit(late) == IncarnationsFenced(frozenset({shop.incarnation}))

    again = await shop.reclaim()
    assert again.exit_code == 0
    assert "0 incarnations fenced, 0 units of 0 SKUs came back" in again.stdout.replace("\n", " ")
    assert await shop.available() == whole

    # A zombie's late write strands units; the same command finds them, although the incarnation was folded before.
    assert await shop.store.take("cup", shop.incarnation, Row(0, 2), 5) == Applied()
    found = await shop.reclaim("--json")
    assert json.loads(found.stdout)["units"] == {"cup": 5}
    assert await shop.available() == whole


async def test_the_living_can_be_fenced_by_force(shop: Shop) -> None:
    await shop.journal.beat(shop.incarnation)
    forced = await shop.reclaim("--force")
    assert forced.exit_code == 0
    assert "1 incarnations fenced, 8 units of 2 SKUs came back" in forced.stdout.replace("\n", " ")
    with pytest.raises(IncarnationFenced):
        await shop.journal.beat(shop.incarnation)


async def test_an_unknown_name_is_told_which_are_known(shop: Shop) -> None:
    refused = await shop.reclaim(name="stockd-8")
    assert refused.exit_code == 1
    assert NAME in refused.stderr
