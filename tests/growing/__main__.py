"""`python -m tests.growing --orders 200000`: the growth in turmoil with as many orders as one likes, in figures."""

import argparse
import asyncio
import sys
from contextlib import ExitStack
from pathlib import Path

import typer

from tests.growing.scene import opened
from tests.growing.turmoil import Result, turmoil
from tests.journals import new_postgres_database
from tests.servers import make_cassandra, make_kafka, make_postgres, running, server_directory


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.growing", description=__doc__)
    parser.add_argument("--orders", type=int, default=200_000)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        directory = stack.enter_context(server_directory())
        postgres, postgres_url = make_postgres(directory)
        kafka, bootstrap = make_kafka(directory)
        cassandra, contact_points = make_cassandra(directory)
        for process in (postgres, kafka, cassandra):
            stack.enter_context(running(process))
        result = asyncio.run(_run(postgres_url, bootstrap, contact_points, directory, arguments.orders))
    for name, figure in result._asdict().items():
        typer.echo(f"{name}: {figure}")
    return 0


async def _run(postgres_url: str, bootstrap: str, cassandra: str, directory: Path, orders: int) -> Result:
    logs = directory / "turmoil"
    logs.mkdir()
    async with new_postgres_database(postgres_url) as journal_url:
        with opened(bootstrap, journal_url, cassandra, logs) as scene:
            return await turmoil(scene, orders, typer.echo)


if __name__ == "__main__":
    sys.exit(main())
