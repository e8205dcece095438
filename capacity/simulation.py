"""A planned installation played through: stations with queues, driven by the same slopes, load raised step by step.

Orders go in waves, so many at a time that seconds of millions of orders a second are played within seconds. A station
takes everything that waits when it becomes free, as coalescers do. What an order costs there depends on how large
batches are, and these on how long orders are under way: that is taken from the play itself. So queues make batches
larger and orders cheaper, as they do in the real parts, until that does not help any more.
"""

import heapq
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from capacity.batching import drivers
from capacity.limits import JOURNALS
from capacity.load import Load
from capacity.planning import Plan
from capacity.slopes import Slopes
from capacity.stations import Station, Wave, in_turn, order_seconds, servers_for, stations_of

FACTORS = (0.5, 0.75, 1.0, 1.1, 1.2, 1.3, 1.4, 1.6, 1.8, 2.0, 2.5, 3.0, 4.0)
"""Of the planned load."""

SECONDS = 2.0
LEAST_WAVES = 20_000
WAVES_A_SERVER = 20
"""For each factor. A wave passes eight stations, and a hundred thousand waves take some seconds."""

SETTLING = 0.4
"""Share of the time after which it is counted."""

FEEDBACK_WAVES = 100
"""After so many answered waves it is looked anew at how large batches are."""

AT_WORK = 0.9
"""Share of the time: a server that works less and keeps orders long gets them in bursts."""

MEMORY = 0.05
"""Weight of what was seen since the look before. More of it makes batches swing: what is seen is what was."""


@dataclass(frozen=True)
class StationLoad:
    """`used`: share of the time that its servers worked; `busiest`: that of the one that worked most. `wait_s`: mean
    wait at the server where it is longest; `saturated`: that is longer than orders may gather, and not because they
    came in bursts from a station before.
    """

    name: str
    servers: int
    used: float
    busiest: float
    wait_s: float
    saturated: bool


@dataclass(frozen=True)
class Step:
    """`answered_per_s`: orders committed; `under_way_s`: how long that took an order."""

    factor: float
    offered_per_s: float
    answered_per_s: float
    under_way_s: float
    orders_per_group: float
    stations: tuple[StationLoad, ...]


@dataclass(frozen=True)
class Simulation:
    """Up to the first step in which a station is saturated."""

    steps: tuple[Step, ...]

    @property
    def first(self) -> StationLoad | None:
        """What saturated first; None if nothing did."""
        full = [station for station in self.steps[-1].stations if station.saturated]
        return max(full, key=lambda station: station.wait_s, default=None)


def simulate(planned: Plan, slopes: Slopes, seed: int, factors: Sequence[float] = FACTORS) -> Simulation:
    return Simulation(tuple(_until_saturated(planned, slopes, seed, factors)))


def _until_saturated(planned: Plan, slopes: Slopes, seed: int, factors: Sequence[float]) -> Iterator[Step]:
    for factor in factors:
        load = replace(planned.load, orders_per_s=planned.load.orders_per_s * factor)
        step = _Play(load, planned, slopes, random.Random(seed)).run(factor)  # noqa: S311 - a play, no secret
        yield step
        if any(station.saturated for station in step.stations):
            return


