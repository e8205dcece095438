"""No interleaving of the reservation protocol oversells or loses a unit, and every rule of it is needed."""

import pytest

from tests.simulation.reservation_model import BREAKS, LONG, SMALL, explore


def test_no_interleaving_breaks_a_promise() -> None:
    found = explore(SMALL)
    assert found.violation is None, found.path
    assert found.states > 200_000  # a model that gets stuck early would find nothing either


def test_no_interleaving_of_three_starts_breaks_a_promise() -> None:
    found = explore(LONG)
    assert found.violation is None, found.path
    assert found.states > 50_000


@pytest.mark.parametrize("broken", [broken for broken in BREAKS if broken != "fold-skips-rowless"])
def test_a_violation_is_found_when_a_rule_is_left_out(broken: str) -> None:
    assert explore(SMALL, broken).violation is not None


def test_units_that_came_back_to_a_server_that_never_took_any_are_lost_if_a_fold_passes_it_by() -> None:
    found = explore(LONG, "fold-skips-rowless")
    assert found.violation == "units lost or made: available 0, escrow 0, sold 0"
    cancelled = found.path.index("cancel 0 via 1")
    assert not any("applied 1" in step for step in found.path[:cancelled])


def test_without_versions_a_late_give_back_releases_units_that_were_taken_again() -> None:
    path = explore(SMALL, "units-only-guard").path
    given_back = path.index("give-back-resent-applied 0")
    assert "take-resent-applied 0" in path[given_back:]
    assert path[-1] == "late-applied 0 -1"
