"""`python -m bench.capacity.page`: docs/capacity.md, from the slopes that the release ships and nothing else."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from capacity.dividing import Division, best, divide, divisions
from capacity.load import Load
from capacity.shipped import shipped_document
from capacity.simulation import Simulation, simulate
from capacity.slopes import DRIVERS, PARTS, Slopes, read_slopes
from sluice.model import MAX_OWNERS

PAGE = Path(__file__).parents[2] / "docs" / "capacity.md"

ASKED = Load(orders_per_s=5_000_000.0, hottest_share=0.001)
"""Defaults, and a hottest SKU of 5,000 orders/s; that a much hotter one cannot be carried is said by itself."""

SHOWN_DIVISIONS = (1, 4, 16, 64, 256)
SEED = 1
GOAL = 0.2
"""How wrong the model may be of runs that it has not seen."""

NEARLY = 0.99
"""Of what a limit allows, so that rounding does not go beyond."""


def page(document: Mapping[str, Any]) -> str:
    slopes = read_slopes(document)
    found = divisions(ASKED, slopes)
    chosen, whole = best(found), found[0]
    shown = [each for each in found if each.installations in {*SHOWN_DIVISIONS, chosen.installations}]
    played = [chosen] if chosen.installations == 1 else [chosen, whole]
    blocks = [
        _opening(document),
        _answer(chosen, shown),
        PLAYED,
        *(_played(each, slopes) for each in played),
        _one_sku(slopes),
        _checked(document),
        _slopes(document, slopes),
        UNKNOWN,
    ]
    return "\n\n".join(block.strip("\n") for block in blocks) + "\n"


def _opening(document: Mapping[str, Any]) -> str:
    source = document["source"]
    machine = source["machine"]
    return f"""
# How many machines?

`sluice capacity` reckons how many gateways, stock servers, PostgreSQL shards, Kafka partitions and brokers, and
Cassandra nodes a load needs, and says for each which measured slope and which limit decided it. This page is made from
the same slopes (`capacity/slopes.json`); `make bench-capacity` measures them anew, on your machine.

    sluice capacity --orders-per-s 5000000 --hottest-share 0.001
    sluice capacity --orders-per-s 20000 --skus 500 --stream-batch 0 --cores 8 --simulate
    sluice capacity --orders-per-s 20000 --policy exact --lines-per-order 3 --json

Everything besides the rate has a default; `sluice capacity --help` shows them. A load that cannot be carried however
much is bought is refused with the reason, and exit status 1.

Measured {source["started"]} with `{source["command"]}` on {machine["cores"]} cores ({machine["cpu"]},
{machine["system"]}), which the load generator shared. Programs that had nothing to do with it used
{source["cores_of_others"]:.2f} cores meanwhile (median over the runs). The more that is, the dearer everything looks:
what was reached is less than could be, and an order's CPU more than it need be.
"""


def _answer(chosen: Division, shown: Sequence[Division]) -> str:
    one = chosen.one
    compared = _table(
        (
            *("installations", "orders/s in the fullest", "gateways in it", "stockd", "PostgreSQL shards"),
            *("orders a group", "machines in all", "carried"),
        ),
        [_division_row(each) for each in shown],
    )
    lines = _table(
        ("part", "in one", "in all", "decided by", "slope", "used"),
        [
            [
                line.part,
                f"{line.count:,}",
                f"{line.count * chosen.installations:,}",
                "its copies" if line.decided_by_least else line.limit.name,
                f"`{line.limit.slope}`",
                f"{line.used:.0%}",
            ]
            for line in one.lines
        ],
    )
    machines = _table(
        ("machines for", "in all"),
        [[what, f"{count * chosen.installations:,}"] for what, count in one.machines.items()],
    )
    notes = "\n".join(f"* {note[0].upper()}{note[1:]}." for note in one.notes)
    return f"""
## 5,000,000 orders/s

