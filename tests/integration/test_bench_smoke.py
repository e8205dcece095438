"""Every part of the benchmark runs on real servers, and pages can be made of what it measures: benches must not rot.
No figure is looked at.
"""

import subprocess
import sys

import pytest

LIMIT_S = 600
"""It is a matter of two minutes on a quiet machine; other tests may run beside it."""


@pytest.mark.servers
@pytest.mark.timeout(LIMIT_S + 60)
def test_every_part_runs() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "commands.main", "bench", "smoke"],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert run.returncode == 0, run.stderr
