"""One name in three places: a flag wins over the environment, the environment over the file; every bad one is named."""

import os
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from commands.options import EXIT_BAD_SETTINGS, load, with_settings
from sluice.host_port import split_host_port
from sluice.settings import (
    CommonSettings,
    EmbeddedSettings,
    GatewaySettings,
    RelaySettings,
    StockdSettings,
    parse_journal_urls,
)
from sluice.stock_servers import parse_members

ROLES = [EmbeddedSettings, GatewaySettings, RelaySettings, StockdSettings]


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SLUICE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLUICE_CONFIG", "")  # a command may set it: undone after the test


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sluice.toml"
    path.write_text('listen = "127.0.0.1:1"\nmax_orders_in_flight = 1\nkafka = "of another role"\n')
    return path


def _invoke(*arguments: str) -> tuple[int, list[EmbeddedSettings], str]:
    heard: list[EmbeddedSettings] = []
    app = typer.Typer()
    app.command()(with_settings(EmbeddedSettings)(heard.append))
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, heard, result.output


def test_flags_win_over_the_environment_over_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, (from_file,), _ = _invoke("--config", str(file))
    assert (from_file.listen, from_file.max_orders_in_flight, from_file.max_batches_in_flight) == ("127.0.0.1:1", 1, 8)
    monkeypatch.setenv("SLUICE_LISTEN", "127.0.0.1:2")
    monkeypatch.setenv("SLUICE_MAX_ORDERS_IN_FLIGHT", "2")
    _, (from_environment,), _ = _invoke("--config", str(file))
    assert (from_environment.listen, from_environment.max_orders_in_flight) == ("127.0.0.1:2", 2)
    _, (from_flag,), _ = _invoke("--config", str(file), "--listen", "127.0.0.1:3")
    assert (from_flag.listen, from_flag.max_orders_in_flight) == ("127.0.0.1:3", 2)


def test_the_environment_may_name_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_CONFIG", str(file))
    assert EmbeddedSettings().listen == "127.0.0.1:1"


def test_every_bad_setting_is_named_at_once() -> None:
    code, heard, output = _invoke("--max-orders-in-flight", "none", "--log-level", "loud", "--drain-limit-s", "-1")
    assert (code, heard) == (EXIT_BAD_SETTINGS, [])
    for name in ("max_orders_in_flight", "log_level", "drain_limit_s"):
        assert f"setting {name}:" in output


@pytest.mark.parametrize("role", ROLES)
def test_every_role_starts_with_its_defaults_and_explains_each(role: type[CommonSettings]) -> None:
    load(role, {})
    assert all(field.description for field in role.model_fields.values())


def test_members_are_named_addresses() -> None:
    assert parse_members("a=h:1, b=[::1]:2,") == {"a": "h:1", "b": "[::1]:2"}


@pytest.mark.parametrize("value", ["", ",", "a", "a=", "a=h", "=h:1", "a=h:1,a=h:2", "a=:", "a=h:x"])
def test_what_is_no_membership_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=r"host:port|twice"):
        parse_members(value)


@given(st.sampled_from(["h", "127.0.0.1", "[::1]"]), st.integers(0, 65_535))
def test_an_address_comes_apart(host: str, port: int) -> None:
    assert split_host_port(f"{host}:{port}") == (host.strip("[]"), port)


@pytest.mark.parametrize("value", ["", "h", "h:", ":1", "h:x", "h:65536", "h:-1"])
def test_what_is_no_address_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        split_host_port(value)


@pytest.mark.parametrize("value", ["nonsense", "h:", "h:70000"])
def test_an_address_that_is_none_is_a_bad_setting(value: str) -> None:
    code, _, output = _invoke("--listen", value, "--metrics-listen", value)
    assert code == EXIT_BAD_SETTINGS
    assert "setting listen:" in output
    assert "setting metrics_listen:" in output


def test_a_file_that_is_not_there_is_not_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SLUICE_CONFIG", str(tmp_path / "nowhere.toml"))
    code, heard, output = _invoke()
    assert (code, heard) == (EXIT_BAD_SETTINGS, [])
    assert "nowhere.toml" in output


def test_a_file_that_is_no_toml_is_named(file: Path) -> None:
    file.write_text("listen = \n")
    code, heard, output = _invoke("--config", str(file))
    assert (code, heard) == (EXIT_BAD_SETTINGS, [])
    assert str(file) in output


ONE, TWO = "postgresql://db-a/sluice", "postgres://db-b:5433,db-c:5433/sluice?target_session_attrs=primary"


def test_several_journals_are_named_in_their_order() -> None:
    assert RelaySettings(journal_url=ONE).journal_urls == [ONE]
    assert RelaySettings(journal_url=f"{ONE}, {TWO}").journal_urls == [ONE, TWO], "hosts of one are not apart"
    assert parse_journal_urls(f"{TWO},{ONE}") == [TWO, ONE]


def test_in_the_file_journals_may_be_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sluice.toml").write_text(f'journal_url = ["{ONE}", "{TWO}"]\n')
    monkeypatch.setenv("SLUICE_CONFIG", str(tmp_path / "sluice.toml"))
    assert RelaySettings().journal_urls == [ONE, TWO]


@pytest.mark.parametrize(
    ("urls", "reason"),
    [([ONE, TWO, ONE], "named twice"), ([f"{ONE}{number}" for number in range(33)], "at most 32")],
)
def test_journals_that_cannot_be_are_named(urls: list[str], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        RelaySettings(journal_url=",".join(urls))
