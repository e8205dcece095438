"""`sluice capacity`: how many machines a load needs, and what gets full first."""

import dataclasses
import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from capacity.dividing import Division, best, divide, divisions
from capacity.load import BadLoad, Load, Policy
from capacity.shipped import shipped_slopes
from capacity.simulation import Simulation, simulate
from capacity.slopes import Slopes

app = typer.Typer(add_completion=False)

_DEFAULT = Load(orders_per_s=1.0)
"""Of what is not asked for."""


@app.command()
def capacity(
    orders_per_s: Annotated[float, typer.Option(help="at the peak")],
    lines_per_order: Annotated[int, typer.Option(help="different SKUs in an order")] = _DEFAULT.lines_per_order,
    skus: Annotated[int, typer.Option(help="that are on sale at once")] = _DEFAULT.skus,
    hottest_share: Annotated[
        float, typer.Option(help="of all lines, those for the SKU that is asked for most, 0 to 1")
    ] = _DEFAULT.hottest_share,
    stream_batch: Annotated[int, typer.Option(help="orders in a message; 0: each is a call of its own")] = (
        _DEFAULT.stream_batch
    ),
    policy: Annotated[Policy, typer.Option(help="of all SKUs")] = _DEFAULT.policy,
    peak_hours: Annotated[float, typer.Option(help="a day at this rate")] = _DEFAULT.peak_hours,
    journal_days: Annotated[float, typer.Option(help="for which orders stay in PostgreSQL")] = _DEFAULT.journal_days,
    log_days: Annotated[float, typer.Option(help="for which events stay on Kafka")] = _DEFAULT.log_days,
    journal_copies: Annotated[int, typer.Option(help="of each database, standbys included")] = _DEFAULT.journal_copies,
    log_copies: Annotated[int, typer.Option(help="of each Kafka partition")] = _DEFAULT.log_copies,
    ledger_copies: Annotated[int, typer.Option(help="of each row in Cassandra")] = _DEFAULT.ledger_copies,
    headroom: Annotated[float, typer.Option(help="share of every limit that stays free")] = _DEFAULT.headroom,
    group_s: Annotated[float, typer.Option(help="for so long orders may gather at each step")] = _DEFAULT.group_s,
    cores: Annotated[int, typer.Option(help="of a machine")] = _DEFAULT.cores,
    disk_gb: Annotated[float, typer.Option(help="of a machine")] = _DEFAULT.disk_gb,
    installations: Annotated[
        int, typer.Option(help="that share the SKUs, each complete in itself; 0: as many as need the fewest machines")
    ] = 0,
    play: Annotated[bool, typer.Option("--simulate", help="and play it through, with more and more load")] = False,
    seed: Annotated[int, typer.Option(help="of the simulation: the same one plays the same")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object instead of tables")] = False,
) -> None:
    """How many gateways, stock servers, databases, partitions and nodes a load needs, from measured costs.

    Exit status 1 if the load cannot be carried however much is bought, 2 if something in it cannot be.
    """
    slopes = shipped_slopes()
    try:
        load = Load(
            orders_per_s,
            lines_per_order=lines_per_order,
            skus=skus,
            hottest_share=hottest_share,
            stream_batch=stream_batch,
            policy=policy,
            peak_hours=peak_hours,
            journal_days=journal_days,
            log_days=log_days,
            journal_copies=journal_copies,
            log_copies=log_copies,
            ledger_copies=ledger_copies,
            headroom=headroom,
            group_s=group_s,
            cores=cores,
            disk_gb=disk_gb,
        )
        found = divide(load, slopes, installations) if installations else best(divisions(load, slopes))
    except BadLoad as error:
        print(f"--{error.field.replace('_', '-')}: {error}", file=sys.stderr)
        raise typer.Exit(2) from error
    played = simulate(found.one, slopes, seed) if play else None
    if as_json:
        print(json.dumps(_as_json(found, played, slopes), indent=1))
    else:
        _show(found, played, slopes)
    if found.one.refusals:
        raise typer.Exit(1)


def _as_json(found: Division, played: Simulation | None, slopes: Slopes) -> dict[str, Any]:
    answer = {
        "installations": found.installations,
        "machines": found.machines,
        "one": dataclasses.asdict(found.one),
        "source": slopes.source,
    }
    if played is not None:
        first = played.first
        answer["simulation"] = dataclasses.asdict(played) | {"first": first.name if first else None}
    return answer


def _show(found: Division, played: Simulation | None, slopes: Slopes) -> None:
    console = Console(highlight=False)
    one = found.one
    many = found.installations > 1
    console.print(
        f"{found.installations:,} independent installations, {one.load.orders_per_s:,.0f} orders/s at most in one"
        if many
        else "one installation"
    )
    table = Table(
        "part", "in one" if many else "number", "in all", "decided by", Column("slope", overflow="fold"), "used"
    )
    for line in one.lines:
        decided = "its copies" if line.decided_by_least else line.limit.name
        table.add_row(
            line.part,
            f"{line.count:,}",
            f"{line.count * found.installations:,}",
            decided,
            line.limit.slope,
            f"{line.used:.0%}",
        )
    console.print(table)
    machines = Table("machines for", "in all")
    for what, number in one.machines.items():
        machines.add_row(what, f"{number * found.installations:,}")
    machines.add_row("all", f"{found.machines:,}")
    console.print(machines)
    console.print(
        f"full first, at {one.tightest.factor:.2f} of this load: {one.tightest.part} ({one.tightest.limit.name})"
    )
    for text in one.refusals:
        console.print(f"cannot be carried: {text}", style="red")
    for text in one.notes:
        console.print(f"note: {text}")
    if played is not None:
        _show_simulation(console, played)
    source = slopes.source
    console.print(f"slopes: {source['command']}, {source['started']}, {source['machine']['cores']} cores", style="dim")


def _show_simulation(console: Console, played: Simulation) -> None:
    table = Table("load", "offered/s", "under way", *(each.name for each in played.steps[0].stations))
    for step in played.steps:
        table.add_row(
            f"{step.factor:.2f}",
            f"{step.offered_per_s:,.0f}",
            f"{1_000 * step.under_way_s:.0f} ms",
            *(f"{each.used:.0%} {1_000 * each.wait_s:.0f} ms" for each in step.stations),
        )
    console.print(table)
    first = played.first
    told = f"saturated first: {first.name}" if first else "nothing was saturated"
    console.print(f"{told}; of each station: share of the time at work, and the longest mean wait")
