"""Commands whose modules are imported when they are asked for.

A gateway would keep 40 MB of what commands for people import, and `sluice health`, which container health checks run
again and again, would take a second more.
"""

from importlib import import_module
from typing import Any

import typer.main
from typer.core import TyperGroup

from commands import bench

_MODULES = {
    "demo": "commands.demo",
    "audit": "commands.audit",
    "health": "commands.health",
    "capacity": "commands.capacity",
    "events": "commands.events",
    "dlq": "commands.dead_letters",
    "partitions": "commands.partitions",
    "projection": "commands.projection",
    "cluster": "commands.cluster",
    "stock": "commands.stock",
    "order": "commands.order",
}
"""By the command's name. Each module has its `app`."""


class CommandsWhenAsked(TyperGroup):
    """The commands that a Typer application has by itself, and then those of `_MODULES`."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._modules = _MODULES | ({"bench": bench.MODULE} if bench.is_there() else {})

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - as it is called
        return list(dict.fromkeys([*self.commands, *self._modules]))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in self._modules:
            self._import(cmd_name)
        elif cmd_name not in self.commands:
            # It is misspelt. Which was meant is told from those that are imported.
            for name in self._modules:
                self._import(name)
        return super().get_command(ctx, cmd_name)

    def _import(self, name: str) -> None:
        if name not in self.commands:
            command = typer.main.get_command(import_module(self._modules[name]).app)
            command.name = name
            self.add_command(command)
