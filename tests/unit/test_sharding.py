"""Which journal an order is in: the same for ever, and as many orders in each, however clients make their ids."""

from collections import Counter
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest

from sluice.client.order_ids import new_order_id
from sluice.sharding import MAX_SHARDS, divided, shard_of
from sluice.slots import slot_of

IDS = 20_000


def by_time(number: int) -> str:
    """UUIDv7: the first half is the time, and ids that were made together differ in their random part only."""
    return new_order_id()


def counted(number: int) -> str:
    return str(UUID(int=number))


def random_id(number: int) -> str:
    return str(uuid4())


@pytest.mark.parametrize("new_id", [by_time, counted, random_id])
@pytest.mark.parametrize("shards", [2, 3, 4, 7, MAX_SHARDS])
def test_every_journal_gets_its_share_of_orders(new_id: Callable[[int], str], shards: int) -> None:
    orders = Counter(shard_of(new_id(number), shards) for number in range(IDS))
    assert orders.keys() == set(range(shards))
    mean = IDS / shards
    assert all(abs(count - mean) < 6 * mean**0.5 for count in orders.values()), orders


@pytest.mark.parametrize(
    ("order_id", "slot"),
    [
        ("00000000-0000-0000-0000-000000000001", 1114),
        ("019a0000-0000-7000-8000-000000000000", 2770),
    ],
)
def test_an_order_stays_where_it_is_in_every_release(order_id: str, slot: int) -> None:
    assert slot_of(order_id) == slot
    assert shard_of(order_id, 4) == slot % 4


def test_of_one_journal_nothing_is_divided() -> None:
    assert {shard_of(random_id(0), 1) for _ in range(100)} == {0}


def test_dividing_keeps_the_order_in_which_they_came() -> None:
    ids = [random_id(0) for _ in range(200)]
    shares = divided(ids, str, 4)
    assert sorted(shares) == [0, 1, 2, 3]
    for number, share in shares.items():
        assert share == [order_id for order_id in ids if shard_of(order_id, 4) == number]
