"""What can go wrong between parts, as types. Each says whether the thing may have happened all the same."""


class Unreachable(Exception):
    """A part did not answer. `outcome_unknown`: the request may have taken effect, now or later."""

    def __init__(self, message: str, *, outcome_unknown: bool = False) -> None:
        super().__init__(message)
        self.outcome_unknown = outcome_unknown


class StoreUnreachable(Unreachable):
    """The stock store did not answer."""


class LedgerMissing(Exception):
    """The stock store answers, but there is no ledger of that name in it."""


class LedgerTooOld(LedgerMissing):
    """There is one of that name, in a form of an earlier release that this one does not read."""


class KeeperUnreachable(Unreachable):
    """A stockd did not answer."""


class JournalUnreachable(Unreachable):
    """The journal did not answer."""


class LogUnreachable(Unreachable):
    """The event log did not answer."""


class Overloaded(Exception):
    """A bounded queue is full; nothing was started. `retry_after_s` is when to come back."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class CannotListen(Exception):
    """An address that this process should listen on is held by another, or is not of this machine."""
