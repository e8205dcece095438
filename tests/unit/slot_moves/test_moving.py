"""However a move is interrupted, resumed or aborted: no group sees two events of a key out of order, none is lost.

The mover is the real one; the world around it is a model. That the model can see an inversion is shown by taking away,
one after the other, what the move is careful about.
"""

from collections.abc import Callable, Mapping, Sequence
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.slot_moves import GroupBehind, MoveAborted, move_slots
from sluice.errors import Unreachable
from sluice.slot_map import first_seats
from sluice.slot_plan import grown
from sluice.slots import slot_of
from tests.unit.slot_moves.model import GROUPS, KEYS, TOPIC, Inversion, Killed, World
from tests.unit.virtual_time import in_virtual_time

PAUSE_S = 3.0
CHAOS_TRIES = 12
"""Of the mover, each of which may die anywhere; then the world calms down."""

SEEDS_UNTIL_FOUND = 4_000


async def scenario(world: World) -> None:
    for partitions in (4, 8):
        for attempt in range(CHAOS_TRIES + 1):
            world.chaos = attempt < CHAOS_TRIES
            if world.chaos and world.random.random() < 0.1:
                await quietly(world.abort, TOPIC)
            if await quietly(move, world, partitions):
                break
        assert world.maps[-1].seats == first_seats(partitions)
        world.chaos = True
    for _ in range(30):
        world.happen()
    world.chaos, world.paused = False, False
    world.happen()
    for group in GROUPS:
        assert world.seen[group] == world.given
    assert sum(world.given.values()) == world.numbers_given
    assert [each.epoch for each in world.maps] == [0, 1, 2]


async def move(world: World, partitions: int) -> None:
    seats = grown(world.maps[-1].seats, partitions)
    await move_slots(world, TOPIC, seats, world, lambda _: None, pause_s=PAUSE_S)


async def quietly(do: Callable[..., object], *arguments: object) -> bool:
    """Whether it came to its end."""
    try:
        await do(*arguments)  # type: ignore[misc]
    except (Unreachable, Killed, MoveAborted):
        return False
    return True


@settings(max_examples=300)
@given(seed=st.integers(0, 2**32))
def test_whatever_is_interrupted_every_group_sees_each_keys_events_in_order_and_all_of_them(seed: int) -> None:
    in_virtual_time(scenario)(World(Random(seed), 2))


class GroupsAreNotWaitedFor(World):
    async def behind(self, ends: Mapping[int, int]) -> Sequence[GroupBehind]:
        await super().behind(ends)
        return []


class NumbersGivenMeanwhileAreIgnored(World):
    def may_switch(self, _: int) -> bool:
        return self.move is not None


class OutboxIsNotEmptied(World):
    async def unfinished(self, last_number: int) -> int:
        await super().unfinished(last_number)
        return 0

    def may_switch(self, last_number: int) -> bool:
        return self.numbers_given == last_number and self.move is not None


@pytest.mark.parametrize("careless", [GroupsAreNotWaitedFor, NumbersGivenMeanwhileAreIgnored, OutboxIsNotEmptied])
def test_without_any_one_of_its_precautions_the_move_shows_an_inversion(careless: type[World]) -> None:
    def look() -> None:
        for seed in range(SEEDS_UNTIL_FOUND):
            in_virtual_time(scenario)(careless(Random(seed), 2))

    with pytest.raises(Inversion):
        look()


def test_the_model_has_keys_that_move_and_keys_that_stay() -> None:
    moving = {key for key in KEYS if first_seats(2)[slot_of(key)] != first_seats(8)[slot_of(key)]}
    assert 0 < len(moving) < len(KEYS)
