"""What is asked of an installation: the load, what must be kept of it, and what its machines are like."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from sluice.model import MAX_LINES_PER_ORDER, MAX_ORDERS_PER_BATCH


class Policy(StrEnum):
    """Those of which it is measured what they cost."""

    EXACT = "exact"
    ESCROW = "escrow"


class BadLoad(ValueError):
    """`field` of a load is not what it can be."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field} {reason}")
        self.field = field


_LEAST = 1e-3
"""Of what must be above 0."""

_MOST = 1e12
"""Beyond any installation: a slip."""

_BOUNDS: Mapping[str, tuple[float, float]] = {
    "orders_per_s": (_LEAST, _MOST),
    "lines_per_order": (1, MAX_LINES_PER_ORDER),
    "skus": (1, _MOST),
    "stream_batch": (0, MAX_ORDERS_PER_BATCH),
    "peak_hours": (_LEAST, 24),
    "journal_days": (0, _MOST),
    "log_days": (0, _MOST),
    "journal_copies": (1, 9),
    "log_copies": (1, 9),
    "ledger_copies": (1, 9),
    "headroom": (0, 0.9),
    "group_s": (_LEAST, 10),
    "cores": (1, 1_024),
    "disk_gb": (1, _MOST),
}


@dataclass(frozen=True)
class Load:
    """`stream_batch`: orders a message; 0 if every order is a call of its own. `hottest_share`: of all lines, those for
    the SKU that is asked for most; the other SKUs are asked for alike. `headroom`: share of every limit that is left
    free. `group_s`: how long orders may gather at each step, which makes batches as large as they are.

    Orders come for `peak_hours` a day; they stay in the journal for `journal_days` and on Kafka for `log_days`.
    """

    orders_per_s: float
    lines_per_order: int = 1
    skus: int = 100_000
    hottest_share: float = 0.01
    stream_batch: int = 500
    policy: Policy = Policy.ESCROW
    peak_hours: float = 1.0
    journal_days: float = 30.0
    log_days: float = 7.0
    journal_copies: int = 2
    log_copies: int = 3
    ledger_copies: int = 3
    headroom: float = 0.3
    group_s: float = 0.05
    cores: int = 16
    disk_gb: float = 4_000.0

    def __post_init__(self) -> None:
        """Raises BadLoad."""
        for field, (least, most) in _BOUNDS.items():
            value = getattr(self, field)
            if not least <= value <= most:
                raise BadLoad(field, f"must be {least:g} to {most:g}, not {value:g}")
        if self.lines_per_order > self.skus:
            raise BadLoad("lines_per_order", f"is more than the {self.skus} SKUs, and no order has a SKU twice")
        least, most = 1 / self.skus, 1 / self.lines_per_order
        if not least <= self.hottest_share <= most:
            raise BadLoad("hottest_share", f"must be {least:g} to {most:g} with so many SKUs and lines")

    @property
    def lines_per_s(self) -> float:
        return self.orders_per_s * self.lines_per_order

    @property
    def hottest_per_s(self) -> float:
        """Lines a second for the SKU that is asked for most."""
        return self.lines_per_s * self.hottest_share

    @property
    def other_per_s(self) -> float:
        """Lines a second for each of the other SKUs."""
        return self.lines_per_s * (1 - self.hottest_share) / max(1, self.skus - 1)


def of_one_installation(load: Load, installations: int) -> Load:
    """What falls on the one that has the hottest SKU, if every SKU is in one of so many installations, each with all
    of its own: gateways, stock servers, journals, Kafka, Cassandra. Carts must then be for SKUs of one of them. Raises
    BadLoad.
    """
    most = load.skus // load.lines_per_order
    if not 1 <= installations <= most:
        raise BadLoad("installations", f"must be 1 to {most} with so many SKUs and lines, not {installations}")
    with_hottest = load.orders_per_s * load.hottest_share * load.lines_per_order
    here = with_hottest + (load.orders_per_s - with_hottest) / installations
    return replace(
        load,
        orders_per_s=here,
        skus=max(load.lines_per_order, round(load.skus / installations)),
        hottest_share=load.hottest_share * load.orders_per_s / here,
    )
