"""What was promised and what came out; for what was missed, where the CPU went."""

from collections.abc import Sequence

from bench import earlier_goals
from bench.goals import Goal, judge
from bench.report import wording
from bench.report.blocks import Block, Bullets, Heading, Table, Text
from bench.report.sections.remedies import remedies
from bench.report.selecting import Document, parts_by_role

LARGEST_PARTS = 6

_PROFILES = {
    "P1": ("gateway, stream", "stockd, stream", "relay, stream"),
    "P1b": ("gateway, stream", "stockd, stream", "relay, stream"),
    "P2": ("embedded gateway, unary", "gateway, unary", "stockd, unary"),
    "P4": ("gateway, unary", "stockd, unary"),
    "P5": ("gateway, stream", "stockd, stream", "gateway, unary", "stockd, unary"),
    "P7": ("relay, stream",),
    "P8": ("embedded gateway, unary",),
}
"""Whose CPU is in the way of which goal."""


def blocks(document: Document) -> list[Block]:
    judged = judge(document)
    found: list[Block] = [Heading("Goals"), _table(judged, keyed=True), *_in_the_way(document, judged)]
    return [*found, Heading("Earlier goals", 3), _table(earlier_goals.goals(document), keyed=False)]


def verdict(goal: Goal) -> str:
    return {True: "yes", False: "**no**", None: "not measured"}[goal.holds]


def _table(goals: Sequence[Goal], *, keyed: bool) -> Table:
    if keyed:
        rows = [(goal.key, goal.promise, goal.measured, verdict(goal)) for goal in goals]
        return Table(("", "goal", "measured", "holds"), rows)
    return Table(("goal", "measured", "holds"), [(goal.promise, goal.measured, verdict(goal)) for goal in goals])


def _in_the_way(document: Document, judged: Sequence[Goal]) -> list[Block]:
    """The cost stack of those that do not hold, and what would help."""
    missed = sorted({goal.key for goal in judged if goal.holds is False})
    columns = parts_by_role(document)
    lines = []
    for name in dict.fromkeys(name for key in missed for name in _PROFILES.get(key, ()) if name in columns):
        parts = sorted(columns[name].items(), key=lambda entry: (-entry[1], entry[0]))
        largest = ", ".join(f"{part} {wording.micros(us)}" for part, us in parts[:LARGEST_PARTS])
        keys = ", ".join(key for key in missed if name in _PROFILES.get(key, ()))
        lines.append(f"{keys}: {name}, {wording.micros(sum(columns[name].values()))} µs an order: {largest}")
    found: list[Block] = []
    if lines:
        found += [Text("Where the CPU goes in what is missed, largest parts first:"), Bullets(lines)]
    if helping := remedies(document, missed):
        found += [Text("How far it is, and what would remove it:"), Bullets(helping)]
    return found
