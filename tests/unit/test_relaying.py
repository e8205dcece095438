"""Whatever breaks between any two steps: every event is published, a key's events first appear in the order of their
positions, repeats are exact, and no row is deleted before all of its events are acknowledged.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from journal.events import decode_events
from journal.protocol import Backlog, OutboxRow
from relay import relaying
from relay.meters import RelayMeters
from relay.relaying import Pace, relay
from sluice.seams.event_log import TOPIC_ORDER_CREATED, Event
from tests.unit.fake_relay_parts import JOURNAL_ID, TIME, FakeLog, FakeOutbox, FakePublisher

AT_ONCE = Pace(
    idle_poll_s=0.001, standby_poll_s=0.001, first_backoff_s=0.0, longest_backoff_s=0.0, poisoned_retry_s=0.001
)
SKUS = ["apple", "pear", "plum"]
BATCHES = st.lists(st.lists(st.sampled_from(SKUS), min_size=1, max_size=4), min_size=1, max_size=12)


class Faults:
    """Breaks the n-th step for every n that is drawn; steps after the last one work."""

    def __init__(self, broken: Sequence[int]) -> None:
        self.broken = set(broken)
        self.steps = 0

    def __call__(self, _: str) -> bool:
        self.steps += 1
        return self.steps in self.broken


def assert_first_occurrences_are_in_order(log: FakeLog) -> None:
    for partition in log.partitions:
        highest: dict[str, int] = {}
        seen: dict[str, tuple[object, ...]] = {}
        for event_id, key, position, value in partition:
            if event_id in seen:
                assert seen[event_id] == (key, position, value)
                continue
            seen[event_id] = (key, position, value)
            place = position.number * 1_000 + position.place
            assert place > highest.get(key, 0)
            highest[key] = place


def check_deletions(outbox: FakeOutbox, log: FakeLog) -> None:
    def acknowledged_from_the_front(number: int) -> None:
        assert number == min(outbox.rows)
        positions = {event.position for event in decode_events(outbox.rows[number], JOURNAL_ID)}
        assert positions <= log.acknowledged

    outbox.on_delete = acknowledged_from_the_front


def published_ids(log: FakeLog) -> set[str]:
    return {logged.event_id for partition in log.partitions for logged in partition}


async def until(condition: object, relays: Sequence[asyncio.Task[None]]) -> None:
    assert callable(condition)
    async with asyncio.timeout(20):
        while not condition():
            for task in relays:
                if task.done():
                    task.result()
            await asyncio.sleep(0)


@given(
    batches=BATCHES,
    journal_faults=st.lists(st.integers(1, 60), max_size=8),
    log_faults=st.lists(st.integers(1, 120), max_size=12),
    killed_after=st.lists(st.integers(0, 40), max_size=3),
    small_windows=st.booleans(),
)
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_is_lost_reordered_or_deleted_early_whatever_breaks(
    batches: list[list[str]],
    journal_faults: list[int],
    log_faults: list[int],
    killed_after: list[int],
    small_windows: bool,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if small_windows:
            patch.setattr(relaying, "MAX_EVENTS_IN_FLIGHT", 5)
            patch.setattr(relaying, "CHUNK_EVENTS", 3)
            patch.setattr(relaying, "MAX_ROWS_PER_READ", 2)
        asyncio.run(scenario(batches, journal_faults, log_faults, killed_after))


async def scenario(
    batches: list[list[str]], journal_faults: list[int], log_faults: list[int], killed_after: list[int]
) -> None:
    outbox = FakeOutbox(Faults(journal_faults))
    log = FakeLog(fault=Faults(log_faults))
    check_deletions(outbox, log)
    meters = RelayMeters(CollectorRegistry())
    stopping = asyncio.Event()
    expected: list[str] = []
    task = asyncio.create_task(relay(outbox, log.open, meters, stopping, drain_limit_s=5, pace=AT_ONCE))  # type: ignore[arg-type]
    for batch in batches:
        expected += outbox.commit(batch)
        await asyncio.sleep(0)
    for steps in killed_after:
        for _ in range(steps):
            await asyncio.sleep(0)
        # As kill -9 does: nothing is finished, what was queued is gone, the lease is free.
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        task = asyncio.create_task(relay(outbox, log.open, meters, stopping, drain_limit_s=5, pace=AT_ONCE))  # type: ignore[arg-type]

    await until(lambda: not outbox.unnumbered and not outbox.rows, [task])
    stopping.set()
    await task

    assert published_ids(log) == set(expected)
    assert_first_occurrences_are_in_order(log)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


async def start(
    outbox: FakeOutbox, log: FakeLog, registry: CollectorRegistry
) -> tuple[asyncio.Task[None], asyncio.Event]:
    stopping = asyncio.Event()
    meters = RelayMeters(registry)
    running = relay(outbox, log.open, meters, stopping, drain_limit_s=5, pace=AT_ONCE)  # type: ignore[arg-type]
    return asyncio.create_task(running), stopping


async def test_what_is_in_flight_is_finished_and_deleted_before_it_stops(registry: CollectorRegistry) -> None:
    release = False
    log = FakeLog(fault=lambda step: step == "slow" and not release)
    outbox = FakeOutbox()
    expected = outbox.commit(SKUS)
    task, stopping = await start(outbox, log, registry)
    await until(lambda: outbox.rows, [task])
    for _ in range(20):
        await asyncio.sleep(0)
    stopping.set()
    await asyncio.sleep(0.01)
    assert not task.done()
    release = True
    await task
    assert published_ids(log) == set(expected)
    assert not outbox.rows


async def test_several_chunks_are_in_flight_at_once_and_no_more_than_the_window(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relaying, "CHUNK_EVENTS", 2)
    monkeypatch.setattr(relaying, "MAX_EVENTS_IN_FLIGHT", 12)
    publishers: list[FakePublisher] = []

    class Recording(FakeLog):
        async def open(self) -> FakePublisher:
            publishers.append(await super().open())
            return publishers[-1]

    release = False
    log = Recording(fault=lambda step: step == "slow" and not release)
    outbox = FakeOutbox()
    for _ in range(20):
        outbox.commit(["apple"])
    task, stopping = await start(outbox, log, registry)
    await until(lambda: publishers and sum(map(len, publishers[0].queues)) >= 12, [task])
    await asyncio.sleep(0.01)
    assert sum(map(len, publishers[0].queues)) == 12
    release = True
    await until(lambda: not outbox.rows, [task])
    stopping.set()
    await task


async def test_a_chunk_is_on_its_way_before_the_next_one_is_read_out_of_its_rows(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relaying, "CHUNK_EVENTS", 2)
    log = FakeLog()
    enqueued: list[int] = []

    def decode(row: OutboxRow, journal_id: UUID) -> list[Event]:
        enqueued.append(sum(map(len, log.publishers[0].queues)) + sum(map(len, log.partitions)))
        return decode_events(row, journal_id)

    monkeypatch.setattr(relaying, "decode_events", decode)
    outbox = FakeOutbox()
    for _ in range(4):
        outbox.commit(["apple"])
    task, stopping = await start(outbox, log, registry)
    await until(lambda: len(published_ids(log)) == 8, [task])
    stopping.set()
    await task
    assert enqueued == [0, 2, 4, 6]


async def test_nothing_above_an_unreadable_row_is_published_until_it_is_repaired(registry: CollectorRegistry) -> None:
    outbox = FakeOutbox()
    before = outbox.commit(["apple"])
    repaired = outbox.commit(["pear"])
    after = outbox.commit(["apple"])
    await outbox.number_new()
    good = outbox.rows[2]
    outbox.rows[2] = good._replace(events=good.events[:-3])
    log = FakeLog()
    task, stopping = await start(outbox, log, registry)

    def poisoned() -> float | None:
        return registry.get_sample_value("sluice_relay_poisoned_rows")

    await until(lambda: poisoned() == 1 and 1 not in outbox.rows, [task])
    await asyncio.sleep(0.01)
    assert published_ids(log) == set(before)
    assert sorted(outbox.rows) == [2, 3]

    outbox.rows[2] = good
    await until(lambda: not outbox.rows, [task])
    assert published_ids(log) == {*before, *repaired, *after}
    assert poisoned() == 0
    stopping.set()
    await task


async def test_a_standby_waits_for_the_lease_and_then_leads(registry: CollectorRegistry) -> None:
    outbox = FakeOutbox()
    log = FakeLog()
    first, stop_first = await start(outbox, log, registry)
    await until(lambda: outbox.held, [first])
    standby, stop_standby = await start(outbox, log, other := CollectorRegistry())
    await asyncio.sleep(0.01)
    assert registry.get_sample_value("sluice_relay_leader") == 1
    assert other.get_sample_value("sluice_relay_leader") == 0
    stop_first.set()
    await first
    await until(lambda: other.get_sample_value("sluice_relay_leader") == 1, [standby])
    assert registry.get_sample_value("sluice_relay_leader") == 0
    expected = outbox.commit(SKUS)
    await until(lambda: published_ids(log) == set(expected), [standby])
    stop_standby.set()
    await standby


async def test_the_meters_count_events_by_topic_rows_and_failures(registry: CollectorRegistry) -> None:
    outbox = FakeOutbox()
    log = FakeLog(fault=Faults([1]))
    outbox.commit(SKUS)
    task, stopping = await start(outbox, log, registry)
    await until(lambda: not outbox.rows and outbox.last_number, [task])
    stopping.set()
    await task
    published = registry.get_sample_value("sluice_relay_events_published_total", {"topic": TOPIC_ORDER_CREATED})
    assert published == 3
    assert registry.get_sample_value("sluice_relay_rows_deleted_total") == 1
    assert registry.get_sample_value("sluice_relay_publish_errors_total") == 1


def test_the_lag_is_the_age_of_the_oldest_row(registry: CollectorRegistry) -> None:
    meters = RelayMeters(registry)
    meters.waiting(Backlog(3, 12, TIME - timedelta(seconds=4)), TIME)
    assert registry.get_sample_value("sluice_relay_backlog_rows") == 3
    assert registry.get_sample_value("sluice_relay_lag_seconds") == 4
    meters.waiting(Backlog(0, 0, None), TIME)
    assert registry.get_sample_value("sluice_relay_lag_seconds") == 0
