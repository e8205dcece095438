"""What must be so when nothing is going on: I10 and I11, for a system that is at rest.

While it works, units in escrow and events that wait are no findings: they are on their way. A system that has been
healed and left alone for some seconds has neither.
"""

from collections.abc import Mapping, Sequence
from uuid import UUID

from audit.checks import Finding, HeldUnits
from journal.protocol import Backlog, IncarnationRow
from sluice.seams.stock_store import Ledger

IDLE_LIMIT_S = 90.0
"""Units of a server that died come back within about 15 s. Escrow returns as its demand fades; a server with
thousands of SKUs (stockd/appetite.py) may let a row rest for some 20 s, and longer while others take turns."""

Holding = tuple[str, UUID]
"""(SKU, incarnation)"""


def check_at_rest(held: Sequence[HeldUnits], backlog: Backlog) -> list[Finding]:
    """I10: escrow has returned, nothing is stranded, and every event is on the log."""
    findings = [
        Finding(
            "I10",
            units.sku,
            f"{units.units} units {'are stranded at' if units.stranded else 'have not come back from'}"
            f" {units.name or 'an unknown server'}, incarnation {units.incarnation}",
        )
        for units in held
    ]
    if backlog.rows:
        findings.append(
            Finding("I10", "outbox", f"{backlog.rows} rows with {backlog.events} events wait to be published")
        )
    return findings


def idle_holdings(
    ledgers: Sequence[Ledger], before: Mapping[UUID, Mapping[str, int]], after: Mapping[UUID, Mapping[str, int]]
) -> dict[Holding, tuple[int, int]]:
    """Units that a server has and did not sell between two looks at the journal, of SKUs of which the ledger has none
    left: (units, version of its row). If a later look finds the same, buyers heard "sold out" while units lay idle.
    """
    idle = {}
    for ledger in ledgers:
        if ledger.available:
            continue
        for incarnation, row in ledger.held.items():
            sold = after.get(incarnation, {}).get(ledger.sku, 0)
            if row.units > sold == before.get(incarnation, {}).get(ledger.sku, 0):
                idle[ledger.sku, incarnation] = (row.units - sold, row.version)
    return idle


class IdleUnits:
    """I11: no server keeps units for itself of a SKU that is sold out everywhere else. Told look by look."""

    def __init__(self) -> None:
        self._since: dict[Holding, tuple[tuple[int, int], float]] = {}

    def look(
        self, idle: Mapping[Holding, tuple[int, int]], incarnations: Mapping[UUID, IncarnationRow], now: float
    ) -> list[Finding]:
        """What has been the same for IDLE_LIMIT_S. `now` in seconds, as any clock counts that does not go back."""
        self._since = {
            holding: (seen, self._since[holding][1] if self._since.get(holding, (None,))[0] == seen else now)
            for holding, seen in idle.items()
        }
        findings = []
        for (sku, incarnation), ((units, _), since) in self._since.items():
            if now - since >= IDLE_LIMIT_S:
                known = incarnations.get(incarnation)
                state = "stranded at" if known is None or known.fenced else "held by"
                findings.append(
                    Finding(
                        "I11",
                        sku,
                        f"{units} unsold units lie idle for {now - since:.0f} s, and the ledger has none left:"
                        f" {state} {known.name if known else 'an unknown server'}, incarnation {incarnation}",
                    )
                )
        return findings
