"""A stock server that sells into several journals is fenced in all of them before it is folded: else units are sold
twice.
"""

import pytest

from tests.simulation.shards_model import BREAKS, SHARDS, explore


def test_no_interleaving_breaks_a_promise() -> None:
    found = explore()
    assert found.violation is None, found.path
    assert found.states > 900  # a model that gets stuck early would find nothing either


@pytest.mark.parametrize("broken", BREAKS)
def test_a_violation_is_found_when_a_rule_is_left_out(broken: str) -> None:
    assert explore(broken).violation is not None


def test_a_server_that_was_still_registering_sells_what_was_folded_if_no_mark_of_its_fence_is_left() -> None:
    path = explore("fence-passes-by-the-unknown").path
    assert path.index(f"who folds fences in {SHARDS - 1}") < path.index(f"it registers in {SHARDS - 1}")
