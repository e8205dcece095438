"""Markdown and HTML say the same."""

from bench.report import html, markdown
from bench.report.blocks import Bullets, Heading, Picture, Table, Text

BLOCKS = [
    Heading("Goals"),
    Text("Less than `a < b`, **not** more."),
    Table(("what", "rate"), [("unary", "1,000")]),
    Bullets(("one", "two")),
    Picture("unary.png", "Orders"),
]


def test_blocks_as_markdown() -> None:
    assert markdown.written(BLOCKS, "pictures") == (
        "## Goals\n\nLess than `a < b`, **not** more.\n\n"
        "| what | rate |\n| --- | --- |\n| unary | 1,000 |\n\n- one\n- two\n\n![Orders](pictures/unary.png)\n"
    )


def test_blocks_as_html() -> None:
    page = html.written("Performance", BLOCKS)
    for piece in (
        "<title>Performance</title>",
        "<h2>Goals</h2>",
        "<p>Less than <code>a &lt; b</code>, <strong>not</strong> more.</p>",
        "<tr><td>unary</td><td>1,000</td></tr>",
        "<li>one</li>",
        '<img src="unary.png" alt="Orders">',
    ):
        assert piece in page
