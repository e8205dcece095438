"""Blocks as Markdown."""

from collections.abc import Sequence

from bench.report.blocks import Block, Bullets, Heading, Picture, Table, Text


def written(blocks: Sequence[Block], pictures: str) -> str:
    """`pictures`: the folder they are in, seen from the page."""
    return "\n\n".join(_written(block, pictures) for block in blocks) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _written(block: Block, pictures: str) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {text}"
        case Text(text):
            return text
        case Table(head, rows):
            return table(head, rows)
        case Bullets(items):
            return "\n".join(f"- {item}" for item in items)
        case Picture(name, caption):
            return f"![{caption}]({pictures}/{name})"
