"""Every command can say what it is for, whatever its settings' descriptions hold."""

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from commands.main import app

ROOT = get_command(app)


def _commands(command: object, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    below = getattr(command, "commands", {})
    return [path, *(found for name, each in below.items() for found in _commands(each, (*path, name)))]


@pytest.mark.parametrize("path", _commands(ROOT), ids=" ".join)
def test_help_is_shown(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*path, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage" in result.output
