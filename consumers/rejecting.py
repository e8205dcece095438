"""Writes the rejections of queued orders, those of many queues in one transaction."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from journal.events import encode_rejection_events
from journal.protocol import Committed, OrdersExist, Rejection, RejectionBatch
from sluice.coalescer import Coalescer

MAX_REJECTIONS_PER_TRANSACTION = 2_000
REJECTIONS_IN_FLIGHT = 2
MAX_QUEUED_REJECTIONS = 100_000
"""Above what a consumer has in hand: only a fuse."""

Count = Callable[[str, int], None]
"""Told how many orders came to which end."""


class RejectionJournal(Protocol):
    """The part of the journal that is needed."""

    async def reject(self, batch: RejectionBatch) -> Committed | OrdersExist: ...


class _Asked(NamedTuple):
    rejections: Sequence[Rejection]
    done: asyncio.Future[None]


class Rejecting:
    def __init__(self, journal: RejectionJournal, count: Count, *, now: Callable[[], datetime]) -> None:
        self._journal = journal
        self._count = count
        self._now = now
        self._coalescer: Coalescer[_Asked] = Coalescer(
            self._reject_all,
            weigh=lambda asked: len(asked.rejections),
            max_batch_weight=MAX_REJECTIONS_PER_TRANSACTION,
            max_in_flight=REJECTIONS_IN_FLIGHT,
            max_queued_weight=MAX_QUEUED_REJECTIONS,
        )

    async def reject(self, rejections: Sequence[Rejection]) -> None:
        """Returns when all of them stand, or their orders stand otherwise. Raises JournalUnreachable: some may."""
        if not rejections:
            return
        asked = _Asked(rejections, asyncio.get_running_loop().create_future())
        self._coalescer.submit(asked)
        await asked.done

    async def _reject_all(self, asked: list[_Asked]) -> None:
        rejections: dict[str, Rejection] = {}
        for each in asked:
            for rejection in each.rejections:
                rejections.setdefault(rejection.order.order_id, rejection)
        try:
            await self._write(rejections)
        except Exception as error:  # noqa: BLE001 - whatever happens, everybody must hear of it
            for done in _unanswered(asked):
                done.set_exception(error)
        else:
            for done in _unanswered(asked):
                done.set_result(None)

    async def _write(self, rejections: Mapping[str, Rejection]) -> None:
        left = list(rejections.values())
        while left:
            time = self._now()
            result = await self._journal.reject(RejectionBatch(left, *encode_rejection_events(left, time), time))
            if not isinstance(result, OrdersExist):
                for reason, orders in Counter(each.reason for each in left).items():
                    self._count(reason, orders)
                return
            left = [each for each in left if each.order.order_id not in result.orders]


def _unanswered(asked: Sequence[_Asked]) -> list[asyncio.Future[None]]:
    """Without those whose callers are gone."""
    return [each.done for each in asked if not each.done.done()]
