"""Orders that stand already, looked for before somebody hears that there is nothing left."""

import asyncio
from collections.abc import Mapping, Sequence

from gateway.committing import answer_for_existing
from gateway.outcomes import RETRY_WHEN_AWAY_S, Outcome, Reason, Refused
from journal.protocol import Journal
from sluice.coalescer import Coalescer
from sluice.errors import JournalUnreachable, Overloaded
from sluice.model import NewOrder, Order
from sluice.reachability import Reachability

MAX_IDS_PER_LOOKUP = 5_000
"""In one read of the journal: more make one answer long for all who share it."""

LOOKUPS_IN_FLIGHT = 2
"""Meanwhile others gather. Reads take the places of commits on the same machine."""


class Replays:
    def __init__(self, journal: Journal, reachability: Reachability, max_queued_ids: int) -> None:
        self._journal = journal
        self._journal_reachability = reachability
        self._lookups: Coalescer[_Lookup] = Coalescer(
            self._look_up,
            weigh=lambda lookup: len(lookup.order_ids),
            max_batch_weight=MAX_IDS_PER_LOOKUP,
            max_in_flight=LOOKUPS_IN_FLIGHT,
            max_queued_weight=max_queued_ids,
        )

    async def find(self, orders: Sequence[NewOrder], refusals: Mapping[str, Refused]) -> Mapping[str, Outcome]:
        """Before anybody hears "out of stock": perhaps the order stands already and this is the answer lost."""
        asked = {
            order.order_id: order
            for order in orders
            if (refusal := refusals.get(order.order_id)) and refusal.reason is Reason.OUT_OF_STOCK
        }
        if not asked:
            return {}
        lookup = _Lookup(list(asked))
        try:
            self._lookups.submit(lookup)
            existing = await lookup.found
        except (JournalUnreachable, Overloaded):
            return dict.fromkeys(asked, Refused(Reason.JOURNAL_UNREACHABLE, "", RETRY_WHEN_AWAY_S))
        return {order_id: answer_for_existing(asked[order_id], stored) for order_id, stored in existing.items()}

    async def _look_up(self, lookups: "list[_Lookup]") -> None:
        try:
            if self._journal_reachability.away:
                raise JournalUnreachable("the journal is away")  # noqa: TRY301 - told as if it had been asked
            found = await self._journal.find_orders([each for lookup in lookups for each in lookup.order_ids])
        except Exception as error:  # noqa: BLE001 - handed to the callers
            if isinstance(error, JournalUnreachable):
                self._journal_reachability.mark_away(str(error))
            for lookup in lookups:
                if not lookup.found.done():
                    lookup.found.set_exception(error)
            return
        for lookup in lookups:
            if not lookup.found.done():
                lookup.found.set_result({each: found[each] for each in lookup.order_ids if each in found})


class _Lookup:
    __slots__ = ("found", "order_ids")

    def __init__(self, order_ids: Sequence[str]) -> None:
        self.order_ids = order_ids
        self.found: asyncio.Future[Mapping[str, Order]] = asyncio.get_running_loop().create_future()
