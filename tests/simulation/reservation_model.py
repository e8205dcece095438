"""Exhaustive model of the reservation protocol (design, sections 3.1 and 3.3): one SKU, every interleaving.

Actors: a stockd name with up to `incarnations` starts (an older start may be a zombie that still runs), gateways that
may die between any two steps, clients that retry the same order, a canceller, a stock store whose writes may be applied
late or be resent, a journal whose commits may succeed without the answer arriving. An incarnation takes units one by
one and may give all that it has not granted back at any moment.

Ledger writes are guarded by the whole row, units and version, as `sluice.seams.stock_store.Row` says.

Run: python -m tests.simulation.reservation_model [--small | --long] [--break NAME]
NAME is one of BREAKS: the model must then find a violation, which shows that it can. Exit status 0: as it should be.

Safety in every state: sold <= restocked; no order twice; ledger conservation.
When nothing more can happen: every unit that was not sold is available or in the escrow of the living incarnation.
"""

import argparse
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple, TypeVar

from sluice.seams.stock_store import Row

BREAKS = {
    "no-fence-check": "the journal commits for a fenced incarnation",
    "no-unique-seq": "a reservation may be committed although it has a row",
    "fold-before-fence": "a successor folds rows of an incarnation that can still sell",
    "resend-blind": "after an unknown outcome the write is made anew from what the row holds now",
    "void-without-read": "stockd frees a reservation after its grace without asking the journal",
    "settle-trusts-gateway": "stockd believes a gateway instead of the journal's row",
    "fold-moves-to-total": "a fold deletes the row and adds what was sold to a total",
    "no-self-audit": "stockd never looks for writes that it had given up and that landed",
    "fold-skips-rowless": "a fold passes by incarnations that have no ledger row, to which units may have come back",
    "units-only-guard": "ledger writes are guarded by the units of the row without its version",
}


class Bounds(NamedTuple):
    """How large the world is. `late`: copies of writes on the wire at once. `writes`: new ledger writes of each
    incarnation; without a bound an idle one could take and give back for ever.
    """

    stock: int
    orders: int
    incarnations: int
    reservations: int
    late: int
    writes: int


# 9.9 million states, some minutes and gigabytes. SMALL has one reservation an incarnation, and shows every break too.
FULL = Bounds(stock=2, orders=2, incarnations=2, reservations=2, late=1, writes=3)
SMALL = Bounds(stock=2, orders=2, incarnations=2, reservations=1, late=1, writes=3)
# One unit through three starts: it is sold by the first, comes back to the second, which never took any, and dies.
LONG = Bounds(stock=1, orders=1, incarnations=3, reservations=1, late=1, writes=2)


class Take(NamedTuple):
    """A conditional write: `units` units into incarnation `by`'s row if that is `before`. Negative: gives back."""

    by: int
    before: Row | None
    units: int


class Open(NamedTuple):
    """A reservation that was granted and is not settled. Negative units: a return."""

    seq: int
    units: int


class Stockd(NamedTuple):
    up: bool = False  # runs, maybe as a zombie
    row: Row | None = None  # what it believes its ledger row to be
    free: int = 0  # escrow it may still grant
    seq: int = 0  # last reservation number
    open: tuple[Open, ...] = ()
    unresolved: Take | None = None  # a write of which it does not know the outcome
    writes: int = 0
    recovered: bool = False  # has folded its predecessors


Key = tuple[int, int]
"""(incarnation, seq)"""


class Step(NamedTuple):
    """What a gateway is about to commit for an order."""

    what: Literal["held", "cancel"]
    key: Key


Sold = Key | Literal["cancelled"] | None


class State(NamedTuple):
    available: int
    rows: tuple[Row | None, ...]  # of each incarnation, in the ledger
    folded: int  # only used by the variant fold-moves-to-total
    late: tuple[Take, ...]  # copies of conditional writes on the wire
    fenced: frozenset[int]
    spends: frozenset[tuple[Key, int]]
    orders: tuple[Sold, ...]
    work: tuple[Step | None, ...]  # per order: the step its gateway is at
    stockds: tuple[Stockd, ...]
    told: tuple[int, ...]  # per order: how often it was sold, to catch doubles


class Found(NamedTuple):
    """`violation` is None if there is none; else `path` is a shortest way there."""

    states: int
    violation: str | None
    path: list[str]


Next = Iterator[tuple[str, State]]
Item = TypeVar("Item")


