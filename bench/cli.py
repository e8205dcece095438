"""`sluice bench` and `python -m bench`: measures, writes the figures as JSON, and makes the pages from them alone.

Parts are imported when a measurement runs: the command line must not need what only a measurement needs.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Measures Sluice beside its peers, on servers of its own.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Part(StrEnum):
    """What can be measured alone; without any all are."""

    DRAINING = "draining"
    CALLS = "calls"
    RATES = "rates"
    BURSTS = "bursts"
    PEERS = "peers"
    STREAMS = "streams"
    TIGERBEETLE = "tigerbeetle"
    CLIENTS = "clients"
    SCALE = "scale"
    GENERATORS = "generators"
    PROFILES = "profiles"
    SOAK = "soak"
    FLOOD = "flood"


@app.command()
def run(
    part: Annotated[list[Part] | None, typer.Option(help="only this; may be repeated")] = None,
    minutes: Annotated[float | None, typer.Option(min=0, help="of the memory run; 0 leaves it out")] = None,
    repetitions: Annotated[int | None, typer.Option(min=1, help="of every measurement")] = None,
    report: Annotated[bool, typer.Option("--report", help="and makes docs/performance.md and its pictures")] = False,
) -> None:
    """Measures, and writes bench/results/TIME.json. Takes up to 25 minutes on two cores; nothing else should run."""
    from bench import command  # noqa: PLC0415

    command.run([each.value for each in part or Part], minutes, repetitions, report=report)


@app.command()
def smoke() -> None:
    """Does every part still work? Two minutes, tiny sizes, real servers, and figures that mean nothing."""
    from bench import command  # noqa: PLC0415

    command.smoke()


@app.command()
def page(
    figures: Annotated[Path | None, typer.Argument(help="a JSON of bench/results; the newest if none is named")] = None,
) -> None:
    """Makes docs/performance.md, its pictures and its HTML page again, from the JSON of one run and nothing else."""
    from bench import command  # noqa: PLC0415

    command.page(figures)