class _Play:
    def __init__(self, load: Load, planned: Plan, slopes: Slopes, chance: random.Random) -> None:
        counts = planned.counts
        self._load = load
        self._counts = counts
        self._slopes = slopes
        self._chance = chance
        waves = max(LEAST_WAVES, WAVES_A_SERVER * servers_for(counts))
        self._orders = max(1.0, load.orders_per_s * SECONDS / waves)
        self._hot = min(1.0, load.hottest_share * load.lines_per_order)
        self._gateway = in_turn(counts.gateways, chance)
        self._journal = in_turn(counts.journals, chance)
        self._partition = in_turn(counts.partitions, chance)
        self._stations = stations_of(planned, slopes, chance)
        self._answering = next(number for number, each in enumerate(self._stations) if each.name == JOURNALS)
        self._events: list[tuple[float, int, int, int, list[Wave]]] = []
        self._started = 0
        self._answered = 0
        self._waited_s = 0.0
        self._under_way_s = load.group_s
        self._look()

    def run(self, factor: float) -> Step:
        settles_at, answered_before = SETTLING * SECONDS, 0
        settled = False
        arrives_at = self._arrive(0.0)
        while arrives_at <= SECONDS:
            if not settled and arrives_at > settles_at:
                settled, answered_before = True, self._answered
                for station in self._stations:
                    station.forget()
            if self._events and self._events[0][0] <= arrives_at:
                self._finish(*heapq.heappop(self._events))
            else:
                arrives_at = self._arrive(arrives_at)
        counted_s = SECONDS - settles_at
        return Step(
            factor,
            self._load.orders_per_s,
            (self._answered - answered_before) * self._orders / counted_s,
            self._under_way_s,
            self._orders_per_group,
            tuple(self._load_of(station, counted_s) for station in self._stations),
        )

    def _arrive(self, now: float) -> float:
        """One wave comes; returns when the next does."""
        hot = self._chance.random() < self._hot
        wave = Wave(hot, next(self._gateway), next(self._journal), 0 if hot else next(self._partition))
        self._enter(now, 0, wave)
        return now + self._chance.expovariate(self._load.orders_per_s / self._orders)

    def _enter(self, now: float, number: int, wave: Wave) -> None:
        station = self._stations[number]
        server = station.choose(wave)
        wave.entered = now
        station.queues[server].append(wave)
        if not station.working[server]:
            self._start(now, number, server)

    def _start(self, now: float, number: int, server: int) -> None:
        """The server takes what waits, as much as goes into one batch."""
        station = self._stations[number]
        queue = station.queues[server]
        waves: list[Wave] = []
        while queue and (not waves or (len(waves) + 1) * self._orders <= station.most_orders):
            wave = queue.popleft()
            wave.waited_s += now - wave.entered
            station.waited_s[server] += now - wave.entered
            waves.append(wave)
        station.passed[server] += len(waves)
        work_s = len(waves) * self._orders * station.order_s
        station.busy_s[server] += work_s
        station.working[server] = True
        self._started += 1
        heapq.heappush(self._events, (now + max(work_s, station.least_s), self._started, number, server, waves))

    def _finish(self, now: float, _: int, number: int, server: int, waves: list[Wave]) -> None:
        station = self._stations[number]
        station.working[server] = False
        if station.queues[server]:
            self._start(now, number, server)
        if number == self._answering:
            self._answer(waves)
        if number + 1 < len(self._stations):
            for wave in waves:
                self._enter(now, number + 1, wave)

    def _answer(self, waves: list[Wave]) -> None:
        """An order is under way for as long as a lone one, and for what it waited."""
        for wave in waves:
            self._waited_s += wave.waited_s
            self._answered += 1
            if self._answered % FEEDBACK_WAVES == 0:
                under_way_s = self._slopes.lone_order_s + self._waited_s / FEEDBACK_WAVES
                self._under_way_s += MEMORY * (under_way_s - self._under_way_s)
                self._waited_s = 0.0
                self._look()

    def _look(self) -> None:
        """What an order costs at each station, with batches as they are now."""
        per_order = drivers(self._load, self._counts, self._slopes, self._under_way_s)
        self._orders_per_group = 1 / per_order.group
        seconds = order_seconds(self._load, self._slopes, per_order)
        for station in self._stations:
            station.order_s = seconds[station.name]

    def _load_of(self, station: Station, counted_s: float) -> StationLoad:
        wait_s = station.longest_wait_s(SECONDS)
        used = [min(1.0, busy_s / counted_s) for busy_s in station.busy_s]
        saturated = wait_s > self._load.group_s and max(used) > AT_WORK
        return StationLoad(station.name, len(used), sum(used) / len(used), max(used), wait_s, saturated)
