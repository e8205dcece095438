"""What a call can end with besides its answer: one type for each thing that a caller would do something else about."""

from typing import NamedTuple


class SluiceError(Exception):
    """The root of all errors of this client."""


class Unavailable(SluiceError):
    """No answer, or none but "later", and the caller's time is over or would be before another attempt.

    `reason` is what was heard last: `OVERLOADED`, `STOCK_UNREACHABLE`, `JOURNAL_UNREACHABLE`, `INTERNAL`; `UNREACHABLE`
    if there was no connection; `DEADLINE` if there was one and no answer came over it; `CLOSED` if this client was
    closed meanwhile. Of an order `outcome_unknown` says whether it may stand all the same, now or a little later. Place
    it again with this `order_id` and the same content to learn it: it is sold once.
    """

    def __init__(self, reason: str, order_id: str | None = None, *, outcome_unknown: bool = True) -> None:
        subject = f"order {order_id}" if order_id else "the call"
        outcome = "may have taken effect" if outcome_unknown else "had no effect"
        super().__init__(f"{reason}: {subject} {outcome}")
        self.reason = reason
        self.order_id = order_id
        self.outcome_unknown = outcome_unknown


class CallFailed(SluiceError):
    """The server refuses for a reason that this client has no type for. `code` is gRPC's name of it."""

    def __init__(self, code: str, reason: str, message: str) -> None:
        super().__init__(f"{code} {reason}: {message}" if reason else f"{code}: {message}")
        self.code = code
        self.reason = reason


class Violation(NamedTuple):
    """`field` is a path like `lines[2].quantity`."""

    field: str
    description: str


class InvalidOrder(SluiceError):
    """The order cannot be understood. `violations` names everything that is wrong with it."""

    def __init__(self, violations: tuple[Violation, ...], order_id: str | None = None) -> None:
        super().__init__(_told(violations))
        self.violations = violations
        self.order_id = order_id


class InvalidCall(SluiceError):
    """The arguments of another call than `place` are wrong."""

    def __init__(self, violations: tuple[Violation, ...]) -> None:
        super().__init__(_told(violations))
        self.violations = violations


class Refused(SluiceError):
    """The order does not stand, and the same order again will be refused too, unless something changes.

    `in_doubt`: an earlier attempt of this call got no answer, and the gateway that got it may still be at work: what
    was refused now may stand a moment later. Only after a broken connection or a server that is away; `get` tells.
    """

    def __init__(self, message: str, order_id: str, *, in_doubt: bool = False) -> None:
        super().__init__(message)
        self.order_id = order_id
        self.in_doubt = in_doubt


class OutOfStock(Refused):
    """`sku` is the line that could not be had; empty if the server does not say which of several."""

    def __init__(self, sku: str, order_id: str, *, in_doubt: bool = False) -> None:
        super().__init__(f"{sku or 'a line'} is out of stock", order_id, in_doubt=in_doubt)
        self.sku = sku


class CustomerLimit(Refused):
    """The customer would have more of `sku` than one may."""

    def __init__(self, sku: str, order_id: str, *, in_doubt: bool = False) -> None:
        super().__init__(f"the customer would have too much of {sku or 'a line'}", order_id, in_doubt=in_doubt)
        self.sku = sku


class OrderIdReused(Refused):
    """An order with this id stands, and it is another one."""

    def __init__(self, order_id: str, *, in_doubt: bool = False) -> None:
        super().__init__(f"order {order_id} stands with other content", order_id, in_doubt=in_doubt)


class SkuNotFound(SluiceError):
    """There is no such SKU. `order_id` if an order asked for it."""

    def __init__(self, sku: str, order_id: str | None = None) -> None:
        super().__init__(f"there is no SKU {sku}" if sku else "there is no such SKU")
        self.sku = sku
        self.order_id = order_id


class OrderNotFound(SluiceError):
    """No order of this id stands. One whose first request is still under way may stand a moment later."""

    def __init__(self, order_id: str) -> None:
        super().__init__(f"there is no order {order_id}")
        self.order_id = order_id


class WrongState(SluiceError):
    """The order's state does not allow it, or no more: `state` is its name, such as `EXPIRED`."""

    def __init__(self, order_id: str, state: str) -> None:
        super().__init__(f"order {order_id} is {state}")
        self.order_id = order_id
        self.state = state


class SkuExists(SluiceError):
    """The SKU stands with other first units or another policy."""

    def __init__(self, sku: str) -> None:
        super().__init__(f"SKU {sku} stands with other first units or another policy")
        self.sku = sku


class RestockIdReused(SluiceError):
    """A delivery of this id stands with other units."""

    def __init__(self, sku: str, restock_id: str) -> None:
        super().__init__(f"delivery {restock_id} of {sku} stands with other units")
        self.sku = sku
        self.restock_id = restock_id


class FewerAvailable(SluiceError):
    """So many units cannot be withdrawn: only `available` are, and nothing was taken. Where an attempt before had no
    answer it may still be on its way; the same withdrawal again tells.
    """

    def __init__(self, sku: str, available: int) -> None:
        super().__init__(f"only {available} units of {sku} are available")
        self.sku = sku
        self.available = available


class WithdrawalIdReused(SluiceError):
    """A withdrawal of this id stands with other units, or a delivery has it."""

    def __init__(self, sku: str, withdrawal_id: str) -> None:
        super().__init__(f"withdrawal {withdrawal_id} of {sku} stands with other units")
        self.sku = sku
        self.withdrawal_id = withdrawal_id


class SoldByCounting(SluiceError):
    """Units of a SKU with the policy `COUNTER` cannot be withdrawn."""

    def __init__(self, sku: str) -> None:
        super().__init__(f"{sku} is sold by counting")
        self.sku = sku


def _told(violations: tuple[Violation, ...]) -> str:
    return "; ".join(f"{field}: {description}" for field, description in violations)
