"""Every test of this folder runs on every implementation."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from journal.protocol import Journal
from tests.journals import new_postgres_journal, new_sqlite_journal


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.servers)])
async def journal(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Journal]:
    if request.param == "sqlite":
        made: Any = new_sqlite_journal(tmp_path)
    else:
        made = new_postgres_journal(request.getfixturevalue("postgres_url"))
    async with made as journal:
        yield journal
