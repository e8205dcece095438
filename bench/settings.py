"""Programs of others that a measurement uses where they are. What is missing is left out, and the page says so."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class _Wanted(NamedTuple):
    """`usual` is its name on the PATH, if it has one there."""

    variable: str
    usual: str | None
    how_to_get: str


_WANTED = {
    "tigerbeetle": _Wanted(
        "SLUICE_BENCH_TIGERBEETLE",
        None,
        "download or build the TigerBeetle server 0.17.9 (another release does not answer the client used here)",
    ),
    "ghz": _Wanted("SLUICE_BENCH_GHZ", "ghz", "go install github.com/bojand/ghz/cmd/ghz@v0.121.0"),
    "h2load": _Wanted("SLUICE_BENCH_H2LOAD", "h2load", "sudo apt-get install --yes nghttp2-client"),
    "redis": _Wanted("SLUICE_BENCH_REDIS", "redis-server", "sudo apt-get install --yes redis-server"),
}

PROGRAMS = tuple(_WANTED)


class Program(NamedTuple):
    """`path` is None where it is missing; then `missing` says so, and what to do about it."""

    name: str
    path: Path | None
    missing: str


def find(name: str, environment: Mapping[str, str] = os.environ) -> Program:
    """One of PROGRAMS: what its variable names, else what is on the PATH."""
    wanted = _WANTED[name]
    given = environment.get(wanted.variable, "")
    usual = shutil.which(wanted.usual) if wanted.usual and not given else None
    found = Path(given) if given and Path(given).is_file() else Path(usual) if usual else None
    why = f"{given} is not there" if given else "it was not found"
    missing = "" if found else f"{why}. To have it: {wanted.how_to_get}; its path goes into {wanted.variable}"
    return Program(name, found.absolute() if found else None, missing)
