"""What cannot work is refused with the reason, before anything is changed."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from commands.partitions import Parts, Refused, abort_move, balance_topic, grow_topic
from journal.sqlite import SqliteJournal
from journal.sqlite_slot_maps import SqliteSlotMaps
from sluice.kafka_topics import ORDER_REQUESTED_PARTITIONS
from sluice.seams.event_log import TOPIC_ORDER_CREATED, TOPIC_ORDER_REQUESTED, TOPIC_STOCK_CHANGED
from sluice.slot_map import first_seats
from sluice.slot_plan import CannotGrow, grown, moved_slots
from sluice.slots import SLOT_COUNT
from sluice.sqlite_file import SqliteFile

PAUSE_S = 3.0
NOWHERE = "127.0.0.1:1"


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    """Nothing of it needs Kafka: a refusal comes before anything is asked or changed."""
    file = await SqliteFile.open(tmp_path / "journal.db")
    await SqliteJournal.open(file)
    slot_maps = SqliteSlotMaps(file)
    await slot_maps.begin({TOPIC_ORDER_CREATED: 8})
    yield Parts(slot_maps, NOWHERE)
    assert (await slot_maps.in_force())[TOPIC_ORDER_CREATED].epoch == 0
    await file.close()


@pytest.mark.parametrize(
    ("topic", "partitions", "reason"),
    [
        (TOPIC_ORDER_CREATED, 4, "Kafka cannot take partitions away"),
        (TOPIC_ORDER_CREATED, 12, "12 does not divide 4096: .* take 16, 32, 64, 128"),
        (TOPIC_ORDER_CREATED, 8192, "8192 does not divide 4096"),
        (TOPIC_STOCK_CHANGED, 16, "a relay makes it"),
        (TOPIC_ORDER_REQUESTED, 128, "64 partitions from the start and keeps them: every gateway writes it"),
        ("order-creatd", 16, "no topic .* 'order-creatd'; there are order-created, "),
    ],
)
async def test_what_cannot_work_is_refused(parts: Parts, topic: str, partitions: int, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        await grow_topic(parts, topic, partitions, PAUSE_S, [])
    assert await parts.slot_maps.planned() == {}


async def test_of_several_journals_slots_do_not_move(parts: Parts) -> None:
    of_four = parts._replace(journals=4)
    for attempt in (
        grow_topic(of_four, TOPIC_ORDER_CREATED, 16, PAUSE_S, []),
        balance_topic(of_four, TOPIC_ORDER_CREATED, 10, PAUSE_S, [], lambda: True),
        abort_move(of_four, TOPIC_ORDER_CREATED),
    ):
        with pytest.raises(Refused, match="divided over 4 journals"):
            await attempt
    assert await parts.slot_maps.planned() == {}


async def test_another_move_is_named_with_the_ways_out(parts: Parts) -> None:
    await parts.slot_maps.plan(TOPIC_ORDER_CREATED, first_seats(32))
    with pytest.raises(Refused, match=r"to 32 partitions.*partitions grow order-created 32.*partitions abort"):
        await grow_topic(parts, TOPIC_ORDER_CREATED, 16, PAUSE_S, [])
    await abort_move(parts, TOPIC_ORDER_CREATED)
    with pytest.raises(Refused, match="no move is under way"):
        await abort_move(parts, TOPIC_ORDER_CREATED)


async def test_a_topic_that_is_as_large_already_is_left_alone(parts: Parts) -> None:
    await grow_topic(parts, TOPIC_ORDER_CREATED, 8, PAUSE_S, [])


def test_order_requested_is_as_large_as_it_will_ever_be() -> None:
    assert ORDER_REQUESTED_PARTITIONS == 64
    assert SLOT_COUNT % ORDER_REQUESTED_PARTITIONS == 0


def test_growing_moves_no_more_slots_than_it_must_and_keeps_to_javas_default() -> None:
    assert grown(first_seats(8), 32) == first_seats(32)
    assert len(moved_slots(first_seats(8), first_seats(32))) == SLOT_COUNT * 24 // 32


def test_a_map_that_was_balanced_grows_by_giving_slots_to_new_partitions_only() -> None:
    uneven = tuple(0 if slot < 1000 else slot % 4 for slot in range(SLOT_COUNT))
    after = grown(uneven, 8)
    assert {after[slot] for slot in moved_slots(uneven, after)} == {4, 5, 6, 7}
    assert len(moved_slots(uneven, after)) == SLOT_COUNT // 2


def test_a_shrinking_map_is_refused_by_the_plan_itself() -> None:
    with pytest.raises(CannotGrow, match="never shrinks"):
        grown(first_seats(16), 8)
