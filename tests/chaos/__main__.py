"""`make chaos`: faults at random on a whole cluster of real servers, until the time is over or something is found."""

import argparse
import asyncio
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

import typer

from deploy.local import postgres
from tests.chaos.rounds import Result, report, run_rounds
from tests.chaos.system import System, running_system

EXIT_FINDINGS = 1
EXIT_STOPPED = 130


def main() -> int:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="what is broken and when; printed if not given")
    parser.add_argument("--minutes", type=float, default=3.0, help="from when the system stands")
    arguments = parser.parse_args()
    seed = random.randrange(1_000_000) if arguments.seed is None else arguments.seed
    # PostgreSQL's account must be able to enter it.
    directory = Path(tempfile.mkdtemp(prefix="sluice-chaos-"))
    directory.chmod(0o755)
    typer.echo(f"seed {seed}, {arguments.minutes:g} minutes, logs in {directory}/logs")
    signal.signal(signal.SIGTERM, _interrupt)
    started = time.monotonic()
    try:
        with running_system(directory, typer.echo) as system:
            typer.echo(f"the system stands after {time.monotonic() - started:.0f} s")
            try:
                result = asyncio.run(_run(system, seed, arguments.minutes * 60))
            finally:
                # Whoever stops a run twice must not leave servers behind.
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        typer.echo(f"stopped; everything that was started is down; logs in {directory}/logs", err=True)
        return EXIT_STOPPED
    if result.findings:
        typer.echo(report(result))
        typer.echo(f"seed {seed}: {len(result.findings)} findings; logs in {directory}/logs")
        return EXIT_FINDINGS
    postgres.remove(directory / "postgres")
    shutil.rmtree(directory)
    typer.echo(f"seed {seed}: no findings in {time.monotonic() - started:.0f} s")
    return 0


async def _run(system: System, seed: int, limit_s: float) -> Result:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await run_rounds(system, seed, limit_s, typer.echo)
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
