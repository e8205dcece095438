"""Overload is a queue that does not go away: then the calls that are too many are refused, and nobody else. A crowd is
served, up to the number that a gateway has memory for.
"""

from hypothesis import given
from hypothesis import strategies as st

from gateway.admission import BEST_RATE_FADES_S, MEMORY_S, MIN_WAITING, Admission

LOOK_S = 0.01
MAX_WAIT_S = 0.05
CROWD_S = 2.0
MAX_CROWD = 3_000


class Gateway:
    """Takes up `rate` calls a second, and has an admission that looks at it."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.admission = Admission(max_wait_s=MAX_WAIT_S, crowd_s=CROWD_S, max_crowd=MAX_CROWD)
        self.now = 1_000.0
        self._let_in = 0

    def wait(self, seconds: float, pending: int) -> None:
        """With so many calls waiting all the while."""
        for _ in range(round(seconds / LOOK_S)):
            self.now += LOOK_S
            self._let_in += round(self.rate * LOOK_S)
            self.admission.look(self.now, self._let_in, pending)

    @property
    def room(self) -> int:
        return self.admission.room(self.now)


def test_a_crowd_that_is_served_in_time_is_no_overload() -> None:
    gateway = Gateway(rate=1_000)
    gateway.wait(CROWD_S - 2 * LOOK_S, pending=2_000)
    gateway.wait(LOOK_S, pending=0)
    gateway.wait(CROWD_S - 2 * LOOK_S, pending=2_000)
    assert gateway.room == MAX_CROWD


def test_a_crowd_has_room_for_so_many_and_no_more() -> None:
    gateway = Gateway(rate=1_000)
    for _ in range(200):
        gateway.admission.__enter__()
    assert gateway.room == MAX_CROWD - 200
    for _ in range(MAX_CROWD):
        gateway.admission.__enter__()
    assert gateway.room == 0


def test_of_a_queue_that_stays_too_long_there_is_room_for_as_many_as_may_wait() -> None:
    gateway = Gateway(rate=1_000)
    gateway.wait(CROWD_S + 2 * LOOK_S, pending=1_000)
    assert gateway.room == MIN_WAITING


def test_a_fast_gateway_lets_as_many_wait_as_it_takes_up_in_the_longest_wait() -> None:
    gateway = Gateway(rate=20_000)
    gateway.wait(20.0, pending=0)
    assert abs(gateway.admission.max_waiting - 20_000 * MAX_WAIT_S) < 20
    gateway.wait(CROWD_S + 2 * LOOK_S, pending=1_500)
    assert abs(gateway.room - 20_000 * MAX_WAIT_S) < 20


def test_a_gateway_that_is_slow_for_a_while_lets_as_many_wait_as_before_so_that_it_can_be_fast_again() -> None:
    gateway = Gateway(rate=20_000)
    gateway.wait(20.0, pending=0)
    gateway.rate = 2_000
    gateway.wait(BEST_RATE_FADES_S / 10, pending=0)
    assert gateway.admission.max_waiting > 0.9 * 20_000 * MAX_WAIT_S
    gateway.wait(3 * BEST_RATE_FADES_S, pending=0)
    assert gateway.admission.max_waiting == MIN_WAITING


def test_whoever_was_overloaded_lately_is_at_once_when_the_queue_is_too_long_again() -> None:
    gateway = Gateway(rate=1_000)
    gateway.wait(CROWD_S + 2 * LOOK_S, pending=1_000)
    gateway.wait(MEMORY_S / 2, pending=0)
    assert gateway.room == MIN_WAITING


def test_a_queue_that_is_short_because_others_are_refused_is_still_overload() -> None:
    gateway = Gateway(rate=1_000)
    gateway.wait(CROWD_S + 2 * LOOK_S, pending=1_000)
    for _ in range(round(10 * MEMORY_S / LOOK_S)):
        gateway.admission.refused()
        gateway.wait(LOOK_S, pending=MIN_WAITING)
    assert gateway.room == MIN_WAITING


def test_overload_is_forgotten_although_nobody_looks() -> None:
    gateway = Gateway(rate=1_000)
    gateway.wait(CROWD_S + 2 * LOOK_S, pending=1_000)
    gateway.wait(LOOK_S, pending=0)
    gateway.now += MEMORY_S
    assert gateway.room == MAX_CROWD
    gateway.wait(LOOK_S, pending=1_000)
    assert gateway.room == MAX_CROWD


def test_calls_that_are_being_decided_wait_too() -> None:
    gateway = Gateway(rate=1_000)
    for _ in range(MIN_WAITING - 10):
        gateway.admission.__enter__()
    gateway.wait(CROWD_S + 2 * LOOK_S, pending=11)
    assert gateway.room == 10
    for _ in range(MIN_WAITING - 10):
        gateway.admission.__exit__(None, None, None)
    assert gateway.room == MIN_WAITING


looks = st.lists(
    st.tuples(st.floats(0.0, 3.0), st.integers(0, 50_000), st.integers(0, MAX_CROWD), st.booleans()), max_size=60
)


@given(looks)
def test_whatever_is_seen_as_many_may_wait_as_are_served_in_time_and_in_the_beginning_a_crowd(
    history: list[tuple[float, int, int, bool]],
) -> None:
    admission = Admission(max_wait_s=MAX_WAIT_S, crowd_s=CROWD_S, max_crowd=MAX_CROWD)
    now, let_in = 0.0, 0
    for passed, taken_up, pending, refused in history:
        now += passed
        let_in += taken_up
        if refused:
            admission.refused()
        admission.look(now, let_in, pending)
        assert admission.room(now) in (MAX_CROWD, admission.max_waiting)
        if now < CROWD_S:
            assert admission.room(now) == MAX_CROWD


@given(st.integers(1_000, 30_000), st.integers(2, 40), st.integers(1, 4))
def test_under_lasting_overload_the_queue_stays_as_short_as_promised(rate: int, offered_tenths: int, cost: int) -> None:
    """A gateway that refuses `10 * cost` calls in the time of one acceptance is offered more than it can serve."""
    admission = Admission(max_wait_s=MAX_WAIT_S, crowd_s=CROWD_S, max_crowd=MAX_CROWD)
    arriving = rate * (1 + offered_tenths / 10)
    refusals_for_one = 10 * cost
    pending, budget, now = 0.0, 0.0, 0.0
    let_in = 0
    settled = CROWD_S + 4.0
    while now < settled + 1.0:
        now += LOOK_S
        pending += arriving * LOOK_S
        budget += rate * LOOK_S
        while budget > 0 and pending >= 1:
            if pending > admission.room(now):
                admission.refused()
                budget -= 1 / refusals_for_one
            else:
                let_in += 1
                budget -= 1
            pending -= 1
        admission.look(now, let_in, int(pending))
        if now > settled:
            assert pending <= admission.max_waiting + 2 * arriving * LOOK_S + 1
