"""A sale that is disturbed for a minute and a half adds up afterwards, for the audit and for every client.

`make chaos SEED=... MINUTES=...` does the same for as long as one likes.
"""

from tests.chaos.rounds import report, run_rounds
from tests.chaos.system import System

SEED = 1
LIMIT_S = 90.0
"""Together with starting the system, healing and looking this takes about three minutes."""


async def test_after_healing_everything_agrees(system: System) -> None:
    result = await run_rounds(system, SEED, LIMIT_S, print)
    assert not result.findings, report(result)
