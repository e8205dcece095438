"""What a page consists of. `bench.report.markdown` and `bench.report.html` write the same blocks."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias


class Heading(NamedTuple):
    text: str
    level: int = 2


class Text(NamedTuple):
    """A paragraph; `code` and **strong** as in Markdown."""

    text: str


class Table(NamedTuple):
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


class Bullets(NamedTuple):
    items: Sequence[str]


class Picture(NamedTuple):
    """A file of `bench.report.pictures`, by its name there."""

    name: str
    caption: str


Block: TypeAlias = Heading | Text | Table | Bullets | Picture
