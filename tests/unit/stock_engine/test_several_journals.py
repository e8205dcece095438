"""One escrow for orders of several journals: each reservation is decided in the journal that its number says."""

import asyncio

from sluice.seams.stock_keeper import Settlement, Verdict
from stockd.engine import HOUSEKEEPING_INTERVAL_S
from tests.unit.stock_engine.parts import GRACE_S, INCARNATION, TIMEOUT_S, Parts, batch_of
from tests.unit.virtual_time import in_virtual_time

SHARDS = 3
AFTER_GRACE_S = GRACE_S + 2 * HOUSEKEEPING_INTERVAL_S


async def reserve(parts: Parts, shard: int, units: int = 1) -> int:
    """The number of a reservation of `a` for orders of that journal."""
    batch = batch_of([{"a": units}])._replace(shard=shard)
    reservation = await parts.engine.reserve(batch, (), TIMEOUT_S)
    assert list(reservation.verdicts) == [Verdict.GRANTED]
    return reservation.seq


@in_virtual_time
async def test_each_journal_has_numbers_of_its_own_without_gaps() -> None:
    parts = Parts(shards=SHARDS)
    parts.store.create("a", 100)
    asked = [0, 1, 1, 2, 0, 1, 2, 2, 2]
    numbers = [await reserve(parts, shard) for shard in asked]
    assert len(set(numbers)) == len(numbers)
    for shard in range(SHARDS):
        of_shard = [number for number, each in zip(numbers, asked, strict=True) if each == shard]
        assert of_shard == [(turn + 1) * SHARDS + shard for turn in range(len(of_shard))]
    _, returned = await parts.engine.reserve_return({"a": 1}, 1, 1.0)
    assert returned == 4 * SHARDS + 1


@in_virtual_time
async def test_what_nobody_settles_is_decided_in_its_journal_and_in_no_other() -> None:
    parts = Parts(shards=SHARDS)
    parts.store.create("a", 10)
    async with parts.housekeeping():
        numbers = [await reserve(parts, shard, units=2) for shard in range(SHARDS)]
        parts.journals[1].spends[INCARNATION, numbers[1]] = {"a": 2}
        await asyncio.sleep(AFTER_GRACE_S)
    for shard, journal in enumerate(parts.journals):
        assert journal.spends == {(INCARNATION, numbers[shard]): {"a": 2} if shard == 1 else {}}
    assert parts.store.available("a") == 8
    assert parts.engine.open_reservations() == 0


@in_virtual_time
async def test_a_journal_that_is_away_keeps_in_doubt_what_is_its_own() -> None:
    parts = Parts(shards=SHARDS)
    parts.store.create("a", 10)
    parts.journals[2].away = True
    async with parts.housekeeping():
        numbers = [await reserve(parts, shard, units=2) for shard in range(SHARDS)]
        await asyncio.sleep(AFTER_GRACE_S)
        assert parts.engine.units_in_doubt() == 2
        assert parts.store.available("a") == 8
        parts.journals[2].away = False
        parts.journals[2].spends[INCARNATION, numbers[2]] = {"a": 1}
        await asyncio.sleep(AFTER_GRACE_S)
    assert parts.store.available("a") == 9
    assert parts.engine.units_in_doubt() == 0


@in_virtual_time
async def test_a_settlement_names_it_by_its_number_alone() -> None:
    parts = Parts(shards=SHARDS)
    parts.store.create("a", 10)
    numbers = [await reserve(parts, shard, units=2) for shard in range(SHARDS)]
    await parts.engine.settle([Settlement(INCARNATION, numbers[2], {"a": 1})], 1.0)
    assert parts.engine.units_in_doubt() == 4
    assert parts.engine.open_reservations() == 2
