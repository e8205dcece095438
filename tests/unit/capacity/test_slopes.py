"""The slopes that are shipped are those of the measurement that is kept with them, and no figure is typed in."""

import json
from dataclasses import asdict
from functools import partial
from typing import Any

import pytest

from bench.capacity import page as pages
from bench.capacity.__main__ import MEASURED
from bench.capacity.fitting import slopes_of
from bench.capacity.foreseeing import foresee
from bench.capacity.page import PAGE, page
from capacity.shipped import FILE, shipped_document, shipped_slopes
from capacity.simulation import simulate
from capacity.slopes import BadSlopes, read_slopes

pytestmark = pytest.mark.timeout(600)  # a page plays five million orders a second through, twice

MEASUREMENT: dict[str, Any] = json.loads(MEASURED.read_text(encoding="utf-8"))


def test_the_shipped_slopes_follow_from_the_measurement() -> None:
    made = json.dumps(slopes_of(MEASUREMENT) | {"checks": foresee(MEASUREMENT)})
    assert _rounded(json.loads(made)) == _rounded(json.loads(FILE.read_text(encoding="utf-8")))


def _rounded(value: Any) -> Any:
    """Sums may differ in their last bits between machines."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return value


def test_the_page_is_made_from_the_shipped_slopes() -> None:
    assert page(shipped_document()) == PAGE.read_text(encoding="utf-8"), "run: python -m bench.capacity.page"


def test_another_measurement_makes_another_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "simulate", partial(simulate, factors=(0.5,)))  # what is played is not looked at
    document = json.loads(json.dumps(shipped_document()))
    document["checks"][0]["error"] = 0.42
    changed = page(document)
    assert "+42%" in changed
    assert f"Missed by: {document['checks'][0]['name']}" in changed


def test_runs_that_are_checked_are_none_that_were_fitted() -> None:
    fitted = {run["name"] for run in MEASUREMENT["runs"] if run["purpose"] == "fit"}
    checked = {check["name"] for check in shipped_document()["checks"]}
    assert len(checked) >= 3
    assert not fitted & checked


def test_what_is_checked_changes_no_slope() -> None:
    without = MEASUREMENT | {"runs": [run for run in MEASUREMENT["runs"] if run["purpose"] != "check"]}
    assert slopes_of(without) == slopes_of(MEASUREMENT)


@pytest.mark.parametrize("name", ["journal_orders_per_s", "lone_order_s", "log_bytes_per_order"])
def test_a_slope_that_is_missing_is_named(name: str) -> None:
    document = {key: value for key, value in shipped_document().items() if key != name}
    with pytest.raises(BadSlopes, match=name):
        read_slopes(document)


def test_slopes_of_another_format_are_refused() -> None:
    with pytest.raises(BadSlopes, match="format"):
        read_slopes({**shipped_document(), "format": 99})


def test_every_slope_that_divides_is_above_zero() -> None:
    slopes = asdict(shipped_slopes())
    for name, value in slopes.items():
        if name.endswith("_per_s"):
            assert value > 0, name
