"""`python -m bench.loads`: one load generator, as its first line of input says."""

import gc
import importlib

import uvloop

from bench.workers import read_settings
from commands.process import GC_THRESHOLDS

KINDS = {
    "unary": "bench.loads.closed",
    "stream": "bench.loads.stream",
    "messages": "bench.loads.messages",
    "at_rate": "bench.loads.at_rate",
    "at_once": "bench.loads.at_once",
    "tigerbeetle": "bench.loads.tigerbeetle",
}


def main() -> None:
    settings = read_settings()
    kind = importlib.import_module(KINDS[settings.pop("kind")])
    gc.set_threshold(*GC_THRESHOLDS)
    uvloop.run(kind.drive(kind.Load(**settings)))


if __name__ == "__main__":
    main()
