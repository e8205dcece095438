"""Programs of others: found where the environment or the PATH has them, understood by what they print."""

from pathlib import Path

import pytest

from bench.loads import ghz, h2load
from bench.settings import PROGRAMS, find

H2LOAD = """
finished in 2.00s, 7043.00 req/s, 5.02MB/s
requests: 14086 total, 14214 started, 14086 done, 14080 succeeded, 6 failed, 0 errored, 0 timeout
"""


def test_the_environment_names_a_program(tmp_path: Path) -> None:
    program = tmp_path / "tigerbeetle"
    program.touch()
    assert find("tigerbeetle", {"SLUICE_BENCH_TIGERBEETLE": str(program)}).path == program


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_is_missing_says_how_to_get_it(name: str) -> None:
    found = find(name, {f"SLUICE_BENCH_{name.upper()}": "/nowhere/at-all"})
    assert found.path is None
    assert "/nowhere/at-all is not there" in found.missing
    assert f"SLUICE_BENCH_{name.upper()}" in found.missing


def test_h2loads_words_become_figures() -> None:
    result = h2load.as_result(H2LOAD)
    assert (result["accepted"], result["refused"], result["orders_per_s"]) == (14_080, {"FAILED": 6}, 7_040.0)


def test_other_words_of_h2load_are_no_figures() -> None:
    with pytest.raises(ValueError, match="no figures"):
        h2load.as_result("could not connect")


def test_ghz_counts_accepted_orders_only() -> None:
    report = {
        "total": 2_000_000_000,
        "statusCodeDistribution": {"OK": 900, "Unavailable": 100},
        "latencyDistribution": [{"percentage": 50, "latency": 3_000_000}, {"percentage": 99, "latency": 9_000_000}],
    }
    result = ghz.as_result(report)
    assert (result["accepted"], result["refused"], result["orders_per_s"]) == (900, {"Unavailable": 100}, 450.0)
    assert result["latency_ms"] == {"p50": 3.0, "p95": None, "p99": 9.0}
