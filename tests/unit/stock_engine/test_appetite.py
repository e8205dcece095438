"""How much is taken ahead, and the short cut that spares a busy server the reckoning of it."""

from hypothesis import given
from hypothesis import strategies as st

from stockd import appetite

RATES = st.floats(0, 1e6)
HORIZONS = st.floats(appetite.AHEAD_S, appetite.LONGEST_AHEAD_S)
UNITS = st.integers(0, 10**7)


@given(free=UNITS, rate_per_s=RATES, horizon_s=HORIZONS, available=UNITS, owners=st.integers(1, 16))
def test_who_has_enough_would_not_refill_whatever_the_ledger_has(
    free: int, rate_per_s: float, horizon_s: float, available: int, owners: int
) -> None:
    if appetite.suffices(free, rate_per_s, horizon_s):
        assert not appetite.wants_refill(free, appetite.ahead(rate_per_s, horizon_s, available, owners))


@given(rate_per_s=RATES, horizon_s=HORIZONS, owners=st.integers(1, 16))
def test_a_full_escrow_has_enough_until_half_of_it_is_sold(rate_per_s: float, horizon_s: float, owners: int) -> None:
    full = appetite.ahead(rate_per_s, horizon_s, 10**12, owners)
    assert appetite.suffices(full + 1, rate_per_s, horizon_s)
    assert not appetite.suffices(full // 2 - 1, rate_per_s, horizon_s)
