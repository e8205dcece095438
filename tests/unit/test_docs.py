"""The documents say what is there: links lead somewhere, commands and flags exist, tables are fresh."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer import Context
from typer.core import TyperGroup

from commands.main import app
from docs import settings_table
from gateway.outcomes import Reason

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
CLI = typer.main.get_command(app)

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"```.*?```|`[^`\n]+`|^ {4}[^\n]+(?:\n {4}[^\n]+)*", re.DOTALL | re.MULTILINE)
_COMMAND = re.compile(r"(?<![\w/.-])(?:\.venv/bin/)?sluice +([a-z][^\n`|;#]*)")
_METRIC = re.compile(r'"(sluice_[a-z_]+)"')

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def _anchors(document: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_document
def test_links_lead_somewhere(document: Path) -> None:
    dead = []
    for link in _LINK.findall(document.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            dead.append(link)
    assert not dead


def _commands_named(document: Path) -> Iterator[str]:
    for code in _CODE.findall(document.read_text(encoding="utf-8")):
        yield from _COMMAND.findall(code.replace("\\\n", " "))


def _what_is_wrong(words: list[str]) -> str | None:
    command: Any = CLI
    while isinstance(command, TyperGroup) and words and not words[0].startswith("-"):
        member = command.get_command(Context(command), words[0])
        if member is None:
            return f"there is no {words[0]!r} in {command.name}"
        command = member
        words.pop(0)
    flags = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    unknown = [word for word in words if word.startswith("-") and word.partition("=")[0] not in flags]
    return f"{command.name} has no {unknown}" if unknown else None


@each_document
def test_commands_and_their_flags_exist(document: Path) -> None:
    wrong = {text: _what_is_wrong(text.split()) for text in _commands_named(document)}
    assert not {text: problem for text, problem in wrong.items() if problem}


def test_a_command_that_does_not_exist_would_be_found() -> None:
    assert _what_is_wrong(["stock", "burn"])
    assert _what_is_wrong(["stock", "get", "teapot", "--colour"])
    assert _COMMAND.findall(".venv/bin/sluice stock burn --now") == ["stock burn --now"]


@each_document
def test_make_targets_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    code = " ".join(_CODE.findall(document.read_text(encoding="utf-8")))
    assert set(re.findall(r"\bmake ([a-z-]+)", code)) <= targets


def test_the_settings_table_is_fresh() -> None:
    page = settings_table.PAGE.read_text(encoding="utf-8")
    assert settings_table.with_table(page) == page, "run: python -m docs.settings_table"


def test_every_metric_is_explained() -> None:
    page = (ROOT / "docs/operating.md").read_text(encoding="utf-8")
    sources = [path for part in ("commands", "gateway", "stockd", "relay") for path in (ROOT / part).rglob("*.py")]
    names = {name for source in sources for name in _METRIC.findall(source.read_text(encoding="utf-8"))}
    assert names
    assert not {name for name in names if name not in page}


def test_every_reason_is_explained() -> None:
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    assert not {reason.value for reason in Reason if f"`{reason.value}`" not in page}


def test_every_decision_is_listed() -> None:
    index = (ROOT / "docs/decisions/README.md").read_text(encoding="utf-8")
    records = {path.name for path in ROOT.glob("docs/decisions/0*.md")}
    assert records == set(re.findall(r"\((0[^)]+\.md)\)", index))


def test_every_dependency_has_its_reason() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    page = (ROOT / "docs/decisions/0002-dependencies.md").read_text(encoding="utf-8")
    dependencies = re.findall(r'^    "([a-z0-9-]+)[><=]=', project, re.MULTILINE)
    assert "grpcio" in dependencies
    assert not {name for name in dependencies if f"`{name}`" not in page}
