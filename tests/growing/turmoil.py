"""Two topics grow from 8 to 16 to 32 partitions while orders pour in, consumers come, go and die, relays are killed.

What must hold afterwards, for I4, I5 and I8: every event is on the log, in the place of its map, and in order. A group
whose members come and go and die has handled each key's events in order and left none out. One that nobody kills has
handled each exactly once, although relays repeated some. One that comes afterwards handles all in order, too. The
projection is what was sold, and rebuilt it is the same.
"""

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from consumers.runtime.handling import now_ms
from journal.postgres import PostgresJournal
from journal.postgres_slot_maps import PostgresSlotMaps
from sluice.kafka_topics import partition_counts
from sluice.seams.event_log import TOPIC_ORDER_CREATED, TOPIC_STOCK_CHANGED
from sluice.slot_map import SlotMap, first_seats
from stockd.stores.cassandra_projection import CassandraProjection
from tests.growing.checks import (
    Handled,
    Record,
    assert_handled_in_order,
    assert_placed_by_their_maps,
    assert_rising_in_each_partition,
    by_key,
    first_occurrences,
    read_topic,
)
from tests.growing.sale import Sale
from tests.growing.scene import FIRST_PARTITIONS, TOPICS, Scene, until

GROWTHS = (16, 32)
COME_OR_GO_S = 3.0
"""Between one member's coming and another's leaving."""

INTO_A_GROWTH_S = 1.5
"""Then something is killed."""

CATCH_UP_LIMIT_S = 180.0
TAKEOVER_LIMIT_S = 3.0

UNRULY = "unruly"
"""The group whose members come, go and are killed."""

CALM = "calm"
"""A group that nobody disturbs: what it handles twice was not dropped."""

LATE = "late"
"""A group that comes when all is over, and finds old and new places of keys side by side."""

PROJECTION = "projection"

Tell = Callable[[str], None]


class Result(NamedTuple):
    orders: int
    sale_s: float
    records: int
    repeats: int
    """Records that stand on the log a second time."""
    growth_s: Mapping[str, float]
    takeover_s: Sequence[float]
    drained_s: float
    """From the last order until everything is on Kafka."""
    members: int
    handled: Mapping[str, Handled]
    states: int


async def turmoil(scene: Scene, orders: int, orders_per_s: float, say: Tell) -> Result:
    """At least so many orders: the sale goes on until the growth is over."""
    began = time.monotonic()
    journal = await PostgresJournal.open(scene.journal_url, connections=2, timeout_s=30)
    slot_maps = PostgresSlotMaps(scene.journal_url, timeout_s=30)
    try:
        return await _Turmoil(
            scene,
            journal,
            slot_maps,
            orders,
            orders_per_s,
            lambda text: say(f"{time.monotonic() - began:7.1f} s  {text}"),
        ).go()
    finally:
        await slot_maps.close()
        await journal.close()


