"""What each client was told, and what must therefore be true of its order."""

from dataclasses import dataclass, field
from typing import NamedTuple

from commands.burst import ACCEPTED
from sluice.model import Order, OrderState
from tests.integration.buying import OUT_OF_STOCK

PLACE, CANCEL, CONFIRM = "place", "cancel", "confirm"

NOT_ATTEMPTED_OR_UNKNOWN = frozenset(
    {
        "OVERLOADED",
        "STOCK_UNREACHABLE",
        "JOURNAL_UNREACHABLE",
        "DEADLINE",
        "UNAVAILABLE",
        "DEADLINE_EXCEEDED",
        "CANCELLED",
    }
)
"""Answers after which the order may stand or not: the interface asks to send the same again."""

TOO_LATE = "ORDER_STATE"

LIVE = frozenset({OrderState.CREATED, OrderState.VALIDATED, OrderState.CONFIRMED})


class Finding(NamedTuple):
    """`subject`: the order, SKU or process that is wrong. `since_s` to `until_s`: when it went wrong, as far as known,
    in seconds since the system stood.
    """

    what: str
    subject: str
    message: str
    since_s: float = 0.0
    until_s: float = float("inf")


class Answer(NamedTuple):
    """What one call was told; times in seconds since the system stood."""

    asked: str
    gateway: str
    sent_s: float
    heard_s: float
    told: str

    def __str__(self) -> str:
        return f"{self.sent_s:.2f} to {self.heard_s:.2f} {self.asked} at {self.gateway}: {self.told}"


@dataclass(slots=True)
class Record:
    """One order of one client. `hold_s` is 0 for an order that is not held. `may_be_oversold`: of a SKU that promises
    no more than to cancel what was sold beyond the stock.
    """

    order_id: str
    customer_id: str
    lines: tuple[tuple[str, int], ...]
    hold_s: float = 0.0
    may_be_oversold: bool = False
    answers: list[Answer] = field(default_factory=list)

    def told(self, asked: str, told: str) -> list[Answer]:
        return [answer for answer in self.answers if answer.asked == asked and answer.told == told]

    def unsure_of(self, asked: str) -> bool:
        return any(each.asked == asked and each.told in NOT_ATTEMPTED_OR_UNKNOWN for each in self.answers)

    @property
    def accepted(self) -> bool:
        return bool(self.told(PLACE, ACCEPTED))

    @property
    def was_refused(self) -> bool:
        return bool(self.told(PLACE, OUT_OF_STOCK))

    @property
    def surely_refused(self) -> bool:
        """Out of stock, and no call whose outcome is unknown could have placed it before or after."""
        return self.was_refused and not self.accepted and not self.unsure_of(PLACE)

    def finding(self, message: str) -> Finding:
        began = min((answer.sent_s for answer in self.answers), default=0.0)
        ended = max((answer.heard_s for answer in self.answers), default=float("inf"))
        shown = "; ".join(map(str, self.answers))
        lines = ", ".join(f"{units} x {sku}" for sku, units in self.lines)
        what = "client's record"
        return Finding(
            what, self.order_id, f"{message}. The order: {lines}. The client's record: {shown}", began, ended
        )

    def contradictions(self) -> list[Finding]:
        """Answers that cannot all be true."""
        found = []
        accepted = self.told(PLACE, ACCEPTED)
        if accepted:
            known_s = min(answer.heard_s for answer in accepted)
            found += [
                self.finding("was accepted, and a later call was told OUT_OF_STOCK")
                for answer in self.told(PLACE, OUT_OF_STOCK)
                if answer.sent_s > known_s
            ]
        if self.told(CANCEL, ACCEPTED) and self.told(CONFIRM, ACCEPTED):
            confirmed_s = min(answer.heard_s for answer in self.told(CONFIRM, ACCEPTED))
            cancelled_s = min(answer.heard_s for answer in self.told(CANCEL, ACCEPTED))
            if all(answer.sent_s > cancelled_s for answer in self.told(CONFIRM, ACCEPTED)):
                found.append(self.finding(f"was cancelled by {cancelled_s:.2f} and confirmed by {confirmed_s:.2f}"))
        return found

    def disagreement(self, order: Order | None) -> str | None:
        """What is wrong with what stands in the journal, once nothing is on its way any more."""
        if order is None:
            return "was accepted, and there is no such order" if self.accepted else None
        if self.surely_refused:
            return f"was told OUT_OF_STOCK, and stands as {order.state.name}"
        if (order.customer_id, order.lines) != (self.customer_id, self.lines):
            return f"stands with other content: {order.customer_id}, {order.lines}"
        if order.state not in self._possible_states():
            return (
                f"stands as {order.state.name}, and can only be {sorted(each.name for each in self._possible_states())}"
            )
        return None

    def _possible_states(self) -> frozenset[OrderState]:
        cancelled = bool(self.told(CANCEL, ACCEPTED))
        if cancelled:
            return frozenset({OrderState.CANCELLED})
        confirmed = bool(self.told(CONFIRM, ACCEPTED))
        possible = set(LIVE)
        if self.hold_s:
            # Holds are seconds long, and are over when the books are checked.
            possible = {OrderState.CONFIRMED}
            if not confirmed:
                possible |= {OrderState.EXPIRED}
                if not self.unsure_of(CONFIRM):
                    possible -= {OrderState.CONFIRMED}
        if self.unsure_of(CANCEL) or self.may_be_oversold:
            possible |= {OrderState.CANCELLED}
        return frozenset(possible)