One line an order, {ASKED.skus:,} SKUs, {ASKED.hottest_share:.1%} of the orders for the hottest, messages of
{ASKED.stream_batch} orders, policy `{ASKED.policy}`, {ASKED.headroom:.0%} of every limit left free, machines of
{ASKED.cores} cores and {ASKED.disk_gb:,.0f} GB, {ASKED.peak_hours:g} hour a day at this rate, orders kept for
{ASKED.journal_days:g} days in {ASKED.journal_copies} copies, events for {ASKED.log_days:g} days in {ASKED.log_copies}.

Every gateway speaks to every stock server and every journal. The more of them share a load, the fewer orders meet on
one way within the time that they may gather, until each travels alone and costs as much as a call of its own. Divided
over independent installations, each with a share of the SKUs and complete in itself, batches stay large:

{compared}

**{chosen.installations} installations need the fewest machines: {chosen.machines:,}.** The fullest of them, with the
hottest SKU, takes {one.load.orders_per_s:,.0f} orders/s:

{lines}

{machines}

{notes}
"""


def _division_row(each: Division) -> list[str]:
    one = each.one
    return [
        f"{each.installations:,}",
        f"{one.load.orders_per_s:,.0f}",
        f"{one.counts.gateways:,}",
        f"{one.counts.stockds:,}",
        f"{one.counts.journals:,}",
        f"{1 / one.per_order.group:,.0f}",
        f"{each.machines:,}",
        "no" if one.refusals else "yes",
    ]


PLAYED = """
## What gets full first

`--simulate` plays the plan through: orders pass stations with queues whose service times are the slopes, and load is
raised until one of them keeps orders longer than they may gather. Batches form from the queues themselves, so stations
that coalesce get cheaper as they fill; that is why some of them look busy long before they are full. Where one part is
clearly the tightest, plan and simulation name the same one (tests hold them to that); where several are nearly full
together, they may differ. Each cell: share of the time at work, longest mean wait.
"""


def _played(each: Division, slopes: Slopes) -> str:
    one, played = each.one, simulate(each.one, slopes, SEED)
    name = "One installation for everything" if each.installations == 1 else f"One of {each.installations}"
    first = played.first
    told = f"{first.name}, at {played.steps[-1].factor:g}" if first else "nothing"
    refused = "".join(f"\n* Refused: {refusal}." for refusal in one.refusals)
    return f"""
**{name}**, {one.load.orders_per_s:,.0f} orders/s planned. By the plan, full first is {one.tightest.part}
({one.tightest.limit.name}), at {one.tightest.factor:.2f} of that. In the simulation: {told}.

{_steps(played)}
{refused}
"""


def _steps(played: Simulation) -> str:
    names = [station.name for station in played.steps[0].stations]
    rows = [
        [
            f"{step.factor:g}",
            f"{step.offered_per_s:,.0f}",
            f"{step.orders_per_group:,.0f}",
            *(f"{station.used:.0%}, {1_000 * station.wait_s:.0f} ms" for station in step.stations),
        ]
        for step in played.steps
    ]
    return _table(("load", "offered/s", "orders a group", *names), rows)


def _one_sku(slopes: Slopes) -> str:
    most = min(slopes.partition_events_per_s, slopes.consumer_events_per_s) * (1 - ASKED.headroom)
    alone = divide(Load(orders_per_s=most * NEARLY, skus=1, hottest_share=1.0), slopes, 1).one
    refused = f" Refused all the same: {'; '.join(alone.refusals)}." if alone.refusals else ""
    return f"""
## One SKU

Dividing does not help a single SKU. All its `stock-changed` events are in one partition, in order, and one process
handles them. With {ASKED.headroom:.0%} left free that is the end at **{most:,.0f} orders/s for one SKU**: a partition
took {slopes.partition_events_per_s:,.0f} events/s, the consumer `compensation` handled
{slopes.consumer_events_per_s:,.0f}. So many orders need {alone.counts.owners} of at most {MAX_OWNERS} owners.{refused}

