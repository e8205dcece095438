"""What is broken, when, and for how long: drawn from a seed, so that the same seed breaks the same things in the same
order.
"""

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tests.chaos.links import Link, Weather

AT_ONCE = (1, 1, 2)
"""Faults that overlap; drawn from these."""

DURATIONS_S = ((0.3, 2.0), (2.0, 6.0), (8.0, 14.0))
"""Below every time limit; about as long as they are; long enough that a stock server is taken for dead."""

SECOND_AFTER_S = 2.0
PAUSE_S = (0.5, 4.0)
"""Between faults; drawn from this range. Some strike what has not recovered yet."""

WHOLE_SIDE = 0.3
"""Share of link faults that disturb all links of the caller to servers of that role, not one."""


class Kill(NamedTuple):
    """kill -9, and the same process again after `for_s`."""

    process: str
    for_s: float

    def __str__(self) -> str:
        return f"kill -9 {self.process}, started again after {self.for_s:.1f} s"


class Freeze(NamedTuple):
    """kill -STOP, and -CONT after `for_s`."""

    process: str
    for_s: float

    def __str__(self) -> str:
        return f"kill -STOP {self.process} for {self.for_s:.1f} s"


class Disturb(NamedTuple):
    links: Sequence[Link]
    weather: Weather
    for_s: float

    def __str__(self) -> str:
        return f"{self.weather.value} for {self.for_s:.1f} s: {', '.join(map(str, self.links))}"


Fault = Kill | Freeze | Disturb


class Strike(NamedTuple):
    """Faults that overlap, each with the seconds after which it begins, and the pause that follows them all."""

    faults: Sequence[tuple[float, Fault]]
    pause_s: float


def strikes(seed: int, processes: Sequence[str], links: Sequence[Link]) -> Iterator[Strike]:
    """For ever."""
    chance = random.Random(seed)
    while True:
        faults: list[tuple[float, Fault]] = []
        for _ in range(chance.choice(AT_ONCE)):
            fault = _fault(chance, processes, links)
            if not any(_same_target(fault, other) for _, other in faults):
                faults.append((chance.uniform(0.0, SECOND_AFTER_S) if faults else 0.0, fault))
        yield Strike(faults, chance.uniform(*PAUSE_S))


def _fault(chance: random.Random, processes: Sequence[str], links: Sequence[Link]) -> Fault:
    for_s = chance.uniform(*chance.choice(DURATIONS_S))
    kind = chance.choice(("kill", "freeze", "disturb", "disturb"))
    if kind == "disturb":
        weather = chance.choice([weather for weather in Weather if weather is not Weather.CLEAR])
        return Disturb(_links(chance, links), weather, for_s)
    process = _one_of_a_role(chance, processes)
    return Kill(process, min(for_s, DURATIONS_S[1][1])) if kind == "kill" else Freeze(process, for_s)


def _one_of_a_role(chance: random.Random, names: Sequence[str]) -> str:
    """Roles are equally likely, however many processes each has."""
    role = chance.choice(sorted({role_of(name) for name in names}))
    return chance.choice([name for name in names if role_of(name) == role])


def _links(chance: random.Random, links: Sequence[Link]) -> list[Link]:
    kind = chance.choice(sorted({_roles(link) for link in links}))
    one = chance.choice([link for link in links if _roles(link) == kind])
    if chance.random() >= WHOLE_SIDE:
        return [one]
    return [link for link in links if _roles(link) == kind and link.caller == one.caller]


def _roles(link: Link) -> tuple[str, str]:
    return role_of(link.caller), role_of(link.server)


def role_of(name: str) -> str:
    """`stockd` of `stockd-1`."""
    return name.rstrip("0123456789").rstrip("-")


def _same_target(one: Fault, other: Fault) -> bool:
    if isinstance(one, Disturb) or isinstance(other, Disturb):
        return isinstance(one, Disturb) and isinstance(other, Disturb) and bool({*one.links} & {*other.links})
    return one.process == other.process
