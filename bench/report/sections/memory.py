"""Resident memory of our processes."""

from bench.earlier_goals import SETTLING_SHARE, settled
from bench.figures import slope_per_minute
from bench.report.blocks import Block, Heading, Picture, Table, Text
from bench.report.selecting import Document, highest_memory


def blocks(document: Document) -> list[Block]:
    highest = highest_memory(document)
    heading = Heading("Memory")
    if "soak" not in document:
        rows = [(name, f"{mib:.0f}") for name, mib in highest.items()]
        return [heading, Table(("process", "highest MB, all runs"), rows)] if rows else []
    soak = document["soak"]
    details: list[tuple[str, ...]] = []
    for name, series in soak["rss_mib"].items():
        after = settled(series)
        details.append(
            (
                name if name != "client" else "load generator",
                f"{highest[name]:.0f}" if name in highest else "",
                f"{series[0][1]:.1f}",
                f"{after[0][1]:.1f}",
                f"{series[-1][1]:.1f}",
                f"{slope_per_minute(after):+.2f}",
            )
        )
    details += [(name, f"{mib:.0f}", "", "", "", "") for name, mib in highest.items() if name not in soak["rss_mib"]]
    steady, bursts = soak["results"]
    text = (
        f"{soak['minutes']:g} minutes on the cluster: unary calls all the time ({steady['orders_per_s']:,.0f}/s) and"
        " bursts of full messages at full speed on top"
        f" ({bursts['accepted']:,} orders), so that buffers fill as they do under full load. The settled start and the"
        f" slope leave out the first {SETTLING_SHARE:.0%} of the time, while caches fill. 1 MB is 2^20 bytes."
    )
    head = ("process", "highest MB, all runs", "at the start", "settled", "at the end", "slope, MB/min")
    return [heading, Text(text), Table(head, details), Picture("memory.png", "Resident memory over time")]
