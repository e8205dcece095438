"""How Kafka is reached is said in one place: brokers, and a file of what TLS and logins need."""

import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from commands.main import app
from commands.options import EXIT_BAD_SETTINGS, with_settings
from sluice.kafka_client import client_properties
from sluice.settings import RelaySettings

ROOT = Path(__file__).parents[2]
BROKERS = "one:9093,two:9093"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "kafka.properties"


def test_brokers_alone_are_enough() -> None:
    assert client_properties(BROKERS) == {"bootstrap.servers": BROKERS}


def test_the_files_properties_are_the_clients(file: Path) -> None:
    file.write_text("# a comment\n\n security.protocol = SASL_SSL\nsasl.password=a=b c \n")
    assert client_properties(f"{BROKERS}?properties={file}") == {
        "bootstrap.servers": BROKERS,
        "security.protocol": "SASL_SSL",
        "sasl.password": "a=b c",
    }


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("acks=1", "line 2: 'acks' is not one of"),
        ("bootstrap.servers=other:9092", "line 2: 'bootstrap.servers' is not one of"),
        ("sasl.jaas.config=org.apache", "line 2: 'sasl.jaas.config' is not one of"),
        ("security.protocol", "line 2: is not name=value"),
    ],
)
def test_what_is_not_for_this_file_is_named(file: Path, line: str, named: str) -> None:
    file.write_text(f"#\n{line}\n")
    with pytest.raises(ValueError, match=re.escape(f"{file}, {named}")):
        client_properties(f"{BROKERS}?properties={file}")


def test_a_protocol_that_there_is_not_is_named(file: Path) -> None:
    file.write_text("security.protocol=TLS")
    with pytest.raises(ValueError, match=r"security\.protocol is one of plaintext, sasl_plaintext, sasl_ssl, ssl"):
        client_properties(f"{BROKERS}?properties={file}")


def test_a_file_that_is_not_there_is_a_bad_setting(file: Path) -> None:
    role = typer.Typer()
    role.command()(with_settings(RelaySettings)(lambda _: None))
    result = CliRunner().invoke(role, ["--kafka", f"{BROKERS}?properties={file}"])
    assert result.exit_code == EXIT_BAD_SETTINGS
    assert f"setting kafka: Value error, {file}: No such file or directory" in result.output


@pytest.mark.parametrize("command", [["audit"], ["events", "tail"], ["dlq", "list"]])
def test_and_a_bad_option_of_commands_for_people(command: list[str], file: Path) -> None:
    result = CliRunner().invoke(app, [*command, "--kafka", f"{BROKERS}?properties={file}"])
    assert result.exit_code == EXIT_BAD_SETTINGS
    assert "No such file" in result.output


def test_every_client_of_kafka_is_made_with_them() -> None:
    packages = ("sluice", "gateway", "relay", "consumers", "audit", "commands", "orders", "journal", "stockd")
    files = [file for package in packages for file in (ROOT / package).rglob("*.py")]
    said = [str(file.relative_to(ROOT)) for file in files if '"bootstrap.servers"' in file.read_text()]
    assert said == ["sluice/kafka_client.py"]