def explore(bounds: Bounds, broken: str = "") -> Found:
    """Visits every state that can be reached, nearest first, until one violates."""
    start = _initial(bounds)
    came_from: dict[State, tuple[State, str] | None] = {start: None}
    queue = deque([start])
    while queue:
        state = queue.popleft()
        violation = _violation(state, bounds, broken)
        if violation:
            return Found(len(came_from), violation, _path_to(state, came_from))
        for name, following in _steps(state, bounds, broken):
            if following not in came_from:
                came_from[following] = (state, name)
                queue.append(following)
    return Found(len(came_from), None, [])


def _initial(bounds: Bounds) -> State:
    stockds = tuple(Stockd(up=number == 0, recovered=number == 0) for number in range(bounds.incarnations))
    no_rows = (None,) * bounds.incarnations
    no_orders = (None,) * bounds.orders
    return State(
        bounds.stock, no_rows, 0, (), frozenset(), frozenset(), no_orders, no_orders, stockds, (0,) * bounds.orders
    )


def _path_to(state: State, came_from: dict[State, tuple[State, str] | None]) -> list[str]:
    path = []
    while (step := came_from[state]) is not None:
        state, name = step
        path.append(name)
    return path[::-1]


def _steps(state: State, bounds: Bounds, broken: str) -> Next:
    """Every state that can follow, with the step's name."""
    for number, stockd in enumerate(state.stockds):
        if stockd.up:
            yield from _ledger_steps(state, number, bounds, broken)
            yield from _grace_steps(state, number, broken)
            yield from _recovery_steps(state, number, broken)
            gone = Stockd(seq=stockd.seq, writes=stockd.writes, recovered=stockd.recovered)
            yield f"crash {number}", _with(state, number, gone)
        elif number > 0 and stockd == Stockd():
            before = number - 1
            if state.stockds[before].seq or state.rows[before] is not None:
                yield f"start {number} (older may still run)", _with(state, number, Stockd(up=True))
    yield from _late_steps(state, broken)
    for order, step in enumerate(state.work):
        if step is None:
            yield from _reserve_steps(state, order, bounds)
        else:
            yield from _commit_steps(state, order, step, broken)


def _ledger_steps(state: State, number: int, bounds: Bounds, broken: str) -> Next:
    """One conditional write in flight; it is sent again unchanged until its outcome is known."""
    stockd = state.stockds[number]
    if stockd.unresolved is not None:
        yield from _resend_steps(state, number, broken)
        return
    if stockd.recovered and stockd.writes < bounds.writes:
        if stockd.free == 0:
            yield f"take-sent {number}", _sent(state, Take(number, stockd.row, 1), bounds)
        else:
            yield f"give-back-sent {number}", _sent(state, Take(number, stockd.row, -stockd.free), bounds)
    row = state.rows[number]
    if row is not None and row.units > _units(stockd.row) and broken != "no-self-audit":
        adopted = stockd._replace(row=row, free=stockd.free + row.units - _units(stockd.row))
        yield f"self-audit {number}", _with(state, number, adopted)


def _sent(state: State, take: Take, bounds: Bounds) -> State:
    """Units on their way back are not free: nobody may be granted them. With a full wire the first copy is lost."""
    stockd = state.stockds[take.by]
    waiting = stockd._replace(free=0, unresolved=take, writes=stockd.writes + 1)
    late = (*state.late, take) if len(state.late) < bounds.late else state.late
    return _with(state, take.by, waiting)._replace(late=late)


def _resend_steps(state: State, number: int, broken: str) -> Next:
    """It never hears of the first copy; this one is answered."""
    stockd = state.stockds[number]
    take = stockd.unresolved
    assert take is not None
    name = "take" if take.units > 0 else "give-back"
    row = state.rows[number]
    wanted = _after(take)
    known = stockd._replace(unresolved=None, row=wanted, free=stockd.free + max(take.units, 0))
    if _guard_holds(state, take, broken):
        yield f"{name}-resent-applied {number}", _with(_applied(state, take, broken), number, known)
    elif row == wanted or (broken == "units-only-guard" and _units_or_none(row) == wanted.units):
        if broken == "resend-blind" and take.units > 0:
            again = Take(number, row, take.units)
            if _guard_holds(state, again, broken):
                twice = known._replace(row=_after(again))
                yield f"{name}-again {number}", _with(_applied(state, again, broken), number, twice)
        else:
            yield f"{name}-was-applied {number}", _with(state, number, known)
    elif _units(row) < _units(take.before):
        stopped = Stockd(seq=stockd.seq, writes=stockd.writes, recovered=stockd.recovered)
        yield f"{number} finds its row folded and stops", _with(state, number, stopped)
    else:
        refused = stockd._replace(unresolved=None, free=stockd.free + max(-take.units, 0))
        yield f"{name}-refused {number}", _with(state, number, refused)


