"""Puts the pages where they belong."""

from collections.abc import Sequence
from pathlib import Path

from bench.goals import judge
from bench.report import html, page, pictures
from bench.report.blocks import Picture
from bench.report.markdown import written
from bench.report.readme import with_figures
from bench.report.sections.goals import verdict
from bench.report.selecting import Document


def write_report(document: Document, root: Path) -> None:
    """docs/performance.md with its pictures and its HTML page, and the README's figures."""
    _write_pages(document, root / "docs")
    readme = root / "README.md"
    readme.write_text(with_figures(readme.read_text(encoding="utf-8"), document), encoding="utf-8")


def write_smoke_pages(document: Document, directory: Path) -> None:
    """To see that they can be made."""
    _write_pages(document, directory)


def goal_lines(document: Document) -> Sequence[str]:
    """For a terminal."""
    return [f"{goal.key:4}{verdict(goal).strip('*'):14}{goal.promise}: {goal.measured}" for goal in judge(document)]


def _write_pages(document: Document, docs: Path) -> None:
    folder = docs / page.PICTURES
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    blocks = page.blocks(document)
    for block in blocks:
        if isinstance(block, Picture):
            pictures.draw(block.name, document, folder)
    (docs / "performance.md").write_text(written(blocks, page.PICTURES), encoding="utf-8")
    (folder / "index.html").write_text(html.written(page.TITLE, blocks), encoding="utf-8")
