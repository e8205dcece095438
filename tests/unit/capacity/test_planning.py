"""A plan suffices, says what decided it, and refuses what cannot be carried."""

from dataclasses import asdict, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capacity.batching import Counts, drivers
from capacity.dividing import best, divide, divisions
from capacity.limits import CONSUMERS, GATEWAYS, JOURNALS, NODES, OWNERS, PARTITIONS, STOCKDS
from capacity.load import BadLoad, Load, Policy, of_one_installation
from capacity.planning import plan
from capacity.slopes import PARTS, Slopes
from tests.unit.capacity.made_up import SLOPES, dear


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("orders_per_s", 0),
        ("orders_per_s", float("nan")),
        ("lines_per_order", 0),
        ("lines_per_order", 65),
        ("skus", 0),
        ("hottest_share", 0),
        ("hottest_share", 1.1),
        ("stream_batch", -1),
        ("stream_batch", 5_001),
        ("headroom", 1.0),
        ("group_s", 0),
        ("peak_hours", 25),
        ("journal_days", -1),
        ("log_copies", 0),
        ("cores", 0),
        ("disk_gb", float("inf")),
    ],
)
def test_what_a_load_cannot_be_is_named(field: str, value: float) -> None:
    with pytest.raises(BadLoad, match=f"^{field} ") as raised:
        replace(Load(1_000), **{field: value})
    assert raised.value.field == field


def test_an_order_has_no_sku_twice() -> None:
    with pytest.raises(BadLoad, match="lines_per_order"):
        Load(1_000, lines_per_order=3, skus=2, hottest_share=0.3)
    with pytest.raises(BadLoad, match="hottest_share"):
        Load(1_000, lines_per_order=3, hottest_share=0.5)


loads = st.builds(
    Load,
    orders_per_s=st.floats(1, 400_000),
    lines_per_order=st.integers(1, 4),
    skus=st.integers(1_000, 1_000_000),
    hottest_share=st.floats(0.001, 0.05),
    stream_batch=st.sampled_from([0, 10, 500]),
    policy=st.sampled_from(Policy),
    headroom=st.floats(0, 0.5),
    cores=st.integers(2, 64),
)


@given(loads)
def test_everything_suffices_unless_it_is_refused(load: Load) -> None:
    planned = plan(load, SLOPES)
    short = [line.part for line in planned.lines if line.used > 1 - load.headroom + 1e-6]
    assert not short or planned.refusals, short


@given(loads)
def test_every_line_names_the_slope_that_decided_it(load: Load) -> None:
    known = {field.name for field in fields(Slopes)} | {f"cpu_us.{part}" for part in PARTS}
    for line in plan(load, SLOPES).lines:
        assert line.limit.slope in known
        assert line.limit.name


@pytest.mark.parametrize(
    ("part", "found"),
    [("gateway", GATEWAYS), ("stockd", STOCKDS), ("postgres", JOURNALS), ("relay", JOURNALS)],
)
def test_a_part_that_costs_more_is_needed_more_often(part: str, found: str) -> None:
    load = Load(100_000, journal_days=0, cores=2)
    assert plan(load, dear(part)).line(found).count > plan(load, SLOPES).line(found).count


def test_a_gateway_for_each_core_that_orders_need() -> None:
    load = Load(70_000, skus=1, hottest_share=1.0, headroom=0.0)
    cores = 70_000 * (8 + 150 / 500) * 1e-6
    assert plan(load, SLOPES).line(GATEWAYS).count == 1
    assert cores < plan(load, SLOPES).line(GATEWAYS).used < 1.2 * cores  # groups and entries besides
    assert plan(replace(load, orders_per_s=140_000), SLOPES).line(GATEWAYS).count == 2


def test_disks_decide_where_much_is_kept() -> None:
    few = plan(Load(20_000, journal_days=1), SLOPES).line(JOURNALS)
    many = plan(Load(20_000, journal_days=3_000), SLOPES).line(JOURNALS)
    assert few.limit.slope != "journal_bytes_per_order"
    assert many.limit.slope == "journal_bytes_per_order"
    assert many.count > few.count


