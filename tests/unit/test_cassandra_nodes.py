"""Nodes that do not answer are asked last; and only if there is another, whoever waits for one gives up on it."""

import asyncio
from typing import Any

import pytest

from stockd.stores.cassandra_nodes import AnsweringFirst, SilentNodes, keep_probing


class Host:
    """As much of the driver's as is looked at."""

    is_up = True

    def __init__(self, number: int) -> None:
        self.endpoint = f"127.0.0.{number}"


@pytest.fixture
def three() -> list[Any]:
    return [Host(number) for number in range(3)]


def plan(three: list[Any], silent: SilentNodes, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setattr("cassandra.policies.TokenAwarePolicy.make_query_plan", lambda *_: iter(three))
    return list(AnsweringFirst("datacenter1", silent).make_query_plan())


def test_silent_nodes_come_last_and_the_others_keep_their_order(
    three: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = three
    silent = SilentNodes()
    assert plan(three, silent, monkeypatch) == [first, second, third]
    silent.add(first, three)
    assert plan(three, silent, monkeypatch) == [second, third, first]
    silent.add(second, three)
    silent.add(third, three)
    assert plan(three, silent, monkeypatch) == [first, second, third]
    silent.discard(first)
    assert plan(three, silent, monkeypatch) == [first, second, third]


def test_who_waits_for_a_silent_node_is_told_once_and_only_if_another_may_answer(three: list[Any]) -> None:
    first, second, third = three
    given_up: list[Any] = []
    silent = SilentNodes()
    silent.on_silence = given_up.append
    silent.add(first, three)
    silent.add(first, three)
    silent.add(second, three)
    silent.add(third, three)
    assert given_up == [first, second]


async def test_a_node_that_cannot_serve_is_silent_until_it_can(three: list[Any]) -> None:
    broken = {three[1]}
    silent = SilentNodes()
    rounds = asyncio.Queue[None]()

    async def probe(node: Any) -> None:
        if node is three[2]:
            rounds.put_nowait(None)
        if node in broken:
            raise TimeoutError

    probing = asyncio.ensure_future(keep_probing(lambda: three, probe, silent))
    try:
        await rounds.get()
        await rounds.get()
        assert [node in silent for node in three] == [False, True, False]
        broken.clear()
        await rounds.get()
        await rounds.get()
        assert not any(node in silent for node in three)
    finally:
        probing.cancel()
        await asyncio.gather(probing, return_exceptions=True)
