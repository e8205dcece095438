"""A role imports what it needs and nothing else: what is imported stays in memory for as long as it runs."""

import subprocess
import sys

import pytest

ROLES = ("serve", "gateway", "stockd", "relay", "consume")

NOT_NEEDED = {"audit", "bench", "capacity", "deploy", "matplotlib", "numpy"}
"""By commands for people only, or by nobody."""

DRIVERS = {"cassandra", "redis"}
"""Of which the one is loaded that the settings name, when it is opened."""

# As `sluice ROLE` does.
ROLE = """
import importlib, sys
from commands.main import app
from typer import Context
from typer.main import get_command
group = get_command(app)
assert group.get_command(Context(group), sys.argv[1]) is not None
importlib.import_module(f"commands.{sys.argv[1]}")
print(*{name.partition(".")[0] for name in sys.modules})
"""

DRIVER = """
import sys
from stockd.stores import driver_without_numpy
driver_without_numpy.load()
import stockd.stores.cassandra
print(*{name.partition(".")[0] for name in sys.modules})
import numpy
"""


def _imported(code: str, *arguments: str) -> set[str]:
    ended = subprocess.run([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, check=True)
    return set(ended.stdout.decode().split())


@pytest.mark.parametrize("role", ROLES)
def test_a_role_imports_no_commands_for_people_and_no_driver(role: str) -> None:
    found = _imported(ROLE, role)
    assert "grpc" in found
    assert not found & (NOT_NEEDED | DRIVERS)


def test_the_driver_is_loaded_without_numpy_which_others_can_still_load() -> None:
    pytest.importorskip("numpy")
    found = _imported(DRIVER)
    assert "cassandra" in found
    assert "numpy" not in found
