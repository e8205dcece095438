"""Every picture of the page, by file name: a function that draws it from the document."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.figures import Spread, spread
from bench.report.sections import bursts, cost, orders, peers
from bench.report.selecting import (
    Document,
    Run,
    cpu_us_per_order,
    fastest_tigerbeetle,
    own_cpu_us,
    reference_in_flight,
    select,
)

Bars: TypeAlias = Sequence[tuple[str, Spread]]

WIDTH_IN = 9.0
DPI = 110

_OURS = "#1f6f8b"
_THEIRS = "#b0b7bd"

# What is drawn twice from the same figures should be the same file.
_METADATA = {"Software": None}


def draw(name: str, document: Document, folder: Path) -> None:
    mpl.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
    figure = _DRAWN[name](document)
    figure.savefig(folder / name, dpi=DPI, metadata=_METADATA, bbox_inches="tight")


def _rates(runs: Sequence[Run]) -> Spread:
    return spread([run["orders_per_s"] for run in runs])


def _unary(document: Document) -> Figure:
    at = reference_in_flight(document)
    found = [
        (label, select(document, "unary", system, load=load, in_flight=at))
        for system, load, label in orders.UNARY_SERVERS
    ]
    return _bars([(label, _rates(runs)) for label, runs in found if runs], f"orders/s, single calls, {at} in flight")


def _stream(document: Document) -> Figure:
    found: list[tuple[str, list[Run]]] = []
    for system, loads in orders.STREAM_LOADS.items():
        found += [(label, select(document, "stream", system, load=load)) for load, label in loads if system != "noop"]
    found.append(("TigerBeetle from Python, at its best", fastest_tigerbeetle(document)))
    return _bars([(label, _rates(runs)) for label, runs in found if runs], "orders/s, stream, 500 a message")


def _peers(document: Document) -> Figure:
    at = reference_in_flight(document)
    found = [
        (f"Sluice, {system}", select(document, "unary", system, load="hot", in_flight=at)) for system in peers.OURS
    ]
    found += [
        (
            peer["label"].replace("`", "") + ("" if peer["durable"] else " (not durable)"),
            select(document, "unary", name),
        )
        for name, peer in document.get("peers", {}).items()
    ]
    bars = [(label, _rates(runs)) for label, runs in found if runs]
    return _bars(sorted(bars, key=lambda bar: -bar[1].middle), f"orders/s, single calls, {at} in flight, one hot SKU")


def _bursts(document: Document) -> Figure:
    found = [(label, select(document, "burst", system, load=load)) for system, load, label in bursts.SALES]
    found += [(peer["label"], select(document, "burst", name)) for name, peer in document.get("peers", {}).items()]
    measured = [(label, runs) for label, runs in found if runs]
    figure, axes = _figure(len(measured))
    for place, (label, runs) in enumerate(measured):
        each = [burst["latency_ms"] for run in runs for burst in run["bursts"]]
        p50, p95, p99 = (spread([latency[name] for latency in each]).middle for name in ("p50", "p95", "p99"))
        axes.plot([p50, p99], [place, place], color=_colour(label), linewidth=2)
        axes.scatter([p50, p95, p99], [place] * 3, color=_colour(label), marker="|", s=120)
    _label(axes, [label for label, _ in measured], "ms from the moment of the burst: p50, p95, p99")
    return figure


def _latency_by_rate(document: Document) -> Figure:
    figure = Figure(figsize=(WIDTH_IN, 4.5))
    axes = figure.subplots()
    for system, colour in (("embedded", _OURS), ("cluster", "#c8553d")):
        runs = sorted(select(document, "at_rate", system), key=lambda run: run["offered_per_s"])
        for name, style in (("p50", "--"), ("p99", "-")):
            points = [(run["offered_per_s"], run["latency_ms"][name]) for run in runs if run["latency_ms"][name]]
            if points:
                axes.plot(*zip(*points, strict=True), style, marker="o", color=colour, label=f"{system}, {name}")
    axes.set_yscale("log")
    axes.set_xlabel("orders/s offered")
    axes.set_ylabel("ms from the moment an order was due")
    axes.legend(frameon=False)
    return figure


def _cpu(document: Document) -> Figure:
    at = reference_in_flight(document)
    columns = {
        "embedded, unary": select(document, "unary", "embedded", load="hot", in_flight=at),
        "cluster, unary": select(document, "unary", "cluster", load="hot", in_flight=at),
        "embedded, stream": select(document, "stream", "embedded", load="hot"),
        "cluster, stream": select(document, "stream", "cluster", load="hot"),
    }
    figure, axes = _figure(len(columns))
    colours = mpl.colormaps["tab20"]
    for place, runs in enumerate(columns.values()):
        left = 0.0
        by_role = cpu_us_per_order(runs)
        for number, role in enumerate(cost.ROLES):
            if role in by_role:
                axes.barh(place, by_role[role], left=left, color=colours(number), label=role)
                left += by_role[role]
    handles = {handle.get_label(): handle for handle in axes.containers}
    axes.legend(handles.values(), [str(label) for label in handles], frameon=False, ncols=2, fontsize=8)
    _label(axes, list(columns), "µs of CPU for each accepted order")
    return figure


def _memory(document: Document) -> Figure:
    figure = Figure(figsize=(WIDTH_IN, 4.0))
    axes = figure.subplots()
    for name, series in document["soak"]["rss_mib"].items():
        axes.plot([time / 60 for time, _ in series], [mib for _, mib in series], label=name.replace("client", "load"))
    axes.set_xlabel("minutes")
    axes.set_ylabel("MB resident")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, ncols=3)
    return figure


def _scale(document: Document) -> Figure:
    found: list[tuple[str, Sequence[Run]]] = [
        (f"{label} SKU(s)", select(document, "stream", "cluster", load=load))
        for load, label in (("hot", "1"), ("some", "1,000"), ("many", "10,000"))
    ]
    found += [(f"{run['skus']:,} SKU(s)", [run]) for run in document["runs"] if run["kind"] == "skus"]
    found += [
        (f"1,000 SKUs, {run['stockds']} stock server(s)", [run])
        for run in document["runs"]
        if run["kind"] == "stockds" and run["load"] == "some"
    ]
    bars = [(label, spread(values)) for label, runs in found if (values := own_cpu_us(runs))]
    return _bars(bars, "µs of CPU of gateway and stock servers for each order")


def _bars(bars: Bars, what: str) -> Figure:
    figure, axes = _figure(len(bars))
    for place, (label, found) in enumerate(bars):
        errors = [[found.middle - found.low], [found.high - found.middle]]
        axes.barh(place, found.middle, xerr=errors, color=_colour(label), error_kw={"elinewidth": 1, "capsize": 2})
        axes.text(found.high, place, f"  {found.middle:,.0f}", va="center")
    _label(axes, [label for label, _ in bars], what)
    return figure


def _figure(lines: int) -> tuple[Figure, Any]:
    figure = Figure(figsize=(WIDTH_IN, 1.0 + 0.36 * max(2, lines)))
    return figure, figure.subplots()


def _label(axes: Any, labels: Sequence[str], what: str) -> None:
    axes.set_yticks(range(len(labels)), [label.replace("*", "").replace("`", "") for label in labels])
    axes.invert_yaxis()
    axes.set_xlabel(what)
    axes.set_xlim(left=0)


def _colour(label: str) -> str:
    ours = ("Sluice", "embedded", "cluster")
    return _OURS if label.replace("*", "").startswith(ours) else _THEIRS


_DRAWN: Mapping[str, Callable[[Document], Figure]] = {
    "unary.png": _unary,
    "stream.png": _stream,
    "peers.png": _peers,
    "bursts.png": _bursts,
    "rates.png": _latency_by_rate,
    "cpu.png": _cpu,
    "memory.png": _memory,
    "scale.png": _scale,
}
