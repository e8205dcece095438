"""Exhaustive model of one stock server that sells into several journals, and of its being fenced and folded.

Within one journal `reservation_model` says what is right: each reservation is decided there, by one transaction. What
several add is here: a server is registered and fenced in one after the other, by actors that may die in between, and
what it sold is a sum that is read in one after the other. One SKU, every interleaving.

Actors: a server that registers, takes, grants and may be a zombie or dead at any moment; gateways that commit a grant
sooner, later or never; fencers that get as far as they get; a folder that may begin anew at any moment; another server
that sells whatever is available.

Run: python -m tests.simulation.shards_model [--break NAME]. NAME is one of BREAKS: then it must find a violation.

Safety in every state: sold <= restocked. When nothing more can happen: every unit is sold or available.
"""

import argparse
import sys
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

BREAKS = {
    "fold-before-fenced-everywhere": "who folds relies on the one who fenced to have done so in every journal",
    "fence-passes-by-the-unknown": "fencing does nothing in a journal that does not know the server yet",
    "sums-before-fences": "what was sold is read in a journal before the server is fenced there",
    "fold-sums-the-first-only": "what was sold in the first journal is taken for all",
}

SHARDS = 2
STOCK = 2
GRANTS = 3
"""Of the server in its life: enough for one of every journal after one that was folded."""

Each = tuple[int, ...]
"""A number for each journal."""


class Folder(NamedTuple):
    """How far who folds is: journals in which it has fenced, and the sums that it has read."""

    fenced: int = 0
    sums: Each = ()


class State(NamedTuple):
    available: int = STOCK
    row: int = 0  # units of the server in the ledger
    believed: int = 0  # what it takes its row to be; -1: it knows that it was folded
    up: bool = True
    free: int = 0
    registered: int = 0  # in the first so many journals
    fenced: tuple[bool, ...] = (False,) * SHARDS
    granted: Each = (0,) * SHARDS  # reservations of one unit, not committed
    grants: int = 0
    sold: Each = (0,) * SHARDS
    sold_elsewhere: int = 0
    folder: Folder | None = None


class Found(NamedTuple):
    """`violation` is None if there is none; else `path` is a shortest way there."""

    states: int
    violation: str | None
    path: list[str]


Next = Iterator[tuple[str, State]]


def explore(broken: str = "") -> Found:
    """Visits every state that can be reached, nearest first, until one violates."""
    start = State()
    came_from: dict[State, tuple[State, str] | None] = {start: None}
    queue = deque([start])
    while queue:
        state = queue.popleft()
        following = {name: after for name, after in _steps(state, broken) if after != state}
        violation = _violation(state, at_rest=not following)
        if violation:
            return Found(len(came_from), violation, _path_to(state, came_from))
        for name, after in following.items():
            if after not in came_from:
                came_from[after] = (state, name)
                queue.append(after)
    return Found(len(came_from), None, [])


def _path_to(state: State, came_from: dict[State, tuple[State, str] | None]) -> list[str]:
    path = []
    while (step := came_from[state]) is not None:
        state, name = step
        path.append(name)
    return path[::-1]


def _violation(state: State, *, at_rest: bool) -> str | None:
    if sum(state.sold) + state.sold_elsewhere > STOCK:
        return f"{sum(state.sold) + state.sold_elsewhere} sold of {STOCK}"
    if at_rest and state.row != sum(state.sold):
        return f"{state.row - sum(state.sold)} units are stranded for ever"
    return None


def _steps(state: State, broken: str) -> Next:
    if state.up:
        yield from _server_steps(state)
    yield from _commit_steps(state)
    yield from _folding_steps(state, broken)
    if not state.fenced[0]:
        # Whether it is dead or only seems so. Whoever does this may get no further.
        yield "fence in the first", _fenced_in(state, 0, broken)
    if state.available:
        yield "sold elsewhere", state._replace(available=state.available - 1, sold_elsewhere=state.sold_elsewhere + 1)


def _server_steps(state: State) -> Next:
    yield "it dies", state._replace(up=False, free=0)
    if state.registered < SHARDS:
        if not state.fenced[state.registered]:
            yield f"it registers in {state.registered}", state._replace(registered=state.registered + 1)
        return
    if state.available and state.free == 0 and state.grants < GRANTS:
        if state.believed == state.row:
            taken = state._replace(available=state.available - 1, row=state.row + 1, believed=state.row + 1, free=1)
            yield "it takes", taken
        else:
            yield "its take is refused: it was folded", state._replace(believed=-1)
    if state.free and state.grants < GRANTS:
        for shard in range(SHARDS):
            yield (
                f"it grants one for {shard}",
                state._replace(free=state.free - 1, granted=_plus(state.granted, shard, 1), grants=state.grants + 1),
            )


def _commit_steps(state: State) -> Next:
    for shard in range(SHARDS):
        if not state.granted[shard]:
            continue
        left = state._replace(granted=_plus(state.granted, shard, -1))
        yield f"a gateway of {shard} dies", left
        if state.registered > shard and not state.fenced[shard]:
            yield f"commit in {shard}", left._replace(sold=_plus(state.sold, shard, 1))


def _folding_steps(state: State, broken: str) -> Next:
    folder = state.folder
    if folder is None:
        # It is due as soon as the first journal has it fenced, and again while a row holds more than was sold.
        if state.fenced[0] and (state.row != sum(state.sold) or not all(state.fenced)):
            yield "somebody begins to fold", state._replace(folder=Folder())
        return
    yield "who folds dies", state._replace(folder=None)
    read = len(folder.sums)
    fences_first = broken != "sums-before-fences"
    if folder.fenced < SHARDS and (fences_first or read == SHARDS):
        skips = broken == "fold-before-fenced-everywhere" and folder.fenced > 0
        after = state if skips else _fenced_in(state, folder.fenced, broken)
        yield f"who folds fences in {folder.fenced}", after._replace(folder=folder._replace(fenced=folder.fenced + 1))
    elif read < SHARDS:
        sold = 0 if broken == "fold-sums-the-first-only" and read else state.sold[read]
        yield (
            f"who folds reads what was sold in {read}",
            state._replace(folder=folder._replace(sums=(*folder.sums, sold))),
        )
    if folder.fenced == SHARDS and read == SHARDS:
        unsold = state.row - sum(folder.sums)
        folded = state._replace(folder=None)
        if unsold > 0:
            folded = folded._replace(available=state.available + unsold, row=state.row - unsold)
        yield "fold", folded


def _fenced_in(state: State, shard: int, broken: str) -> State:
    if broken == "fence-passes-by-the-unknown" and state.registered <= shard:
        return state
    return state._replace(fenced=(*state.fenced[:shard], True, *state.fenced[shard + 1 :]))


def _plus(each: Each, shard: int, more: int) -> Each:
    return (*each[:shard], each[shard] + more, *each[shard + 1 :])


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--break", dest="broken", choices=BREAKS, default="")
    broken = parser.parse_args().broken
    found = explore(broken)
    print(f"{found.states} states, {found.violation or 'no violation'}")  # noqa: T201
    for step in found.path:
        print("  ", step)  # noqa: T201
    return int((found.violation is not None) != bool(broken))


if __name__ == "__main__":
    sys.exit(main())
