"""How long growth delays events: a topic grows under a steady load, once undisturbed, and once with a mover that is
killed in the middle of its pause; the broker's clock says when each event came.
"""

import asyncio
import signal
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from typing import NamedTuple

from journal.postgres import PostgresJournal
from sluice.kafka_topics import partition_counts
from sluice.seams.event_log import TOPIC_STOCK_CHANGED
from tests.growing.checks import Record, first_occurrences, read_topic
from tests.growing.sale import Sale
from tests.growing.scene import TOPICS, Scene, until

GROUP = "steady"
MEMBERS = 2
BEFORE_S = 10.0
BETWEEN_S = 5.0
PAUSES = "pauses: "
"""In what `sluice partitions grow` says of its steps."""


class Stretch(NamedTuple):
    """Events that were committed in a stretch of time, seconds from commit to Kafka."""

    name: str
    took_s: float
    events: int
    median_s: float
    longest_s: float


async def delays(scene: Scene, orders_per_s: float, say: Callable[[str], None]) -> Sequence[Stretch]:
    journal = await PostgresJournal.open(scene.journal_url, connections=2, timeout_s=30)
    try:
        return await _delays(scene, Sale(journal, orders_per_s), say)
    finally:
        await journal.close()


async def _delays(scene: Scene, sale: Sale, say: Callable[[str], None]) -> Sequence[Stretch]:
    for _ in range(2):
        scene.start_relay()
    await until(lambda: scene.leader() is not None, "a relay leads")
    await scene.until_topics()
    await scene.time_by_the_broker()
    for member in [scene.start_sink(GROUP) for _ in range(MEMBERS)]:
        await until(partial(member.says, '"partitions_assigned"'), f"{member.log} has partitions")
    selling = asyncio.create_task(sale.go_on())
    marks = [("steady", _now_ms())]
    await asyncio.sleep(BEFORE_S)

    marks.append(("grows to 16", _now_ms()))
    await scene.run("partitions", "grow", TOPIC_STOCK_CHANGED, "16")
    marks.append(("after it", _now_ms()))
    await asyncio.sleep(BETWEEN_S)

    marks.append(("grows to 32, its first mover is killed in a pause", _now_ms()))
    await _kill_in_a_pause(scene, "partitions", "grow", TOPIC_STOCK_CHANGED, "32")
    await scene.run("partitions", "grow", TOPIC_STOCK_CHANGED, "32")
    marks.append(("after that", _now_ms()))
    await asyncio.sleep(BETWEEN_S)
    sale.end()
    await selling
    marks.append(("", _now_ms()))
    say(f"{sale.orders} orders are sold")
    await sale.until_outbox_empty(60)

    records: list[Record] = []
    for topic, count in (await partition_counts(scene.bootstrap, TOPICS)).items():
        records += first_occurrences(await asyncio.to_thread(read_topic, scene.bootstrap, topic, count))
    assert len(records) == 2 * sale.orders
    return [
        _stretch(name, (end - begin) / 1000, [each.delay_s for each in records if begin <= each.event.time_ms < end])
        for (name, begin), (_, end) in pairwise(marks)
    ]


def _stretch(name: str, took_s: float, delays_s: Sequence[float]) -> Stretch:
    in_order = sorted(delays_s)
    return Stretch(name, took_s, len(in_order), in_order[len(in_order) // 2], in_order[-1])


async def _kill_in_a_pause(scene: Scene, *arguments: str) -> None:
    process = await scene.begin(*arguments)
    assert process.stderr is not None
    async for line in process.stderr:
        if PAUSES in line.decode():
            process.send_signal(signal.SIGKILL)
            break
    assert await process.wait() == -signal.SIGKILL, "it was never in a pause"


def _now_ms() -> int:
    return round(datetime.now(UTC).timestamp() * 1000)
