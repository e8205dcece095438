"""`python -m bench.capacity`: measures what the capacity model needs, and makes its slopes and its page from that."""

import json
import shutil
import signal
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.capacity.measuring import measure

MEASURED = Path(__file__).parent.parent / "results" / "capacity.json"
COMMAND = "make bench-capacity"
EXIT_TERMINATED = 143


def main() -> None:
    """Takes about ten minutes; nothing else should run."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(EXIT_TERMINATED))
    console = Console(stderr=True, highlight=False)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    document: dict[str, Any] = {"started": started, "command": COMMAND}
    directory = Path(tempfile.mkdtemp(prefix="sluice-capacity-"))
    # Another account runs PostgreSQL and must get to its data.
    directory.chmod(0o755)
    unfinished = MEASURED.with_suffix(".json.tmp")
    try:
        measure(directory, document, console.print)
    finally:
        unfinished.write_text(json.dumps(document, indent=1) + "\n")
        shutil.rmtree(directory, ignore_errors=True)
    unfinished.replace(MEASURED)


if __name__ == "__main__":
    main()