def _late_steps(state: State, broken: str) -> Next:
    """The store applies a write late, or it was lost."""
    for place, take in enumerate(state.late):
        rest = state._replace(late=state.late[:place] + state.late[place + 1 :])
        if _guard_holds(state, take, broken):
            yield f"late-applied {take.by} {take.units:+}", _applied(rest, take, broken)
        yield f"late-lost {take.by}", rest


def _grace_steps(state: State, number: int, broken: str) -> Next:
    """The grace is over and nobody settled: the journal's row decides, and an empty one is written if there is none."""
    stockd = state.stockds[number]
    for reservation in stockd.open:
        seq, units = reservation
        spent = _spend_of(state, (number, seq))
        rest = tuple(other for other in stockd.open if other.seq != seq)
        freed = stockd._replace(open=rest, free=stockd.free + max(units, 0))
        if broken == "void-without-read":
            yield f"void {number}.{seq}", _with(state, number, freed)
        elif spent is None:
            spends = state.spends | {((number, seq), 0)}
            yield f"void {number}.{seq}", _with(state, number, freed)._replace(spends=spends)
        else:
            yield f"settled {number}.{seq}", _with(state, number, freed._replace(free=freed.free - spent))


def _recovery_steps(state: State, number: int, broken: str) -> Next:
    """Fence, then fold all earlier incarnations; fold again what a zombie's late write strands."""
    stockd = state.stockds[number]
    earlier = range(number)
    if not stockd.recovered:
        for each in earlier:
            if each not in state.fenced and broken != "fold-before-fence":
                yield f"fence {each}", state._replace(fenced=state.fenced | {each})
        if broken == "fold-before-fence" or all(each in state.fenced for each in earlier):
            folded = _fold_all(state, earlier, broken)
            yield f"fold by {number}", _with(folded, number, stockd._replace(recovered=True))
    elif any(each in state.fenced and _is_stranding(state, each, broken) for each in earlier):
        yield f"sweep by {number}", _fold_all(state, earlier, broken)


def _fold_all(state: State, earlier: Iterable[int], broken: str) -> State:
    for each in earlier:
        row = state.rows[each]
        sold = _spent(state, each)
        if row is None and broken == "fold-skips-rowless":
            continue
        rest = state.available + _units(row) - sold
        if broken == "fold-moves-to-total":
            state = state._replace(available=rest, folded=state.folded + sold, rows=_put(state.rows, each, None))
        elif _units(row) != sold:
            folded = Row(sold, (row.version if row else 0) + 1)
            state = state._replace(available=rest, rows=_put(state.rows, each, folded))
    return state


def _reserve_steps(state: State, order: int, bounds: Bounds) -> Next:
    """Any gateway reserves for the order, perhaps because its client tries again; or cancels it by a reservation of
    negative quantity.
    """
    sold = state.orders[order]
    for number, stockd in enumerate(state.stockds):
        if not (stockd.up and stockd.recovered and stockd.seq < bounds.reservations):
            continue
        seq = stockd.seq + 1
        numbered = stockd._replace(seq=seq)
        if sold is None and stockd.free > 0:
            granted = numbered._replace(free=stockd.free - 1, open=(*stockd.open, Open(seq, 1)))
            work = _put(state.work, order, Step("held", (number, seq)))
            yield f"reserve {order} from {number}", _with(state, number, granted)._replace(work=work)
        elif isinstance(sold, tuple):
            granted = numbered._replace(open=(*stockd.open, Open(seq, -1)))
            work = _put(state.work, order, Step("cancel", (number, seq)))
            yield f"cancel {order} via {number}", _with(state, number, granted)._replace(work=work)


def _commit_steps(state: State, order: int, step: Step, broken: str) -> Next:
    what, key = step
    number, seq = key
    idle = state._replace(work=_put(state.work, order, None))
    yield f"gateway of {order} dies", idle
    fenced = number in state.fenced and broken != "no-fence-check"
    closed = _spend_of(state, key) is not None and broken != "no-unique-seq"
    if fenced or closed:
        yield f"commit {what} {order} refused or already done", idle
        return
    committed = _committed(state, order, step)
    yield f"commit {what} {order}", committed  # the answer may be lost: it tries again and sees the conflict
    stockd = state.stockds[number]
    if broken == "settle-trusts-gateway" and stockd.up:
        rest = tuple(other for other in stockd.open if other.seq != seq)
        unsold = stockd._replace(free=stockd.free + 1, open=rest)
        yield f"settle {number}.{seq} as unsold", _with(committed, number, unsold)


