"""The whole page, section by section."""

from bench.report.blocks import Block, Heading, Text
from bench.report.markdown import written
from bench.report.sections import bursts, clients, cost, goals, machine, memory, orders, peers, rates, scale
from bench.report.selecting import Document

TITLE = "Performance"

QUIET_LOAD = 0.5
"""Load average above which the page warns that something else was running."""

PICTURES = "performance"
"""The folder beside the page that holds its pictures and the HTML page."""

_SECTIONS = (goals, orders, clients, peers, bursts, rates, scale, cost, memory, machine)


def blocks(document: Document) -> list[Block]:
    found: list[Block] = [Heading(TITLE, 1), Text(_introduction(document))]
    for section in _SECTIONS:
        found += section.blocks(document)
    return found


def render(document: Document) -> str:
    """As Markdown."""
    return written(blocks(document), PICTURES)


def _introduction(document: Document) -> str:
    text = (
        f"Measured {document['started']} by `make bench-report`; this page is made from that run's JSON in"
        " `bench/results/` and from nothing else. All ratios compare things that ran beside each other in the same run"
        " on the same machine; absolute rates are this machine's. Each figure is the median of"
        f" {document['plan']['repetitions']} repetitions, with the lowest and the highest in brackets. Only accepted"
        " orders are counted in a rate."
    )
    load = document["machine"]["load_average_before"]
    if load <= QUIET_LOAD:
        return text
    return f"{text}\n\n**The machine was not quiet: its load average was {load:.1f} before the run began.**"
