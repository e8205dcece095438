"""`sluice capacity`: a table or JSON, from the slopes that are shipped; what cannot be is named by its option."""

import json

import pytest
from typer.testing import CliRunner

from commands.main import app


def _run(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["capacity", *words])
    return result.exit_code, result.stdout, result.stderr


def test_the_table_names_every_part_and_what_decided_it() -> None:
    code, told, _ = _run("--orders-per-s", "20000", "--hottest-share", "0.01")
    assert code == 0
    for word in ("gateways", "stockd", "PostgreSQL shards", "Kafka brokers", "Cassandra nodes", "full first"):
        assert word in told


def test_json_has_the_same_numbers() -> None:
    code, told, _ = _run("--orders-per-s", "20000", "--json")
    assert code == 0
    answer = json.loads(told)
    assert answer["machines"] == answer["installations"] * sum(answer["one"]["machines"].values())
    assert answer["source"]["command"] == "make bench-capacity"
    assert all(line["limit"]["slope"] for line in answer["one"]["lines"])


def test_the_simulation_says_what_is_saturated_first() -> None:
    code, told, _ = _run("--orders-per-s", "20000", "--simulate", "--json")
    assert code == 0
    played = json.loads(told)["simulation"]
    assert played["first"] in {station["name"] for station in played["steps"][-1]["stations"]}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--hottest-share", "2"),
        ("--lines-per-order", "0"),
        ("--headroom", "1"),
        ("--stream-batch", "-1"),
        ("--installations", "1000000"),
    ],
)
def test_a_wrong_option_is_named(option: str, value: str) -> None:
    code, _, told = _run("--orders-per-s", "1000", option, value)
    assert code == 2
    assert told.startswith(f"{option}: ")


def test_a_load_that_cannot_be_carried_is_refused_with_its_reason() -> None:
    code, told, _ = _run("--orders-per-s", "5000000", "--skus", "10", "--hottest-share", "0.9")
    assert code == 1
    assert "cannot be carried" in told
