"""Every command can say what it is for, whatever its settings' descriptions hold."""

from typing import Any

import pytest
from typer import Context
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from commands.main import app

ROOT = get_command(app)


def _commands(command: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(command, TyperGroup):
        return [path]
    context = Context(command)
    below = {name: command.get_command(context, name) for name in command.list_commands(context)}
    return [path, *(found for name, each in below.items() for found in _commands(each, (*path, name)))]


@pytest.mark.parametrize("path", _commands(ROOT), ids=" ".join)
def test_help_is_shown(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, [*path, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage" in result.output
