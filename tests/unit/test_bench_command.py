"""`sluice bench` is there in a source tree only, and never somebody else's package of that name."""

import importlib.util
from importlib.machinery import ModuleSpec

import pytest

from bench.cli import Part
from bench.running import PARTS
from commands import bench


def test_in_a_source_tree_the_command_is_there() -> None:
    assert bench.is_there()


@pytest.mark.parametrize("spec", [None, ModuleSpec("bench", None, origin="/elsewhere/bench/__init__.py")])
def test_without_our_own_package_there_is_no_command(spec: ModuleSpec | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    assert not bench.is_there()


def test_every_part_can_be_asked_for_alone() -> None:
    assert {part.value for part in Part} == set(PARTS)
