"""Into how many independent installations a load is best divided."""

from dataclasses import dataclass

from capacity.load import BadLoad, Load, of_one_installation
from capacity.planning import Plan, plan
from capacity.slopes import Slopes

MOST_INSTALLATIONS = 1_024


@dataclass(frozen=True)
class Division:
    """`one` is the plan of the installation that has the hottest SKU; all are made as large."""

    installations: int
    one: Plan

    @property
    def machines(self) -> int:
        return self.installations * sum(self.one.machines.values())


def divide(load: Load, slopes: Slopes, installations: int) -> Division:
    """Raises BadLoad."""
    return Division(installations, plan(of_one_installation(load, installations), slopes))


def divisions(load: Load, slopes: Slopes) -> list[Division]:
    """In powers of two, as long as there are SKUs and orders to divide."""
    found = []
    installations = 1
    while installations <= min(MOST_INSTALLATIONS, load.orders_per_s):
        try:
            found.append(divide(load, slopes, installations))
        except BadLoad:
            break
        installations *= 2
    return found


def best(found: list[Division]) -> Division:
    """The one with the fewest machines that carries the load; if none does, the one with the fewest refusals."""
    return min(found, key=lambda each: (len(each.one.refusals), each.machines))
