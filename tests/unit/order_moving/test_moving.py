"""Orders end together with the return of their units: once, whatever is away, lost or overtaken between the steps."""

from collections.abc import Mapping
from typing import Any

import pytest

from journal.protocol import Transition
from orders.moving import MAX_RETURN_ATTEMPTS, move_orders
from sluice.errors import JournalUnreachable, KeeperUnreachable
from sluice.model import Order, OrderState
from tests.unit.fake_journal import Fault
from tests.unit.order_moving.parts import NOW, FakeJournal, FakeOwners, now, standing
from tests.unit.virtual_time import in_virtual_time

ONE, OTHER = standing(1, {"a": 2, "b": 1}), standing(2, {"a": 3})


def cancel(*orders: Order) -> list[Transition]:
    return [Transition(order, OrderState.CANCELLED, "CLIENT") for order in orders]


async def move(steps: list[Transition], journal: FakeJournal, owners: FakeOwners) -> Mapping[str, Order | None]:
    anything: Any = journal
    return await move_orders(steps, owners, anything, now)


def after(*steps: Transition) -> dict[str, Order]:
    return {step.order.order_id: step.after(NOW) for step in steps}


@in_virtual_time
async def test_units_go_back_to_their_owners_who_are_told_what_the_journal_says() -> None:
    journal, owners = FakeJournal(ONE, OTHER), FakeOwners()
    steps = cancel(ONE, OTHER)
    assert await move(steps, journal, owners) == after(*steps)
    assert [owner.asked for owner in owners.all] == [[{"a": 5}], [{"b": 1}], []]
    assert [owner.told for owner in owners.all] == [{1: {"a": -5}}, {1: {"b": -1}}, {}]
    assert len(journal.batches) == 1


@in_virtual_time
async def test_a_confirmation_needs_no_stock_server() -> None:
    journal, owners = FakeJournal(ONE), FakeOwners()
    for owner in owners.all:
        owner.broken = True
    steps = [Transition(ONE, OrderState.CONFIRMED)]
    assert await move(steps, journal, owners) == after(*steps)
    assert journal.batches[0].spends == []


@in_virtual_time
async def test_who_was_overtaken_is_shown_where_it_stands_and_its_units_do_not_come_back() -> None:
    confirmed = Transition(ONE, OrderState.CONFIRMED).after(NOW)
    journal, owners = FakeJournal(confirmed, OTHER), FakeOwners()
    unknown = standing(3, {"a": 1})
    steps = cancel(ONE, OTHER, unknown)
    expected = {ONE.order_id: confirmed, unknown.order_id: None, **after(steps[1])}
    assert await move(steps, journal, owners) == expected
    assert journal.returned() == {"a": 3}
    assert owners.all[0].told == {1: {"a": -3}}


@in_virtual_time
async def test_with_everybody_overtaken_nothing_is_written_or_told() -> None:
    confirmed = Transition(ONE, OrderState.CONFIRMED).after(NOW)
    journal, owners = FakeJournal(confirmed), FakeOwners()
    assert await move(cancel(ONE), journal, owners) == {ONE.order_id: confirmed}
    assert journal.spends == {}
    assert [owner.told for owner in owners.all] == [{}, {}, {}]


@pytest.mark.parametrize("fault", [Fault.UNHEARD, Fault.LOST])
@in_virtual_time
async def test_a_transaction_of_unknown_outcome_counts_once(fault: Fault) -> None:
    journal, owners = FakeJournal(ONE, OTHER), FakeOwners()
    journal.faults.append(fault)
    steps = cancel(ONE, OTHER)
    assert await move(steps, journal, owners) == after(*steps)
    assert journal.returned() == {"a": 5, "b": 1}
    for owner in owners.all:  # whoever is not told reads the row after the grace
        assert all(journal.spends[owner.incarnation, seq] == told for seq, told in owner.told.items())


@pytest.mark.parametrize("faults", [[Fault.AWAY], [Fault.UNHEARD, Fault.AWAY], [Fault.LOST, Fault.LOST]])
@in_virtual_time
async def test_a_journal_that_is_away_is_told_and_nobody_hears_what_is_not_known(faults: list[Fault]) -> None:
    journal, owners = FakeJournal(ONE), FakeOwners()
    journal.faults.extend(faults)
    with pytest.raises(JournalUnreachable):
        await move(cancel(ONE), journal, owners)
    assert [owner.told for owner in owners.all] == [{}, {}, {}]


@in_virtual_time
async def test_a_server_that_is_away_is_passed_by() -> None:
    journal, owners = FakeJournal(ONE), FakeOwners()
    owners.all[0].broken = True
    steps = cancel(ONE)
    assert await move(steps, journal, owners) == after(*steps)
    assert owners.all[1].asked == [{"b": 1}, {"a": 2}]
    assert journal.returned() == {"a": 2, "b": 1}


@in_virtual_time
async def test_with_all_servers_away_no_order_ends() -> None:
    journal, owners = FakeJournal(ONE), FakeOwners()
    for owner in owners.all:
        owner.broken = True
    with pytest.raises(KeeperUnreachable):
        await move(cancel(ONE), journal, owners)
    assert journal.orders[ONE.order_id] == ONE


@in_virtual_time
async def test_units_of_a_fenced_server_are_reserved_again_elsewhere() -> None:
    journal, owners = FakeJournal(ONE), FakeOwners()
    journal.fenced.add(owners.all[0].incarnation)
    steps = cancel(ONE)
    assert await move(steps, journal, owners) == after(*steps)
    assert journal.returned() == {"a": 2, "b": 1}
    assert owners.all[0].told == {}


@in_virtual_time
async def test_a_void_reservation_is_made_again() -> None:
    journal, owners = FakeJournal(ONE), FakeOwners()
    journal.spends[owners.all[0].incarnation, 1] = {}
    steps = cancel(ONE)
    assert await move(steps, journal, owners) == after(*steps)
    assert journal.returned() == {"a": 2, "b": 1}
    assert owners.all[0].told == {1: {}, 2: {"a": -2}}


@in_virtual_time
async def test_with_every_server_fenced_the_attempts_are_bounded() -> None:
    journal, owners = FakeJournal(ONE), FakeOwners()
    journal.fenced.update(owner.incarnation for owner in owners.all)
    with pytest.raises(KeeperUnreachable):
        await move(cancel(ONE), journal, owners)
    assert len(journal.batches) == MAX_RETURN_ATTEMPTS
    assert journal.orders[ONE.order_id] == ONE