def test_copies_are_the_least_that_is_needed() -> None:
    line = plan(Load(100, ledger_copies=5), SLOPES).line(NODES)
    assert line.count == 5
    assert line.decided_by_least


def test_partitions_divide_the_slots() -> None:
    for rate in (1_000, 250_000, 900_000):
        count = plan(Load(rate), SLOPES).line(PARTITIONS).count
        assert 4_096 % count == 0


def test_a_sku_hotter_than_a_partition_is_refused() -> None:
    planned = plan(Load(200_000, skus=10, hottest_share=0.9), SLOPES)
    assert any(PARTITIONS in refusal and "consumer_events_per_s" in refusal for refusal in planned.refusals)


def test_a_sku_hotter_than_its_most_owners_is_refused() -> None:
    planned = plan(Load(100_000, skus=10, hottest_share=0.9), dear_stockd())
    assert any(refusal.startswith(OWNERS) and "16 are the most" in refusal for refusal in planned.refusals)


def dear_stockd() -> Slopes:
    return replace(SLOPES, cpu_us=replace(SLOPES.cpu_us, stockd=replace(SLOPES.cpu_us.stockd, order=500)))


def test_more_processes_make_smaller_groups() -> None:
    small, large = plan(Load(50_000), SLOPES), plan(Load(2_000_000), SLOPES)
    assert large.per_order.group > 10 * small.per_order.group


def test_orders_that_wait_for_the_ledger_need_more_of_a_stock_server() -> None:
    """Under `exact` each does, and none of it is taken ahead."""
    ahead, exact = (
        plan(Load(50_000, stream_batch=500, policy=each), SLOPES).per_order for each in (Policy.ESCROW, Policy.EXACT)
    )
    assert (ahead.waiting, ahead.fetch) == (0, 0)
    assert exact.waiting == 1
    assert exact.write == 0
    assert exact.fetch == exact.conditional_writes > ahead.conditional_writes


def test_events_of_few_skus_are_in_few_partitions() -> None:
    counts = Counts(partitions=16)
    hot, many = (
        drivers(Load(50_000, skus=skus, hottest_share=1 / skus), counts, SLOPES, 0.01).log_batch for skus in (1, 10_000)
    )
    assert hot * 32 == pytest.approx(many * 17)  # 16 of order-created, and 1 or 16 of stock-changed


def test_a_load_that_is_too_large_for_one_installation_is_divided() -> None:
    load = Load(5_000_000, hottest_share=0.001)
    chosen = best(divisions(load, SLOPES))
    assert chosen.installations > 1
    assert not chosen.one.refusals
    assert chosen.machines < divide(load, SLOPES, 1).machines / 2


def test_the_fullest_installation_has_the_hottest_sku() -> None:
    load = Load(1_000_000, skus=1_000, hottest_share=0.01)
    one = of_one_installation(load, 10)
    assert one.hottest_per_s == pytest.approx(load.hottest_per_s)
    assert one.orders_per_s == pytest.approx(10_000 + 99_000)
    with pytest.raises(BadLoad, match="installations"):
        of_one_installation(load, 1_001)


def test_consumers_handle_every_event() -> None:
    load = Load(100_000, lines_per_order=3, hottest_share=0.01)
    line = plan(load, SLOPES).line(CONSUMERS)
    assert line.limit.need == pytest.approx(100_000 * 4 * 6e-6)


def test_a_plan_can_be_written_down() -> None:
    assert asdict(plan(Load(1_000), SLOPES))["load"]["orders_per_s"] == 1_000


def test_a_plan_says_which_processes_have_no_other_beside_them() -> None:
    small, large = plan(Load(1_000), SLOPES), plan(Load(300_000), SLOPES)
    assert any("without a second gateway and a second stockd" in note for note in small.notes)
    assert large.counts.gateways > 1
    assert large.counts.stockds > 1
    assert not any("without a second" in note for note in large.notes)
