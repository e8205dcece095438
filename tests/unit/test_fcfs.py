"""The rule of first come, first served: histories that keep it pass, and each way of breaking it is found."""

from collections.abc import Mapping, Sequence

import pytest

from audit.fcfs import Decision, Sales, check_queue, passed_over

SKU = "teapot"

History = Mapping[str, Decision]


def created(number: int) -> Decision:
    return Decision(number)


def turned_away(number: int, wanted: int = 1, restocked: int = 1) -> Decision:
    return Decision(number, SKU, wanted, restocked)


def found(queue: Sequence[str], decisions: History, changes: Sequence[tuple[int, int, str]]) -> list[str]:
    return [finding.subject for finding in check_queue(queue, decisions, {SKU: Sales(changes)})]


def test_the_first_gets_the_unit_and_the_second_does_not() -> None:
    assert found("ab", {"a": created(1), "b": turned_away(2)}, [(1, 1, "a")]) == []


def test_the_second_got_the_unit_of_the_first() -> None:
    assert found("ab", {"b": created(1), "a": turned_away(2)}, [(1, 1, "b")]) == ["a"]


def test_turned_away_while_a_unit_was_there() -> None:
    assert found("ab", {"a": created(1), "b": turned_away(2, restocked=2)}, [(1, 1, "a")]) == ["b"]


def test_who_wants_fewer_may_be_served_after_who_wanted_more() -> None:
    history = {"a": turned_away(1, wanted=3, restocked=2), "b": created(2)}
    assert found("ab", history, [(2, 1, "b")]) == []


def test_who_wants_fewer_may_not_take_what_the_first_would_have_had() -> None:
    history = {"b": created(1), "a": turned_away(2, wanted=2, restocked=2)}
    assert found("ab", history, [(1, 1, "b")]) == ["a"]


def test_direct_orders_may_take_the_units_first() -> None:
    assert found("a", {"a": turned_away(2)}, [(1, 1, "direct")]) == []


def test_units_that_come_back_later_are_for_who_comes_later() -> None:
    history = {"a": created(1), "b": turned_away(2), "c": created(4)}
    assert found("abc", history, [(1, 1, "a"), (3, -1, "a"), (4, 1, "c")]) == []


def test_units_that_were_back_before_ones_turn_are_ones_own() -> None:
    history = {"a": created(1), "b": created(2), "c": turned_away(4, restocked=2)}
    changes = [(1, 1, "a"), (2, 1, "b"), (3, -1, "a")]
    assert found("abc", history, changes) == [], "at the beginning of its turn they were sold"
    history["d"] = turned_away(5, restocked=2)
    assert found("abcd", history, changes) == ["d"]


def test_a_restock_after_the_rejection_excuses_it() -> None:
    history = {"a": created(1), "b": turned_away(2, restocked=1), "c": created(3)}
    assert found("abc", history, [(1, 1, "a"), (3, 1, "c")]) == []


def test_those_who_are_turned_away_together_are_turned_away_at_one_moment() -> None:
    """A unit came back between the look at the stock and the transaction of the rejections."""
    history = {"a": created(1), "b": turned_away(3), "c": turned_away(3)}
    assert found("abc", history, [(1, 1, "a"), (2, -1, "a")]) == []


def test_turned_away_before_its_turn() -> None:
    history = {"a": created(3), "b": turned_away(2)}
    assert found("ab", history, [(1, 1, "direct"), (2, -1, "direct"), (3, 1, "a")]) == ["b"]


def test_what_is_rejected_for_another_reason_is_not_measured_by_units() -> None:
    assert found("ab", {"a": Decision(1), "b": created(2)}, [(2, 1, "b")]) == []


@pytest.mark.parametrize(
    ("decided", "left_out"), [("", ""), ("a", ""), ("abc", ""), ("b", "a"), ("ac", "b"), ("d", "abc")]
)
def test_who_is_passed_over(decided: str, left_out: str) -> None:
    assert passed_over("abcd", {each: created(1) for each in decided}) == list(left_out)
