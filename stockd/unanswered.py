"""Tells the log of orders that were refused because the ledger did not answer: how many within a second, and why.

One line for all of them: there may be thousands, and what is wrong is wrong for all.
"""

import asyncio

import structlog

TELL_AFTER_S = 1.0
"""Buyers are refused for as long as the ledger is silent: often enough to follow it, and no flood."""

_log = structlog.get_logger(__name__)


class Unanswered:
    def __init__(self) -> None:
        self._orders = 0
        self._skus: set[str] = set()
        self._reason = ""

    def refused(self, sku: str, orders: int, reason: str) -> None:
        """On the event loop."""
        if not orders:
            return
        if not self._orders:
            asyncio.get_running_loop().call_later(TELL_AFTER_S, self._tell)
        self._orders += orders
        self._skus.add(sku)
        self._reason = reason

    def _tell(self) -> None:
        _log.warning(
            "orders refused: the ledger did not answer",
            orders=self._orders,
            skus=len(self._skus),
            one_of_them=min(self._skus),
            last_reason=self._reason,
        )
        self._orders = 0
        self._skus.clear()
