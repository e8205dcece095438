"""What is asked of many SKUs at once has the outcomes that it would have one after the other."""

import asyncio
import random
from uuid import UUID, uuid4

import pytest

from sluice.errors import StoreUnreachable
from sluice.model import MAX_NAME_CHARS, StockPolicy
from sluice.seams.stock_store import Applied, Head, NoSuchSku, Refused, Row, StockStore, WriteOutcome
from stockd.holder_notes import SKUS_PER_NOTE

from .ledgers import ledger_of, restocked
from .model import LedgerModel, Restock, Take

SKUS = 300
UNITS = 5
TURNS = 3
TOO_MANY = 2**70
"""No store counts so far; validation refuses it long before."""


async def _created(store: StockStore, prefix: str) -> list[str]:
    skus = [f"{prefix}-{number}" for number in range(SKUS)]
    assert set(await asyncio.gather(*(store.create_sku(sku, StockPolicy.ESCROW) for sku in skus))) == {None}
    return skus


async def test_skus_are_created_once_beside_others_that_stand(store: StockStore, new_sku: str) -> None:
    skus = await _created(store, new_sku)
    more = [f"{new_sku}-more-{number}" for number in range(SKUS)]
    mixed = [sku for pair in zip(skus, more, strict=True) for sku in pair]
    outcomes = await asyncio.gather(*(store.create_sku(sku, StockPolicy.EXACT) for sku in mixed))
    assert outcomes == [StockPolicy.ESCROW, None] * SKUS


@pytest.mark.parametrize("seed", range(4))
async def test_every_write_has_its_own_outcome(store: StockStore, new_sku: str, seed: int) -> None:
    """Some with too few units, some with another row than they believe, some of no SKU, several of the same SKU."""
    chance = random.Random(seed)
    skus = [*await _created(store, new_sku), *(f"{new_sku}-none-{number}" for number in range(20))]
    models = {sku: LedgerModel() for sku in skus[:SKUS]}
    incarnation = uuid4()
    restock_id = UUID(int=1)
    for sku, outcome in zip(
        skus, await asyncio.gather(*(store.restock(sku, restock_id, UNITS) for sku in skus)), strict=True
    ):
        expected = models[sku].apply(Restock(restock_id, UNITS)) if sku in models else NoSuchSku()
        assert outcome == expected
    for _ in range(TURNS):
        takes: list[tuple[str, Take]] = []
        for sku in chance.sample(skus, len(skus)):
            row = models[sku].held.get(incarnation) if sku in models else None
            before = chance.choice([row, row, row, None, Row(chance.randint(0, UNITS), 1)])
            takes.append((sku, Take(incarnation, before, chance.randint(-1 if before and before.units else 1, UNITS))))
        outcomes = await asyncio.gather(*(_take(store, sku, take) for sku, take in takes))
        for (sku, take), outcome in zip(takes, outcomes, strict=True):
            assert outcome == (models[sku].apply(take) if sku in models else NoSuchSku()), (sku, take)
    for sku, model in models.items():
        ledger = await ledger_of(store, sku)
        assert (ledger.available, ledger.held) == (model.available, model.held)


async def test_writes_of_one_sku_that_are_asked_for_at_once_are_done_one_after_the_other(
    store: StockStore, sku: str
) -> None:
    await restocked(store, sku, UNITS)
    takers = [uuid4() for _ in range(2 * UNITS)]
    outcomes = await asyncio.gather(*(store.take(sku, taker, None, 1) for taker in takers))
    assert outcomes.count(Applied()) == UNITS
    assert outcomes.count(Refused(0, None)) == UNITS
    assert (await ledger_of(store, sku)).available == 0


async def test_two_servers_that_take_of_the_same_skus_never_take_a_unit_twice(store: StockStore, new_sku: str) -> None:
    skus = await _created(store, new_sku)
    await asyncio.gather(*(restocked(store, sku, UNITS) for sku in skus))
    outcomes = await asyncio.gather(*(store.take(sku, uuid4(), None, 2) for sku in skus for _ in range(3)))
    for at in range(SKUS):
        of_sku = outcomes[3 * at : 3 * at + 3]
        assert of_sku.count(Applied()) == UNITS // 2
    for sku in skus:
        assert (await ledger_of(store, sku)).available == UNITS % 2


async def test_names_may_be_as_long_as_they_like(store: StockStore, new_sku: str) -> None:
    """What travels together must not be too much together."""
    skus = [f"{new_sku}-{number}-".ljust(MAX_NAME_CHARS, "鉄") for number in range(SKUS)]
    assert set(await asyncio.gather(*(store.create_sku(sku, StockPolicy.ESCROW) for sku in skus))) == {None}
    await asyncio.gather(*(restocked(store, sku, UNITS) for sku in skus))
    taker = uuid4()
    assert set(await asyncio.gather(*(store.take(sku, taker, None, 1) for sku in skus))) == {Applied()}
    assert set(await asyncio.gather(*(store.head(sku) for sku in skus))) == {Head(StockPolicy.ESCROW, UNITS - 1)}
    await store.note_held(taker, skus[:SKUS_PER_NOTE])
    assert set(await store.skus_noted(taker)) == set(skus[:SKUS_PER_NOTE])


async def test_what_cannot_be_written_is_the_affair_of_who_asked_for_it(store: StockStore, new_sku: str) -> None:
    skus = await _created(store, new_sku)
    outcomes = await asyncio.gather(
        *(store.restock(sku, uuid4(), TOO_MANY if sku == skus[7] else UNITS) for sku in skus), return_exceptions=True
    )
    assert isinstance(outcomes.pop(7), Exception)
    assert set(outcomes) == {Applied()}
    assert (await ledger_of(store, skus[7])).available == 0


async def test_heads_of_many_skus(store: StockStore, new_sku: str) -> None:
    skus = await _created(store, new_sku)
    await asyncio.gather(*(restocked(store, sku, number + 1) for number, sku in enumerate(skus)))
    await asyncio.gather(*(store.spread(sku, 3) for sku in skus[:3]))
    await asyncio.gather(*(store.take(sku, uuid4(), None, 1) for sku in skus))
    none = [f"{new_sku}-none-{number}" for number in range(20)]
    heads = await asyncio.gather(*(store.head(sku) for sku in [*skus, *none, skus[0]]))
    expected = [Head(StockPolicy.ESCROW, number, 3 if number < 3 else 1) for number in range(SKUS)]
    assert heads == [*expected, *([None] * len(none)), expected[0]]


async def _take(store: StockStore, sku: str, take: Take) -> WriteOutcome:
    """Sent again for as long as there was no place for it: how much a store does at a time is its own affair."""
    while True:
        try:
            return await store.take(sku, take.incarnation, take.before, take.count)
        except StoreUnreachable as error:
            if error.outcome_unknown:
                raise
