"""A successor finds every SKU of which an incarnation may hold units."""

from uuid import uuid4

from sluice.seams.stock_store import StockStore


async def test_noted_skus_are_found_by_incarnation_once_each(store: StockStore) -> None:
    mine, other = uuid4(), uuid4()
    await store.note_held(mine, ["a"])
    await store.note_held(mine, ["b", "a"])
    await store.note_held(other, ["c"])
    assert sorted(await store.skus_noted(mine)) == ["a", "b"]
    assert await store.skus_noted(other) == ["c"]
    assert await store.skus_noted(uuid4()) == []


async def test_an_incarnation_with_thousands_of_skus_is_read_whole(store: StockStore) -> None:
    incarnation = uuid4()
    skus = {f"sku-{number}" for number in range(6_000)}  # more than the driver's default page of 5,000
    for start in range(0, len(skus), 50):
        await store.note_held(incarnation, sorted(skus)[start : start + 50])
    found = await store.skus_noted(incarnation)
    assert len(found) == len(skus)
    assert set(found) == skus
