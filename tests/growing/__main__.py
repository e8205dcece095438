"""`python -m tests.growing turmoil --orders 200000`: topics grow in turmoil, with as many orders as one likes.
`python -m tests.growing delays --orders-per-s 2000`: how long growth delays events.
"""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import typer

from tests.growing.delays import delays
from tests.growing.scene import Scene, opened
from tests.growing.turmoil import turmoil
from tests.journals import new_postgres_database
from tests.servers import make_cassandra, make_kafka, make_postgres, running, server_directory


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.growing", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    in_turmoil = commands.add_parser("turmoil")
    in_turmoil.add_argument("--orders", type=int, default=200_000)
    in_turmoil.add_argument("--orders-per-s", type=float, default=1_000)
    commands.add_parser("delays").add_argument("--orders-per-s", type=float, default=2_000)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        directory = stack.enter_context(server_directory())
        if arguments.command == "turmoil":
            cassandra, contact_points = make_cassandra(directory)
            stack.enter_context(running(cassandra))
            result = _on_stage(
                stack,
                directory,
                contact_points,
                partial(turmoil, orders=arguments.orders, orders_per_s=arguments.orders_per_s, say=typer.echo),
            )
            for name, figure in result._asdict().items():
                typer.echo(f"{name}: {figure}")
        else:
            measure = partial(delays, orders_per_s=arguments.orders_per_s, say=typer.echo)
            for stretch in _on_stage(stack, directory, "", measure):
                typer.echo(
                    f"{stretch.name}, {stretch.took_s:.1f} s: {stretch.events} events, from commit to Kafka"
                    f" {stretch.median_s:.2f} s (median), {stretch.longest_s:.2f} s (longest)"
                )
    return 0


def _on_stage(stack: ExitStack, directory: Path, cassandra: str, play: Callable[[Scene], Awaitable[Any]]) -> Any:
    postgres, postgres_url = make_postgres(directory)
    kafka, bootstrap = make_kafka(directory)
    for process in (postgres, kafka):
        stack.enter_context(running(process))
    logs = directory / "logs"
    logs.mkdir()

    async def perform() -> Any:
        async with new_postgres_database(postgres_url) as journal_url:
            with opened(bootstrap, journal_url, cassandra, logs) as scene:
                return await play(scene)

    return asyncio.run(perform())


if __name__ == "__main__":
    sys.exit(main())
