"""A ledger file of the first release is taken over as it is, and then takes what that release forbade."""

import sqlite3
from pathlib import Path
from uuid import uuid4

from sluice.model import StockPolicy
from sluice.seams.stock_store import Applied, Consistency, Row
from sluice.sqlite_file import SqliteFile
from stockd.stores.sqlite import SqliteStore

FIRST_RELEASE = """
CREATE TABLE stock (
    sku TEXT NOT NULL PRIMARY KEY,
    policy INTEGER NOT NULL,
    available INTEGER NOT NULL CHECK (available >= 0)
) STRICT, WITHOUT ROWID;
CREATE TABLE stock_units (
    sku TEXT NOT NULL REFERENCES stock,
    kind INTEGER NOT NULL,
    id BLOB NOT NULL,
    units INTEGER NOT NULL CHECK (units >= 0),
    version INTEGER NOT NULL,
    PRIMARY KEY (sku, kind, id)
) STRICT, WITHOUT ROWID;
"""


async def test_rows_stay_and_may_go_below_nothing_afterwards(tmp_path: Path) -> None:
    restock_id, seller, other = uuid4(), uuid4(), uuid4()
    connection = sqlite3.connect(tmp_path / "sluice.db")
    connection.executescript(FIRST_RELEASE)
    connection.execute("INSERT INTO stock VALUES ('tea', 1, 6)")
    rows = [("tea", 0, restock_id.bytes, 10, 1), ("tea", 1, seller.bytes, 4, 7)]
    connection.executemany("INSERT INTO stock_units VALUES (?, ?, ?, ?, ?)", rows)
    connection.commit()
    connection.close()
    for _ in range(2):  # and opened again it is left alone
        file = await SqliteFile.open(tmp_path / "sluice.db")
        store = await SqliteStore.open(file)
        ledger = await store.read("tea", Consistency.STRONG)
        assert ledger is not None
        assert (ledger.policy, ledger.available) == (StockPolicy.EXACT, 6)
        assert (ledger.restocks, ledger.held) == ({restock_id: 10}, {seller: Row(4, 7)})
        await file.close()
    file = await SqliteFile.open(tmp_path / "sluice.db")
    store = await SqliteStore.open(file)
    assert await store.take("tea", other, None, -2) == Applied()
    await file.close()