Its row in the ledger is far from full: one stock server made {slopes.sku_writes_per_s:,.0f} conditional writes/s to one
SKU, several at once {slopes.contended_sku_writes_per_s:,.0f}, where policy `escrow` needs two a second and owner. Of
writes to different SKUs a node took {slopes.ledger_writes_per_s:,.0f} a second.
"""


def _checked(document: Mapping[str, Any]) -> str:
    rows = [
        [
            check["name"],
            f"{check['foreseen_orders_per_s']:,.0f}",
            _range(check),
            f"{check['error']:+.0%}",
            f"{check['cores_left']:.2f}",
            f"{check['foreseen_us']:,.1f}",
            f"{check['measured_us']:,.1f}",
            f"{check['us_error']:+.0%}",
        ]
        for check in document["checks"]
    ]
    missed = [check["name"] for check in document["checks"] if abs(check["error"]) > GOAL]
    told = f"Missed by: {', '.join(missed)}." if missed else "All of them are within it."
    table = _table(
        ("run", "foreseen orders/s", "measured", "error", "cores", "foreseen µs", "measured µs", "error"), rows
    )
    return f"""
## Is it right?

These runs are not among those that the slopes were fitted to. Rates are until the last event is on Kafka; CPU is that
of all parts of Sluice and its servers together, µs an order. Other programs of the machine left so many cores to a run
as the table says; rates are foreseen for these.

{table}

The aim is {GOAL:.0%} for rates. {told} This says that the slopes hold on this machine, and nothing of
machines that were not measured.
"""


def _range(check: Mapping[str, float]) -> str:
    middle, least, most = (check[f"{which}_orders_per_s"] for which in ("measured", "least", "most"))
    return f"{middle:,.0f} ({least:,.0f} to {most:,.0f})"


def _slopes(document: Mapping[str, Any], slopes: Slopes) -> str:
    used = [name for name in DRIVERS if any(getattr(getattr(slopes.cpu_us, part), name) for part in PARTS)]
    costs = [[part, *(_figure(document["cpu_us"][part].get(name)) for name in used)] for part in PARTS]
    others = [
        [f"`{name}`", f"{value:,.4g}" if value < 1_000 else f"{value:,.0f}"]
        for name, value in document.items()
        if isinstance(value, int | float) and name != "format"
    ]
    return f"""
## The slopes

µs of CPU for each thing that is done, fitted with none below 0 (`bench/capacity/fitting.py`). A group is the orders
that reserve together, from one stock server for one journal; an entry is one SKU in one group; a write is a conditional
write to the ledger for units that no order waits for, a fetch one that orders wait for, as under policy `exact`, and
waiting is such an order; a log batch is the events that go to one partition together; a second is a server's life
without orders. Empty: not reckoned for that part.

{_table(("part", *used), costs)}

{_table(("slope", "measured"), others)}
"""


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:,.3g}" if value < 1_000 else f"{value:,.0f}"


UNKNOWN = """
## What it does not know

* **Larger machines.** Databases and brokers are reckoned as if their CPU scaled with cores. No limit is reckoned above
  what this machine reached (`journal_orders_per_s`, `partition_events_per_s`, `ledger_writes_per_s`), which is little.
* **Copies.** Measured with one copy of everything. A copy is reckoned to cost as much as the first; waiting for it is
  not reckoned.
* **Networks.** Everything ran on loopback. Neither bandwidth nor round trips between machines are in it.
* **Several journals** are reckoned from one; what dividing a message over them costs is in the size of groups.
* **Memory**, connections (only noted), partitions for each broker, compaction, tables that are months old.
* **Policy `counter`**, queue mode, holds, cancels, limits per customer, reads, watches, and the consumers `lifecycle`
  and `projection`. Consumer processes are those of `compensation`, which every cluster runs.
* **Carts over installations.** Divided installations take only carts whose SKUs are in one of them.
* **Unlucky hashes.** Slots are reckoned as if spread evenly; the headroom is for that.
* **Batches** are as large as what comes within `--group-s`. Gateways that are idle send smaller and dearer ones;
  relays, which hold nobody back, are reckoned with those.

The reasons are in [decision 0030](decisions/0030-capacity-model.md).
"""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(
        [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows)]
    )


if __name__ == "__main__":
    PAGE.write_text(page(shipped_document()), encoding="utf-8")