class _Turmoil:
    def __init__(
        self,
        scene: Scene,
        journal: PostgresJournal,
        slot_maps: PostgresSlotMaps,
        orders: int,
        orders_per_s: float,
        tell: Tell,
    ) -> None:
        self._scene = scene
        self._slot_maps = slot_maps
        self._orders = orders
        self._tell = tell
        self._sale = Sale(journal, orders_per_s)
        self._growth_s: dict[str, float] = {}
        self._takeover_s: list[float] = []

    async def go(self) -> Result:
        await self._set_up()
        began = time.monotonic()
        selling = asyncio.create_task(self._sale.go_on())
        coming_and_going = asyncio.create_task(self._come_and_go())
        await self._grow_everything()
        while self._sale.orders < self._orders:
            await asyncio.sleep(1)
            for task in (selling, coming_and_going):
                if task.done():
                    task.result()
        self._sale.end()
        await selling
        sale_s = time.monotonic() - began
        drained_s = await self._sale.until_outbox_empty(CATCH_UP_LIMIT_S)
        coming_and_going.cancel()
        with suppress(asyncio.CancelledError):
            await coming_and_going
        self._tell(f"{self._sale.orders} orders are sold, and on Kafka {drained_s:.1f} s later")
        return await self._look(sale_s, drained_s)

    async def _set_up(self) -> None:
        for _ in range(2):
            self._scene.start_relay()
        await self._scene.until_topics()
        await self._scene.time_by_the_broker()
        started = [self._scene.start_sink(group) for group in (UNRULY, UNRULY, CALM)]
        started += [self._scene.start_projection() for _ in range(2)]
        for member in started:
            await member.until_says('"partitions_assigned"')
        self._tell("relays and consumers stand")

    async def _come_and_go(self) -> None:
        """For ever: one more member, one less."""
        while True:
            new = self._scene.start_sink(UNRULY)
            await new.until_says('"serving"')
            await asyncio.sleep(COME_OR_GO_S)
            await self._scene.alive(UNRULY)[0].leave()
            await asyncio.sleep(COME_OR_GO_S)

    async def _grow_everything(self) -> None:
        kills = {
            (16, TOPIC_ORDER_CREATED): self._kill_the_relay,
            (16, TOPIC_STOCK_CHANGED): self._kill_a_sink,
            (32, TOPIC_ORDER_CREATED): self._kill_a_projection,
            (32, TOPIC_STOCK_CHANGED): self._kill_the_relay,
        }
        for (partitions, topic), kill in kills.items():
            killing = asyncio.create_task(kill())
            began = time.monotonic()
            await self._scene.run("partitions", "grow", topic, str(partitions))
            took = self._growth_s[f"{topic} to {partitions}"] = time.monotonic() - began
            self._tell(f"{topic} has grown to {partitions} in {took:.1f} s, {self._sale.orders} orders so far")
            await killing

    async def _kill_the_relay(self) -> None:
        await asyncio.sleep(INTO_A_GROWTH_S)
        leader = self._scene.leader()
        assert leader is not None
        leader.kill()
        took = await until(lambda: self._scene.leader() is not None, "the standby leads")
        self._takeover_s.append(took)
        self._tell(f"kill -9 of the relay that leads; the standby leads after {took:.2f} s")
        self._scene.start_relay()

    async def _kill_a_sink(self) -> None:
        await self._kill(UNRULY)

    async def _kill_a_projection(self) -> None:
        await self._kill(PROJECTION)

    async def _kill(self, group: str) -> None:
        await asyncio.sleep(INTO_A_GROWTH_S)
        # Not one that is about to come: who starts it would wait for it to serve.
        serving = [member for member in self._scene.alive(group) if member.says('"serving"')]
        serving[-1].kill()
        self._tell(f"kill -9 of a member of {group}")
        if group == PROJECTION:
            self._scene.start_projection()

    async def _look(self, sale_s: float, drained_s: float) -> Result:
        records: list[Record] = []
        first: list[Record] = []
        for topic in TOPICS:
            maps = await self._slot_maps.history(topic)
            assert [each.seats for each in maps] == [first_seats(count) for count in (FIRST_PARTITIONS, *GROWTHS)]
            found, without_repeats = await self._read(topic, maps)
            records += found
            first += without_repeats
        wanted = by_key(first)
        assert self._sale.order_ids | self._sale.changes.keys() == wanted.keys()
        assert {sku: len(wanted[sku]) for sku in self._sale.changes} == self._sale.changes
        longest_s = max(record.delay_s for record in first)
        self._tell(
            f"{len(records)} records on the log, {len(records) - len(first)} of them repeats;"
            f" the longest way from commit to Kafka took {longest_s:.1f} s"
        )

        for _ in range(2):
            self._scene.start_sink(LATE)
        handled = {}
        for group in (CALM, UNRULY, LATE):
            file = self._scene.handled_by(group)
            await until(partial(has_lines, file, len(first)), f"{group} has handled all", CATCH_UP_LIMIT_S)
            handled[group] = await self._handled(file, wanted)
            self._tell(f"{group} has handled all in order, {handled[group].repeats} twice")
        states = await self._look_at_projection()
        return Result(
            self._sale.orders, sale_s, len(records), len(records) - len(first), self._growth_s, self._takeover_s,
            drained_s, len(self._scene.members), handled, states,
        )  # fmt: skip

    async def _read(self, topic: str, maps: Sequence[SlotMap]) -> tuple[list[Record], list[Record]]:
        count = (await partition_counts(self._scene.bootstrap, [topic]))[topic]
        assert count == GROWTHS[-1]
        records = await asyncio.to_thread(read_topic, self._scene.bootstrap, topic, count)
        assert_placed_by_their_maps(records, maps)
        first = first_occurrences(records)
        assert_rising_in_each_partition(first)
        return records, first

    async def _handled(self, file: Path, wanted: Mapping[str, Sequence[tuple[int, int]]]) -> Handled:
        """Lines may be repeats of others that are still missing: so it is looked until all is there."""
        deadline = time.monotonic() + CATCH_UP_LIMIT_S
        while True:
            try:
                return await asyncio.to_thread(assert_handled_in_order, file, wanted)
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(1)

    async def _look_at_projection(self) -> int:
        projection = await CassandraProjection.open(
            self._scene.cassandra, self._scene.environment["SLUICE_KEYSPACE"], 1, "datacenter1", now_ms
        )
        try:
            wanted = {sku: (units, self._sale.changes[sku]) for sku, units in self._sale.sold.items()}
            deadline = time.monotonic() + CATCH_UP_LIMIT_S
            while True:
                live = (await projection.control()).live
                states = await projection.states(live, list(wanted))
                found = {state.sku: (state.sold, state.changes) for state in states.values()}
                if found == wanted:
                    break
                assert time.monotonic() < deadline, "the projection is not what was sold"
                await asyncio.sleep(0.5)
            self._tell("the projection is what was sold")
            rebuilt = json.loads(await self._scene.run("projection", "rebuild", "--json"))
            events = sum(self._sale.changes.values())
            assert rebuilt == {
                "events": events, "states": len(wanted), "same": len(wanted), "behind": 0, "differing": 0, "skus": [],
            }  # fmt: skip
            self._tell("rebuilt it is the same")
            return len(wanted)
        finally:
            await projection.close()


def has_lines(file: Path, count: int) -> bool:
    if not file.exists():
        return False
    with file.open("rb") as opened:
        return sum(1 for _ in opened) >= count
