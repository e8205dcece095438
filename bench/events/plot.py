"""The figures of bench/results/events.json as one picture: what is said, and what the remedy gives, side by side."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.events.report import EVENTS_PER_ORDER, GROWTH_GOAL_S, MB_PER_MIB, MEMORY_GOAL_MB

Figures = Mapping[str, Any]

BEFORE, AFTER, THIRD = "#b0b7c3", "#2f6fb0", "#7fb069"
INCHES = (13.0, 13.5)
DOTS_PER_INCH = 90


def draw(document: Mapping[str, Any], target: Path) -> None:
    """A panel for each part that was measured."""
    mpl.use("Agg")
    panels = [(part, panel) for part, panel in _PANELS if part in document]
    figure = Figure(figsize=INCHES, layout="constrained")
    columns = 3
    axes = list(figure.subplots(-(-len(panels) // columns), columns, squeeze=False).flat)
    for axis, (part, panel) in zip(axes, panels, strict=False):
        panel(axis, document[part]["figures"])
        axis.title.set_fontsize(10)
        axis.tick_params(labelsize=7)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    for axis in axes[len(panels) :]:
        axis.remove()
    # Without the version that the library puts there: the same figures make the same file.
    figure.savefig(target, dpi=DOTS_PER_INCH, metadata={"Software": None})


def _partition_latency(axis: Any, figures: Figures) -> None:
    axis.set_title("p95 delay at a fixed rate, ms")
    _grouped(
        axis,
        {name: [run["latency_ms"]["p95"] for run in by_count.values()] for name, by_count in figures["steady"].items()},
        [f"{count} partitions" for count in next(iter(figures["steady"].values()))],
    )


def _partition_cpu(axis: Any, figures: Figures) -> None:
    axis.set_title("broker CPU µs a message at the same rate")
    _grouped(
        axis,
        {name: [run["broker_us_per_message"] for run in runs.values()] for name, runs in figures["steady"].items()},
        [f"{count} partitions" for count in next(iter(figures["steady"].values()))],
    )


def _batching(axis: Any, figures: Figures) -> None:
    rates = {"one at a time": figures["one_at_a_time"]} | {f"batch, {n}": r for n, r in figures["batched"].items()}
    _bars(axis, "messages/s (log)", {name: run["messages_per_s"] for name, run in rates.items()})
    axis.set_yscale("log")


def _lanes(axis: Any, figures: Figures) -> None:
    named = {
        name.replace(", a call for each ", ",\ncall per "): run["events_per_s"] for name, run in figures["runs"].items()
    }
    _bars(axis, f"events/s with a {figures['sink_ms']:g} ms sink (log)", named)
    axis.set_yscale("log")


def _rebalance(axis: Any, figures: Figures) -> None:
    axis.set_title("longest delay while a member joins and leaves, ms")
    runs = figures["memberships"]
    _grouped(
        axis,
        {
            "join": [run["longest_delay_joining_ms"] for run in runs.values()],
            "leave": [run["longest_delay_leaving_ms"] for run in runs.values()],
        },
        [name.replace(", ", ",\n") for name in runs],
    )


def _replication(axis: Any, figures: Figures) -> None:
    axis.set_title("messages/s by number of copies")
    counts = list(next(iter(figures.values())))
    _grouped(
        axis,
        {
            f"{copies} {'copy' if copies == '1' else 'copies'}": [
                runs[count]["flood"]["messages_per_s"] for count in counts
            ]
            for copies, runs in figures.items()
        },
        [f"{count} partitions" for count in counts],
    )


def _rates(axis: Any, figures: Figures) -> None:
    orders_per_s = figures["accepted"]["orders_per_s"]
    named = {"arise": EVENTS_PER_ORDER * orders_per_s, "relay": figures["relayed"]["events_per_s"]}
    named |= {"arise,\nper topic": orders_per_s}
    named |= {name: run["events_per_s"] for name, run in figures["consumers"].items()}
    _bars(axis, "events/s, one process each", named)


def _memory(axis: Any, figures: Figures) -> None:
    axis.set_title(f"RSS with {figures['orders']:,} records of backlog, MB")
    for name, run in figures["consumers"].items():
        axis.plot([at for at, _ in run["rss_mib"]], [mib * MB_PER_MIB for _, mib in run["rss_mib"]], label=name)
    axis.axhline(MEMORY_GOAL_MB, color="black", linewidth=0.8, linestyle=":")
    axis.set_ylim(bottom=0)
    axis.set_xlabel("seconds", fontsize=8)
    axis.legend(fontsize=8)


def _skew(axis: Any, figures: Figures) -> None:
    axis.set_title("events by partition, fullest first, Zipf")
    for label, color in (("before", BEFORE), ("after", AFTER)):
        loads = sorted(figures["skew"][label], reverse=True)
        axis.step(range(len(loads)), loads, where="mid", color=color, label=f"{label} balance")
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=8)


def _growth(axis: Any, figures: Figures) -> None:
    growth = figures["growth"]
    seconds = [(int(second), late) for second, late in growth["longest_by_second"].items()]
    shown = [(second, late) for second, late in seconds if second >= growth["began_s"]]
    axis.set_title("growth under load: longest delay of each second, s")
    axis.plot([second - growth["began_s"] for second, _ in shown], [late for _, late in shown], color=AFTER)
    axis.axvspan(
        growth["growing_s"] - growth["began_s"], growth["grown_s"] - growth["began_s"], color=BEFORE, alpha=0.4
    )
    axis.axhline(GROWTH_GOAL_S, color="black", linewidth=0.8, linestyle=":")
    axis.set_xlabel("seconds; grey: the command runs", fontsize=8)


_PANELS: Sequence[tuple[str, Callable[[Any, Figures], None]]] = (
    ("partitions", _partition_latency),
    ("partitions", _partition_cpu),
    ("batching", _batching),
    ("lanes", _lanes),
    ("rebalance", _rebalance),
    ("replication", _replication),
    ("flood", _rates),
    ("flood", _memory),
    ("moving", _skew),
    ("moving", _growth),
)


def _bars(axis: Any, title: str, values: Mapping[str, float]) -> None:
    axis.set_title(title)
    drawn = axis.bar(list(values), list(values.values()), color=AFTER)
    axis.bar_label(drawn, [f"{value:,.0f}" for value in values.values()], fontsize=8)


def _grouped(axis: Any, series: Mapping[str, Sequence[float]], labels: Sequence[str]) -> None:
    width = 0.8 / len(series)
    for number, ((name, values), color) in enumerate(zip(series.items(), (BEFORE, AFTER, THIRD), strict=False)):
        places = [place + (number - (len(series) - 1) / 2) * width for place in range(len(labels))]
        drawn = axis.bar(places, values, width, label=name, color=color)
        axis.bar_label(drawn, [f"{value:,.0f}" if value >= 100 else f"{value:.1f}" for value in values], fontsize=7)
    axis.set_xticks(range(len(labels)), labels)
    axis.legend(fontsize=8)