def _committed(state: State, order: int, step: Step) -> State:
    what, key = step
    sold = state.orders[order]
    if what == "held" and sold is None:
        return state._replace(
            orders=_put(state.orders, order, key),
            spends=state.spends | {(key, 1)},
            told=_put(state.told, order, state.told[order] + 1),
        )
    if what == "cancel" and isinstance(sold, tuple):
        return state._replace(
            orders=_put(state.orders, order, "cancelled"),
            spends=state.spends | {(key, -1)},
            told=_put(state.told, order, state.told[order] - 1),
        )
    return state._replace(spends=state.spends | {(key, 0)})  # somebody else was first: nothing of this is sold


def _violation(state: State, bounds: Bounds, broken: str) -> str | None:
    sold = sum(isinstance(order, tuple) for order in state.orders)
    if sold > bounds.stock:
        return f"sold {sold} of {bounds.stock}"
    if any(times > 1 for times in state.told):
        return "an order was sold twice"
    if state.available < 0:
        return "available is negative"
    if state.available + state.folded + sum(_units(row) for row in state.rows) != bounds.stock:
        return "ledger conservation"
    if _is_quiet(state, broken):
        escrow = sum(stockd.free for stockd in state.stockds)
        if state.available + escrow + sold != bounds.stock:
            return f"units lost or made: available {state.available}, escrow {escrow}, sold {sold}"
    return None


def _is_quiet(state: State, broken: str) -> bool:
    """One living, recovered incarnation, the latest; nobody in between, nothing on the wire, nothing to sweep."""
    living = [number for number, stockd in enumerate(state.stockds) if stockd.up]
    if len(living) != 1 or state.late or any(state.work):
        return False
    (number,) = living
    stockd = state.stockds[number]
    if number in state.fenced or not stockd.recovered or stockd.open or stockd.unresolved:
        return False
    if _units(state.rows[number]) > _units(stockd.row) and broken != "no-self-audit":
        return False
    if any(_units(row) for row in state.rows[number + 1 :]):
        return False
    return not any(_is_stranding(state, each, broken) for each in range(number))


def _guard_holds(state: State, take: Take, broken: str) -> bool:
    row = state.rows[take.by]
    if state.available < take.units:
        return False
    if broken == "units-only-guard":
        return _units_or_none(row) == _units_or_none(take.before)
    return row == take.before


def _applied(state: State, take: Take, broken: str) -> State:
    row = _after(take)
    if broken == "units-only-guard":
        row = row._replace(version=0)  # there is none
    return state._replace(available=state.available - take.units, rows=_put(state.rows, take.by, row))


def _after(take: Take) -> Row:
    return Row(
        _units(take.before) + take.units,
        (take.before.version if take.before else 0) + 1,
    )


def _is_stranding(state: State, number: int, broken: str) -> bool:
    row = state.rows[number]
    if row is None and broken == "fold-skips-rowless":
        return False
    return _units(row) != _spent(state, number)


def _spent(state: State, number: int) -> int:
    return sum(units for (incarnation, _), units in state.spends if incarnation == number)


def _spend_of(state: State, key: Key) -> int | None:
    return next((units for spent_key, units in state.spends if spent_key == key), None)


def _units(row: Row | None) -> int:
    return row.units if row else 0


def _units_or_none(row: Row | None) -> int | None:
    return row.units if row else None


def _with(state: State, number: int, stockd: Stockd) -> State:
    return state._replace(stockds=_put(state.stockds, number, stockd))


def _put(items: tuple[Item, ...], place: int, item: Item) -> tuple[Item, ...]:
    return (*items[:place], item, *items[place + 1 :])


def main() -> int:
    parser = argparse.ArgumentParser(description="Visits every state of the reservation protocol.")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--small", dest="bounds", action="store_const", const=SMALL, help="the bounds of the test run")
    sizes.add_argument("--long", dest="bounds", action="store_const", const=LONG, help="few units, three starts")
    parser.add_argument("--break", dest="broken", choices=BREAKS, default="", help="leave a rule out")
    arguments = parser.parse_args()
    found = explore(arguments.bounds or FULL, arguments.broken)
    verdict = f"VIOLATION: {found.violation}" if found.violation else "no violation"
    sys.stdout.write(f"{found.states} states, {verdict}\n")
    sys.stdout.writelines(f"  {step}\n" for step in found.path)
    return int((found.violation is not None) != bool(arguments.broken))


if __name__ == "__main__":
    sys.exit(main())
