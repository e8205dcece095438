"""The slopes that were measured for this release; `make bench-capacity` renews the file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from capacity.slopes import Slopes, read_slopes

FILE = Path(__file__).parent / "slopes.json"


def shipped_document() -> Mapping[str, Any]:
    document: Mapping[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return document


def shipped_slopes() -> Slopes:
    return read_slopes(shipped_document())
