"""The SQLite journal and its file: read beside the server, kept over a restart, honest about a full disk."""

import resource
from pathlib import Path

import pytest

from journal.protocol import Committed
from journal.sqlite import SqliteJournal
from sluice.errors import JournalUnreachable
from sluice.sqlite_file import SqliteFile
from tests.journals import NOW, new_order, registered, sale


async def test_a_read_only_opener_sees_everything_and_changes_nothing(tmp_path: Path) -> None:
    file = await SqliteFile.open(tmp_path / "journal.db")
    served = await SqliteJournal.open(file)
    incarnation = await registered(served)
    order = new_order()
    await served.commit(sale(incarnation, 1, [order]))
    beside = await SqliteFile.open_read_only(file.path)
    reading = await SqliteJournal.open(beside)
    assert reading.journal_id == served.journal_id
    assert set(await reading.find_orders([order.order_id])) == {order.order_id}
    assert [row.number for row in await reading.read_outbox(0, 10)] == [1]
    with pytest.raises(JournalUnreachable):
        await reading.commit(sale(incarnation, 2, [new_order()]))
    async with reading.lease_outbox() as lease:
        assert lease is None
    await beside.close()
    await file.close()


async def test_what_was_committed_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    file = await SqliteFile.open(path)
    journal = await SqliteJournal.open(file)
    incarnation = await registered(journal)
    batch = sale(incarnation, 1, [new_order() for _ in range(5)])
    await journal.commit(batch)
    await file.close()
    file = await SqliteFile.open(path)
    again = await SqliteJournal.open(file)
    assert again.journal_id == journal.journal_id
    assert len(await again.find_orders([order.order_id for order in batch.orders])) == 5
    assert await again.close_reservations(incarnation, [1], NOW) == {1: {"tea": 5}}
    await file.close()


async def test_a_full_disk_is_unreachable_and_heals(tmp_path: Path) -> None:
    """The file size limit of the process plays the full disk."""
    file = await SqliteFile.open(tmp_path / "journal.db")
    journal = await SqliteJournal.open(file)
    incarnation = await registered(journal)
    batch = sale(incarnation, 1, [new_order() for _ in range(5_000)])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        with pytest.raises(JournalUnreachable):
            await journal.commit(batch)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert await journal.all_spends() == {}
    assert await journal.commit(batch) == Committed()
    await file.close()


async def test_a_closed_file_is_unreachable(tmp_path: Path) -> None:
    file = await SqliteFile.open(tmp_path / "journal.db")
    journal = await SqliteJournal.open(file)
    await file.close()
    for call in (journal.ping(), journal.fence(journal.journal_id), journal.find_orders([])):
        with pytest.raises(JournalUnreachable):
            await call
