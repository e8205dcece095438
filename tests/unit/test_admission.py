"""Overload is a queue that does not go away: then the calls that are too many are refused, and nobody else."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.admission import MEMORY_S, MIN_WAITING, Admission

LOOK_S = 0.01
MAX_WAIT_S = 0.05
CROWD_S = 2.0


class Gateway:
    """Takes up `rate` calls a second, and has an admission that looks at it."""

    def __init__(self, rate: int) -> None:
        self.admission = Admission(max_wait_s=MAX_WAIT_S, crowd_s=CROWD_S)
        self.now = 1_000.0
        self._a_look = round(rate * LOOK_S)
        self._begun = 0

    def wait(self, seconds: float, pending: int) -> None:
        """With so many calls waiting all the while."""
        for _ in range(round(seconds / LOOK_S)):
            self.now += LOOK_S
            self._begun += self._a_look
            self.admission.look(self.now, self._begun, pending)

    def refused_of(self, calls: int) -> int:
        return sum(self.admission.refuses() for _ in range(calls))


def test_a_crowd_that_is_served_in_time_is_no_overload() -> None:
    gateway = Gateway(rate=1_000)
    gateway.wait(CROWD_S - 2 * LOOK_S, pending=5_000)
    gateway.wait(LOOK_S, pending=0)
    gateway.wait(CROWD_S - 2 * LOOK_S, pending=5_000)
    assert gateway.refused_of(5_000) == 0


def test_of_a_queue_that_stays_too_long_as_many_are_refused_as_are_too_many() -> None:
    gateway = Gateway(rate=1_000)
    gateway.wait(CROWD_S + 2 * LOOK_S, pending=1_000)
    assert gateway.refused_of(1_000) == 1_000 - MIN_WAITING


def test_a_fast_gateway_lets_as_many_wait_as_it_takes_up_in_the_longest_wait() -> None:
    gateway = Gateway(rate=20_000)
    gateway.wait(20.0, pending=0)
    assert abs(gateway.admission.max_waiting - 20_000 * MAX_WAIT_S) < 20
    gateway.wait(CROWD_S + 2 * LOOK_S, pending=1_500)
    assert abs(gateway.refused_of(1_500) - 500) < 20


def test_whoever_was_overloaded_lately_is_at_once_when_the_queue_is_too_long_again() -> None:
    gateway = Gateway(rate=1_000)
    gateway.wait(CROWD_S + 2 * LOOK_S, pending=1_000)
    gateway.wait(MEMORY_S / 2, pending=0)
    assert gateway.refused_of(100) == 0
    gateway.wait(LOOK_S, pending=1_000)
    assert gateway.refused_of(1_000) == 1_000 - MIN_WAITING


def test_who_is_refused_does_not_make_the_queue_that_may_wait_longer() -> None:
    gateway = Gateway(rate=40_000)
    gateway.wait(CROWD_S + 2 * LOOK_S, pending=50_000)
    for _ in range(1_000):
        assert gateway.refused_of(200) == 200, "half of those that are taken up between two looks"
        gateway.wait(LOOK_S, pending=50_000)
    assert abs(gateway.admission.max_waiting - 20_000 * MAX_WAIT_S) < 40


def test_overload_is_forgotten() -> None:
    gateway = Gateway(rate=1_000)
    gateway.wait(CROWD_S + 2 * LOOK_S, pending=1_000)
    gateway.wait(MEMORY_S + LOOK_S, pending=0)
    gateway.wait(LOOK_S, pending=1_000)
    assert gateway.refused_of(1_000) == 0


def test_calls_that_are_being_decided_wait_too_but_only_those_not_taken_up_can_be_refused() -> None:
    gateway = Gateway(rate=1_000)
    for _ in range(MIN_WAITING):
        gateway.admission.__enter__()
    gateway.wait(CROWD_S + 2 * LOOK_S, pending=10)
    assert gateway.refused_of(100) == 10
    for _ in range(MIN_WAITING):
        gateway.admission.__exit__(None, None, None)
    gateway.wait(LOOK_S, pending=10)
    assert gateway.refused_of(100) == 0


looks = st.lists(
    st.tuples(st.floats(0.0, 3.0), st.integers(0, 50_000), st.integers(0, 100_000), st.integers(0, 2_000)), max_size=60
)


@given(looks)
def test_whatever_is_seen_nobody_is_refused_who_fits_and_no_more_than_wait(
    history: list[tuple[float, int, int, int]],
) -> None:
    admission = Admission(max_wait_s=MAX_WAIT_S, crowd_s=CROWD_S)
    now, begun = 0.0, 0
    for passed, taken_up, pending, asked in history:
        now += passed
        begun += taken_up
        admission.look(now, begun, pending)
        most = admission.max_waiting
        refused = sum(admission.refuses() for _ in range(asked))
        assert refused <= max(0, pending - most)
        if now < CROWD_S:
            assert refused == 0


@given(st.integers(100, 30_000), st.integers(2, 40), st.integers(1, 4))
def test_under_lasting_overload_the_queue_stays_as_short_as_promised(rate: int, offered_tenths: int, cost: int) -> None:
    """A gateway that refuses `10 * cost` calls in the time of one acceptance is offered more than it can serve."""
    admission = Admission(max_wait_s=MAX_WAIT_S, crowd_s=CROWD_S)
    arriving = rate * (1 + offered_tenths / 10)
    refusals_for_one = 10 * cost
    pending, budget, now = 0.0, 0.0, 0.0
    begun = 0
    settled = CROWD_S + 4.0
    while now < settled + 1.0:
        now += LOOK_S
        pending += arriving * LOOK_S
        budget += rate * LOOK_S
        while budget > 0 and pending >= 1:
            refused = admission.refuses()
            budget -= 1 / refusals_for_one if refused else 1
            begun += 1
            pending -= 1
        admission.look(now, begun, int(pending))
        if now > settled:
            assert pending <= 2 * admission.max_waiting + 2 * arriving * LOOK_S
