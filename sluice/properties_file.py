"""Addresses with a file behind them: `host:port,host:port?properties=FILE`. The file has what TLS and logins need and
belongs into no flag: `name=value` a line; a line that begins with # says nothing.
"""

from collections.abc import Collection
from pathlib import Path

_FILE = "?properties="


def split_properties(address: str) -> tuple[str, Path | None]:
    addresses, _, file = address.partition(_FILE)
    return addresses, Path(file) if file else None


def read_properties(file: Path, known: Collection[str], what: str) -> dict[str, str]:
    """`known`: the names that there may be; `what` they are. Raises ValueError, which names file and line."""
    try:
        text = file.read_text()
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}") from error
    properties: dict[str, str] = {}
    for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
        if not line or line.startswith("#"):
            continue
        name, is_there, value = (part.strip() for part in line.partition("="))
        if not is_there:
            raise ValueError(f"{file}, line {number}: is not name=value")
        if name not in known:
            raise ValueError(f"{file}, line {number}: {name!r} is not one of {what}")
        properties[name] = value
    return properties
