"""How Cassandra is reached: contact points, and a file of what TLS and logins need; what is wrong is named."""

import re
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from commands.options import EXIT_BAD_SETTINGS, with_settings
from sluice.cassandra_client import cassandra_access
from sluice.settings import StockdSettings
from tests.certificates import Authority

POINTS = [("one", 9042), ("two", 9043)]
WRITTEN = "one:9042, two:9043"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cassandra.properties"


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    return Authority(tmp_path, "ca").file


@pytest.fixture
def with_lines(file: Path) -> Callable[..., str]:
    def written(*lines: str) -> str:
        file.write_text("\n".join(lines))
        return f"{WRITTEN}?properties={file}"

    return written


def test_contact_points_alone_are_enough() -> None:
    assert cassandra_access(WRITTEN) == (POINTS, None, None)


def test_a_login_may_go_without_tls(with_lines: Callable[..., str]) -> None:
    access = cassandra_access(with_lines("username = ada", "password = p=w"))
    assert access == (POINTS, ("ada", "p=w"), None)


def test_with_authorities_servers_are_checked_by_name_unless_they_have_none(
    with_lines: Callable[..., str], ca: Path
) -> None:
    tls = cassandra_access(with_lines(f"ca={ca}")).tls
    assert tls is not None
    assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_REQUIRED, True)
    tls = cassandra_access(with_lines(f"ca={ca}", "check_name=no")).tls
    assert tls is not None
    assert (tls.verify_mode, tls.check_hostname) == (ssl.CERT_REQUIRED, False)


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        (["user=ada"], "line 1: 'user' is not one of username, password, ca"),
        (["username=ada"], "username and password are needed both, or neither"),
        (["ca={ca}", "key=key.pem"], "certificate and key are needed both, or neither"),
        (["check_name=no"], "without ca nothing is encrypted, and check_name is not used"),
        (["ca={ca}", "check_name=never"], "check_name is yes or no"),
        (["ca=nowhere.pem"], "nowhere.pem: No such file or directory"),
    ],
)
def test_what_is_wrong_is_named(
    with_lines: Callable[..., str], file: Path, ca: Path, lines: list[str], named: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(str(file))) as refused:
        cassandra_access(with_lines(*(line.format(ca=ca) for line in lines)))
    assert named in str(refused.value)


def test_it_is_checked_at_start(file: Path) -> None:
    role = typer.Typer()
    role.command()(with_settings(StockdSettings)(lambda _: None))
    result = CliRunner().invoke(role, ["--cassandra", f"{WRITTEN}?properties={file}"])
    assert result.exit_code == EXIT_BAD_SETTINGS
    assert f"setting cassandra: Value error, {file}: No such file or directory" in result.output
