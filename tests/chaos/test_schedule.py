"""The same seed breaks the same things in the same order."""

from itertools import islice
from pathlib import Path

from tests.chaos.faults import Disturb, strikes
from tests.chaos.links import Link, Weather
from tests.chaos.system import doors, links, specification

SPEC = specification(Path("unused"))
PROCESSES = [name for role in ("cassandra", "stockd", "gateway", "relay", "consume") for name in SPEC.names(role)] + [
    "postgres",
    "kafka",
]


def test_a_seed_stands_for_its_faults() -> None:
    first, again, other = (list(islice(strikes(seed, PROCESSES, links(SPEC)), 50)) for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_in_time_every_process_and_every_link_is_struck_in_every_way() -> None:
    faults = [fault for strike in islice(strikes(1, PROCESSES, links(SPEC)), 5_000) for _, fault in strike.faults]
    disturbed = [fault for fault in faults if isinstance(fault, Disturb)]
    assert {(type(fault).__name__, fault.process) for fault in faults if not isinstance(fault, Disturb)} == {
        (kind, process) for kind in ("Kill", "Freeze") for process in PROCESSES
    }
    assert {(link, fault.weather) for fault in disturbed for link in fault.links} == {
        (link, weather) for link in links(SPEC) for weather in Weather if weather is not Weather.CLEAR
    }


def test_one_or_two_faults_at_a_time_and_never_two_of_one_target() -> None:
    for strike in islice(strikes(3, PROCESSES, links(SPEC)), 2_000):
        targets: list[Link | str] = [
            link for _, fault in strike.faults if isinstance(fault, Disturb) for link in fault.links
        ]
        targets += [fault.process for _, fault in strike.faults if not isinstance(fault, Disturb)]
        assert 1 <= len(strike.faults) <= 2
        assert len(targets) == len(set(targets))


def test_every_pair_of_parts_that_talk_has_a_link_of_its_own() -> None:
    ports = dict.fromkeys([*PROCESSES, "cassandra-storage", "cassandra"], 1)
    assert len(set(links(SPEC))) == len(links(SPEC))
    assert {door.server for door in doors(SPEC, ports)} == {
        name for name in PROCESSES if not name.startswith(("relay", "consume"))
    }
