"""What the capacity model is made from can be measured on real servers, and slopes and page be made of it. No figure is
looked at.
"""

import json
import shutil
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bench.capacity import measuring, plan
from bench.capacity import page as pages
from bench.capacity.fitting import slopes_of
from bench.capacity.foreseeing import foresee
from bench.capacity.page import page
from bench.orders import SOME_SKUS
from bench.plan import SMOKE
from capacity.simulation import simulate

FEW_MESSAGES = 8
FEW_SKUS = SOME_SKUS[:20]
SMALL: dict[str, Any] = {
    "REPETITIONS": 1,
    "UNARY_WARM_S": 0.1,
    "UNARY_S": 0.3,
    "LEDGER_WARM_S": 0.1,
    "LEDGER_S": 0.3,
    "LEDGER_SKUS": plan.LEDGER_SKUS[:4],
    "PARTITION_WARM_EVENTS": 500,
    "PARTITION_EVENTS": 2_000,
    "JOURNAL_WARM_BATCHES": 2,
    "JOURNAL_BATCHES": 6,
    "CONSUMER_S": 0.5,
}


@pytest.mark.servers
@pytest.mark.timeout(400)
def test_everything_is_measured_and_a_page_made_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SMALL.items():
        monkeypatch.setattr(plan, name, value)
    monkeypatch.setattr(measuring, "FULL", SMOKE)
    monkeypatch.setattr(measuring, "SOME_SKUS", FEW_SKUS)
    monkeypatch.setattr(pages, "simulate", partial(simulate, factors=(0.5,)))
    monkeypatch.setattr(plan, "SHAPES", [_small(shape) for shape in plan.SHAPES])
    document: dict[str, Any] = {"started": "now", "command": "the test"}
    directory = Path(tempfile.mkdtemp(prefix="sluice-capacity-"))
    directory.chmod(0o755)  # another account runs PostgreSQL and must get to its data
    try:
        measuring.measure(directory, document, print)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    measured = json.loads(json.dumps(document))
    assert all(run["accepted"] for run in measured["runs"])
    assert measured["consumer"]["events"] > 0
    slopes = slopes_of(measured) | {"checks": foresee(measured)}
    assert "## 5,000,000 orders/s" in page(slopes)


def _small(shape: plan.Shape) -> plan.Shape:
    return replace(shape, messages=min(shape.messages, FEW_MESSAGES), skus=shape.skus[: len(FEW_SKUS)])
