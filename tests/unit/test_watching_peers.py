"""Whom a stock server fences: who stays silent while it watches, and nobody only because the journal was away."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from prometheus_client import CollectorRegistry

from journal.protocol import IncarnationRow
from sluice.errors import JournalUnreachable
from stockd.metrics import StockdMetrics
from stockd.peers import LOOKS_PER_LIMIT, keep_watching_peers

DEAD_AFTER_S = 10.0
LOOK_S = DEAD_AFTER_S / LOOKS_PER_LIMIT
OWN = uuid4()
PEER = uuid4()
AWAY = "away"


class ScriptedJournal:
    """Answers each look with the next line of a script, and with silence once it is over."""

    def __init__(self, script: Sequence[Sequence[UUID] | str]) -> None:
        self._script = list(script)
        self.over = asyncio.Event()
        self.fenced: list[tuple[UUID, int]] = []
        self.looks = 0

    async def silent(self, limit_s: float) -> Sequence[IncarnationRow]:
        assert limit_s == DEAD_AFTER_S / 2
        if self.looks == len(self._script):
            self.over.set()
            await asyncio.Event().wait()
        found = self._script[self.looks]
        self.looks += 1
        if isinstance(found, str):
            raise JournalUnreachable(found)
        return [IncarnationRow("stockd-1", incarnation, datetime.now(UTC), False) for incarnation in found]

    async def fence(self, incarnation: UUID) -> bool:
        self.fenced.append((incarnation, self.looks))
        return True


@pytest.mark.parametrize(
    ("script", "fenced"),
    [
        pytest.param([[PEER]] * 4, [(PEER, 4)], id="silent in every look of half the limit"),
        pytest.param([[PEER], [PEER], [PEER], []], [], id="only slow"),
        pytest.param([[PEER], [PEER], [], [PEER], [PEER], [PEER]], [], id="silent twice, not for long enough"),
        pytest.param([[PEER], [PEER], [PEER], AWAY, [PEER], [PEER], [PEER], []], [], id="the journal was away"),
        pytest.param([[PEER], [PEER], [PEER], AWAY, *([[PEER]] * 4)], [(PEER, 8)], id="away, and the peer is dead"),
        pytest.param([[OWN]] * 6, [], id="itself"),
    ],
)
async def test_who_is_fenced_at_which_look(
    script: Sequence[Sequence[UUID] | str], fenced: list[tuple[UUID, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal: Any = ScriptedJournal(script)
    registry = CollectorRegistry()
    now = 0.0
    real_sleep = asyncio.sleep

    async def sleep(delay_s: float) -> None:
        nonlocal now
        now += delay_s
        await real_sleep(0)

    monkeypatch.setattr("stockd.peers.asyncio.sleep", sleep)
    watching = asyncio.ensure_future(
        keep_watching_peers(OWN, journal, DEAD_AFTER_S, lambda: now, StockdMetrics(registry))
    )
    await journal.over.wait()
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    assert journal.fenced == fenced
    assert now == pytest.approx(LOOK_S * (len(script) + 1))
    assert registry.get_sample_value("sluice_stockd_peers_fenced_total") == len(fenced)
