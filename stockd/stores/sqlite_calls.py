"""Calls of the SQLite file that say in the stores' own errors what became of them."""

import sqlite3
from collections.abc import Callable
from typing import TypeVar

from sluice.errors import StoreUnreachable
from sluice.sqlite_file import SqliteFile, SqliteUnavailable

T = TypeVar("T")


class SqliteCalls:
    """Both raise StoreUnreachable; a read changes nothing, so its outcome is never unknown."""

    def __init__(self, file: SqliteFile) -> None:
        self._file = file

    async def write(self, function: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await self._file.write(function)
        except SqliteUnavailable as error:
            raise StoreUnreachable(str(error), outcome_unknown=error.outcome_unknown) from error

    async def read(self, function: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await self._file.read(function)
        except SqliteUnavailable as error:
            raise StoreUnreachable(str(error)) from error
