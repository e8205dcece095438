"""The metrics page is answered while SKUs come and go: a thread of its own asks the engine what it holds."""

import sys
import threading
from collections.abc import Iterator

import pytest

from sluice.model import StockPolicy
from tests.unit.stock_engine.parts import Parts
from tests.unit.virtual_time import in_virtual_time

SKUS = 3_000
SWITCH_S = 1e-6
"""Threads change as often as they can."""


@pytest.fixture(autouse=True)
def _hasty_threads() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    yield
    sys.setswitchinterval(before)


@in_virtual_time
async def test_figures_can_be_read_at_any_time() -> None:
    parts = Parts()
    for number in range(SKUS):
        parts.store.create(f"sku-{number}", 10, StockPolicy.ESCROW)
    sold_all = threading.Event()
    failures: list[Exception] = []
    looks = 0

    def look() -> None:
        nonlocal looks
        while not sold_all.is_set():
            try:
                parts.engine.units_free()
                parts.engine.units_in_doubt()
                parts.engine.units_uncounted()
                looks += 1
            except RuntimeError as error:  # "changed size during iteration"
                failures.append(error)
                return

    page = threading.Thread(target=look)
    page.start()
    try:
        for number in range(SKUS):
            await parts.reserve({f"sku-{number}": 1})
    finally:
        sold_all.set()
        page.join()
    assert failures == []
    assert looks > 0
