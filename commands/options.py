"""Turns a settings class into command-line flags of the same names, so that nothing is named twice."""

import inspect
import os
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import ValidationError
from rich.markup import escape

from sluice.kafka_client import client_properties
from sluice.settings import CONFIG_FILE_VARIABLE, CommonSettings, unknown_names

Kind = TypeVar("Kind", bound=CommonSettings)

EXIT_BAD_SETTINGS = 2


def with_settings(kind: type[Kind]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator: the function gets a `kind` made of flags, environment and file; the command gets a flag a field.
    What else the function takes, by name, it gets from the command line as usual.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        _, *own = inspect.signature(function).parameters.values()

        def command(**flags: Any) -> None:
            config = flags.pop("config")
            if config is not None:
                os.environ[CONFIG_FILE_VARIABLE] = str(config)
            others = {parameter.name: flags.pop(parameter.name) for parameter in own}
            given = {name: value for name, value in flags.items() if value is not None}
            function(load(kind, given), **others)

        parameters = [
            *own,
            inspect.Parameter(
                "config",
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[Path | None, typer.Option(help="TOML file with the same names", exists=True)],
            ),
        ]
        for name, field in kind.model_fields.items():
            default = field.get_default()
            # What stands in brackets is no markup.
            text = escape(f"{field.description} [default: {default}]")
            annotation = Annotated[str | None, typer.Option(f"--{name.replace('_', '-')}", help=text)]
            parameters.append(
                inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
            )
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        command.__name__ = function.__name__
        command.__doc__ = function.__doc__
        return command

    return decorate


def checked_kafka(value: str | None) -> str | None:
    """For an option that names Kafka. Raises BadParameter."""
    try:
        client_properties(value or "")
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return value


def load(kind: type[Kind], given: dict[str, Any]) -> Kind:
    """The settings, or exit status 2 with every bad one named."""
    if path := os.environ.get(CONFIG_FILE_VARIABLE):
        _check_file(Path(path))
    try:
        return kind(**given)
    except (OSError, tomllib.TOMLDecodeError) as error:
        sys.stderr.write(f"setting config: {os.environ.get(CONFIG_FILE_VARIABLE)}: {error}\n")
        raise typer.Exit(EXIT_BAD_SETTINGS) from None
    except ValidationError as error:
        for problem in error.errors():
            name = "_".join(str(part) for part in problem["loc"])
            sys.stderr.write(f"setting {name}: {problem['msg']} (given: {problem.get('input')!r})\n")
        raise typer.Exit(EXIT_BAD_SETTINGS) from None


def _check_file(path: Path) -> None:
    try:
        unknown = unknown_names(path)
    except (OSError, tomllib.TOMLDecodeError) as error:
        sys.stderr.write(f"{path}: {error}\n")
        raise typer.Exit(EXIT_BAD_SETTINGS) from None
    for name in unknown:
        sys.stderr.write(f"{path}: no role has a setting {name!r}\n")
    if unknown:
        raise typer.Exit(EXIT_BAD_SETTINGS)
