"""Writes the table of settings into docs/operating.md: `python -m docs.settings_table`. A test holds it fresh."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import SecretStr

from sluice.settings import (
    CommonSettings,
    ConsumeSettings,
    EmbeddedSettings,
    GatewaySettings,
    RelaySettings,
    StockdSettings,
)

PAGE = Path(__file__).parent / "operating.md"
BEGIN = "<!-- settings: begin (python -m docs.settings_table) -->\n"
END = "<!-- settings: end -->"

ROLES: dict[str, type[CommonSettings]] = {
    "serve": EmbeddedSettings,
    "gateway": GatewaySettings,
    "stockd": StockdSettings,
    "relay": RelaySettings,
    "consume": ConsumeSettings,
}


class Row(NamedTuple):
    name: str
    default: str
    meaning: str


def table() -> str:
    """One line per setting; a setting that differs between roles has a line for each of its kinds."""
    roles_of: dict[Row, list[str]] = {}
    for role, kind in ROLES.items():
        for row in _rows(kind):
            roles_of.setdefault(row, []).append(role)
    lines = ["| TOML file | flag | environment | default | roles | meaning |", "|---|---|---|---|---|---|"]
    for row, roles in sorted(roles_of.items(), key=lambda item: item[0].name):
        shown = "all" if len(roles) == len(ROLES) else ", ".join(roles)
        flag, variable = row.name.replace("_", "-"), row.name.upper()
        lines.append(f"| `{row.name}` | `--{flag}` | `SLUICE_{variable}` | `{row.default}` | {shown} | {row.meaning} |")
    return "\n".join(lines) + "\n"


def _rows(kind: type[CommonSettings]) -> Iterator[Row]:
    for name, field in kind.model_fields.items():
        default = field.get_default()
        if isinstance(default, SecretStr):
            default = default.get_secret_value()
        assert field.description is not None
        yield Row(name, str(default), field.description)


def with_table(page: str) -> str:
    """The page with today's table between its markers. Raises ValueError if a marker is missing."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE.name} lacks a marker of the settings table")
    return before + BEGIN + table() + END + after


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
