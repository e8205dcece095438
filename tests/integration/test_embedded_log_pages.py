"""The embedded log in pages: what is read of each topic alone, read once for all of them."""

from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from journal.embedded_log import EmbeddedLog
from journal.events import encode_order_events
from journal.protocol import Batch, Committed
from journal.sqlite import SqliteJournal
from sluice.model import Line, NewOrder
from sluice.seams.event_log import TOPIC_ORDER_CANCELLED, TOPIC_ORDER_CREATED, TOPIC_STOCK_CHANGED
from sluice.sqlite_file import SqliteFile

ROWS = 120
"""More than one page of the file's."""


async def test_pages_hold_every_event_of_the_topics_asked_for(tmp_path: Path) -> None:
    file = await SqliteFile.open(tmp_path / "sluice.db")
    journal = await SqliteJournal.open(file)
    for _ in range(ROWS):
        orders = [NewOrder(str(uuid4()), "anna", (Line("apple", 1), Line("pear", 2))) for _ in range(3)]
        now = datetime.now(UTC)
        events, count = encode_order_events(orders, now)
        assert await journal.commit(Batch(orders, [], events, count, now)) == Committed()

    log = EmbeddedLog(journal)
    alone = {topic: [each async for each in log.read(topic, follow=False)] for topic in (
        TOPIC_ORDER_CREATED, TOPIC_STOCK_CHANGED, TOPIC_ORDER_CANCELLED
    )}  # fmt: skip
    assert [len(events) for events in alone.values()] == [3 * ROWS, 6 * ROWS, 0]
    together = [logged async for page in log.read_pages(list(alone)) for logged in page]
    assert {topic: [each for each in together if each.event.topic == topic] for topic in alone} == alone
    assert len(together) == 9 * ROWS
    created = [logged async for page in log.read_pages([TOPIC_ORDER_CREATED]) for logged in page]
    assert created == alone[TOPIC_ORDER_CREATED]
    await file.close()
