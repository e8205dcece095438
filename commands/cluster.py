"""`sluice cluster`: the whole cluster on this machine, without Docker."""

import json
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from commands import cluster_demo
from commands.own_consumer_names import chosen_consumers
from deploy.local import cluster, state
from deploy.local.jvm import ResolveError
from deploy.local.layout import DEFAULT_DIRECTORY, ClusterSpec
from deploy.local.packages import MissingError
from deploy.local.ports import PortHeldError
from deploy.local.processes import StartError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Start, stop and look at a whole cluster on this machine."
)

DataDirectory = Annotated[Path, typer.Option("--data-dir", help="Data, logs and state of the cluster.")]
# What a person can act on; anything else is a defect and keeps its traceback.
_FAILURES = (
    MissingError,
    ResolveError,
    PortHeldError,
    StartError,
    cluster.SpecChangedError,
    state.StateError,
)


@app.command()
def up(
    *,
    store: Annotated[
        str | None, typer.Option(help="Where the ledger is: cassandra or redis. [default: cassandra]")
    ] = None,
    nodes: Annotated[int | None, typer.Option(help="Cassandra nodes, 1 or 3; also the replication factor.")] = None,
    brokers: Annotated[
        int | None,
        typer.Option(help="Kafka brokers, 1 or 3: with 3, copies of each event on all, two of them acknowledged."),
    ] = None,
    stockd: Annotated[int | None, typer.Option(min=0, help="Stock servers. [default: 2]")] = None,
    gateways: Annotated[int | None, typer.Option(min=0, help="Gateways. [default: 1]")] = None,
    relays: Annotated[int | None, typer.Option(min=0, help="Relays; one is active. [default: 1]")] = None,
    journals: Annotated[
        int | None, typer.Option(min=1, help="Databases over which orders are divided. [default: 1]")
    ] = None,
    consumers: Annotated[
        str | None,
        typer.Option(
            help="Of lifecycle, compensation, projection and queue, comma separated. [default: compensation,queue]"
        ),
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="Log level of Sluice's processes. [default: info]")] = None,
    data_dir: DataDirectory = DEFAULT_DIRECTORY,
) -> None:
    """Start the cluster, or what is missing of it. Options not given are those of the cluster that is there."""
    try:
        known = state.load(data_dir.absolute())
        before = known.spec if known else ClusterSpec(data_dir)
        spec = ClusterSpec(
            directory=data_dir,
            store=before.store if store is None else store,  # type: ignore[arg-type]  # checked there
            nodes=before.nodes if nodes is None else nodes,
            brokers=before.brokers if brokers is None else brokers,
            stockds=before.stockds if stockd is None else stockd,
            gateways=before.gateways if gateways is None else gateways,
            relays=before.relays if relays is None else relays,
            journals=before.journals if journals is None else journals,
            consumers=before.consumers if consumers is None else ",".join(chosen_consumers(consumers)),
            log_level=log_level or before.log_level,
        )
    except state.StateError as failure:
        _fail(failure)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    try:
        running = cluster.up(spec, say=typer.echo)
    except _FAILURES as failure:
        _fail(failure)
    for gateway in running.endpoints.gateways:
        typer.echo(f"gateway on {gateway}")


@app.command()
def down(
    *,
    purge: Annotated[bool, typer.Option("--purge", help="Delete the data and logs too.")] = False,
    data_dir: DataDirectory = DEFAULT_DIRECTORY,
) -> None:
    """Stop what `up` started, and nothing else."""
    try:
        cluster.down(data_dir, purge=purge, say=typer.echo)
    except _FAILURES as failure:
        _fail(failure)


@app.command()
def status(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    data_dir: DataDirectory = DEFAULT_DIRECTORY,
) -> None:
    """Show every process. Exit code 1 when one that should run does not, or when there is no cluster."""
    try:
        found = cluster.status(data_dir)
    except state.StateError as failure:
        _fail(failure)
    if as_json:
        typer.echo(json.dumps(_as_object(found), indent=2))
    elif not found.processes:
        typer.echo(f"no cluster is running in {found.directory}")
    else:
        typer.echo("\n".join(_as_lines(found)))
    if not found.running:
        raise typer.Exit(1)


def _as_object(found: cluster.Status) -> dict[str, object]:
    return {
        "directory": found.directory,
        "running": found.running,
        "endpoints": found.endpoints._asdict() if found.endpoints else None,
        "processes": [process._asdict() for process in found.processes],
    }


def _as_lines(found: cluster.Status) -> list[str]:
    # Not a table that is cut to the terminal's width: addresses and paths are here to be copied.
    rows = [("process", "pid", "state", "endpoint", "metrics", "log")] + [
        (
            process.name,
            str(process.pid),
            "running" if process.alive else "ENDED",
            process.endpoint or "-",
            process.metrics or "-",
            process.log,
        )
        for process in found.processes
    ]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _fail(failure: Exception) -> NoReturn:
    typer.echo(str(failure), err=True)
    raise typer.Exit(1) from failure


app.command(name="demo")(cluster_demo.demo)


if __name__ == "__main__":
    app()
