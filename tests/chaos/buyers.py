"""Buyers of all kinds, who come by the clock whatever the system does, and write down what they are told."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any
from uuid import uuid4

import grpc
from google.protobuf.duration_pb2 import Duration

from commands.burst import ACCEPTED
from sluice._gen.orders.v1 import orders_pb2
from sluice._gen.stock.v1 import stock_pb2
from sluice.client.order_ids import new_order_id
from tests.chaos.records import (
    CANCEL,
    CONFIRM,
    NOT_ATTEMPTED_OR_UNKNOWN,
    PLACE,
    TOO_LATE,
    Answer,
    Finding,
    Record,
)
from tests.chaos.shelf import Shelf, ending
from tests.integration.buying import FEWER_AVAILABLE, OUT_OF_STOCK, Client, Reply, ask

BUYERS_PER_S = 20
"""The whole cluster, three JVMs of Cassandra among it, shares two cores with its faults."""

MAX_BUYERS = 400
"""While everything is frozen buyers pile up; more than this stay away, so that memory stays bounded."""

PATIENT_LIMIT_S = 5.0
IMPATIENT_LIMIT_S = 0.3
ATTEMPTS = 4
PAUSE_S = (0.05, 1.0)

BATCHES_EVERY_S = 3.0
BATCH_ORDERS = 12
RESTOCK_EVERY_S = 2.0
RESTOCK_UNITS = 15
WITHDRAW_EVERY_S = 3.0
WITHDRAWN_UNITS = 5
LOOK_EVERY_S = 0.5
HOLD_S = (1.0, 8.0)

CARTS, REPEATS, IMPATIENT, REUSED = 0.25, 0.1, 0.1, 0.03
"""Shares of buyers: with a cart; who ask both gateways at once; who ask once and leave; who come back with the same id
and another order."""

CANCELLED, HELD = 0.1, 0.15

FINAL = {
    PLACE: frozenset({ACCEPTED, OUT_OF_STOCK}),
    CANCEL: frozenset({ACCEPTED, TOO_LATE}),
    CONFIRM: frozenset({ACCEPTED, TOO_LATE}),
}


class Buyers:
    """One round's buyers. `records` by order id and `restocks` by SKU are what they know."""

    def __init__(
        self, clients: Sequence[Client], shelf: Shelf, chance: random.Random, now_s: Callable[[], float], name: str
    ) -> None:
        self._clients = clients
        self._shelf = shelf
        self._chance = chance
        self._now_s = now_s
        self._name = name
        self._here: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self.records: dict[str, Record] = {}
        self.restocked: dict[str, int] = {sku.name: sku.units for sku in shelf.skus}
        self.restocks_unknown: Counter[str] = Counter()
        self.withdrawals_unknown: Counter[str] = Counter()
        self.findings: list[Finding] = []
        self.turned_away = 0
        self.told: Counter[str] = Counter()
        """How often placing was answered how."""

    async def come(self) -> None:
        """For ever: one after the other, by the clock and not by the answers."""
        started, come = time.monotonic(), 0
        next_batch = next_restock = next_withdrawal = next_look = 0.0
        while True:
            passed_s = time.monotonic() - started
            while come < passed_s * BUYERS_PER_S:
                come += 1
                if len(self._here) < MAX_BUYERS:
                    self._enter(self._buy())
                else:
                    self.turned_away += 1
            if passed_s >= next_batch:
                next_batch += BATCHES_EVERY_S
                self._enter(self._buy_batch())
            if passed_s >= next_restock:
                next_restock += RESTOCK_EVERY_S
                self._enter(self._restock())
            if passed_s >= next_withdrawal:
                next_withdrawal += WITHDRAW_EVERY_S
                self._enter(self._withdraw())
            if passed_s >= next_look:
                next_look += LOOK_EVERY_S
                self._enter(self._look())
            await asyncio.sleep(1 / BUYERS_PER_S)

    async def leave(self) -> None:
        """Returns when each has its answer or has given up."""
        while self._here:
            await asyncio.wait(self._here)
        if self._failure is not None:
            raise self._failure  # a mistake of ours, not of what is tested

    def _enter(self, visit: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(visit)
        self._here.add(task)
        task.add_done_callback(self._left)

    def _left(self, task: asyncio.Task[None]) -> None:
        self._here.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failure = self._failure or error

    async def _buy(self) -> None:
        chance = self._chance
        record = self._new_record(chance.randint(2, 4) if chance.random() < CARTS else 1)
        if self._shelf.ends and chance.random() < HELD:
            record.hold_s = round(chance.uniform(*HOLD_S), 1)
        kind = chance.random()
        first = chance.randrange(len(self._clients))
        if kind < REPEATS:
            await asyncio.gather(*(self._place(record, first + offset, PATIENT_LIMIT_S) for offset in range(2)))
        elif kind < REPEATS + IMPATIENT:
            await self._place(record, first, IMPATIENT_LIMIT_S)
            return
        await self._place_until_final(record, first)
        if not record.accepted:
            return
        if chance.random() < REUSED:
            await self._reuse_id(record)
        if record.hold_s:
            await asyncio.sleep(chance.uniform(0.0, 1.3 * record.hold_s))
            await self._end(record, chance.choice((CONFIRM, CONFIRM, CANCEL)))
        elif self._shelf.ends and chance.random() < CANCELLED:
            await asyncio.sleep(chance.uniform(0.0, 5.0))
            await self._end(record, CANCEL)
        if chance.random() < REPEATS:
            await self._place(record, first + 1, PATIENT_LIMIT_S)

    def _new_record(self, lines: int) -> Record:
        chosen = sorted((sku.name, self._chance.randint(1, 2)) for sku in self._shelf.choose(self._chance, lines))
        counted = any(self._shelf.by_name[name].policy == stock_pb2.STOCK_POLICY_COUNTER for name, _ in chosen)
        record = Record(
            new_order_id(), f"{self._name}-{self._chance.randrange(1_000)}", tuple(chosen), may_be_oversold=counted
        )
        self.records[record.order_id] = record
        return record

    async def _place_until_final(self, record: Record, first: int) -> None:
        for attempt in range(ATTEMPTS):
            if any(answer.told in FINAL[PLACE] for answer in record.answers):
                return
            await self._place(record, first + attempt, PATIENT_LIMIT_S)
            await asyncio.sleep(self._chance.uniform(*PAUSE_S))

    async def _place(self, record: Record, number: int, limit_s: float) -> None:
        client = self._clients[number % len(self._clients)]
        reply = await self._ask(record, PLACE, client, client.place_order, _message(record), limit_s)
        if reply.told == ACCEPTED:
            self._check_acceptance(record, reply)
        elif reply.told == OUT_OF_STOCK:
            self._check_out_of_stock(record, reply)

    async def _end(self, record: Record, what: str) -> None:
        kind = {CANCEL: orders_pb2.CancelOrderRequest, CONFIRM: orders_pb2.ConfirmOrderRequest}[what]
        for attempt in range(ATTEMPTS):
            client = self._clients[(attempt + self._chance.randrange(2)) % len(self._clients)]
            request = kind(order_id=record.order_id)
            reply = await self._ask(record, what, client, ending(client, what), request, PATIENT_LIMIT_S)
            if reply.told in FINAL[what]:
                return
            await asyncio.sleep(self._chance.uniform(*PAUSE_S))

    async def _reuse_id(self, record: Record) -> None:
        request = _message(record)
        request.lines[0].quantity += 1
        reply = await ask(self._chance.choice(self._clients).place_order, request, PATIENT_LIMIT_S)
        if reply.told not in {"ORDER_ID_REUSED", *NOT_ATTEMPTED_OR_UNKNOWN}:
            self.findings.append(record.finding(f"another order of the same id was told {reply.told}"))

    async def _buy_batch(self) -> None:
        """Over one stream; what was not answered there is asked for again, one by one."""
        records = [self._new_record(1) for _ in range(BATCH_ORDERS)]
        number = self._chance.randrange(len(self._clients))
        client, sent_s = self._clients[number], self._now_s()
        answered: set[str] = set()
        stream = client.place_orders(PATIENT_LIMIT_S)
        try:
            await stream.write(orders_pb2.PlaceOrdersRequest(batch_id=1, orders=[_message(each) for each in records]))
            await stream.done_writing()
            async for answer in stream:
                for result in answer.results:
                    record = self.records[result.order_id]
                    told = ACCEPTED if result.outcome == orders_pb2.OUTCOME_ACCEPTED else result.reason
                    self._note(record, Answer(PLACE, client.endpoint, sent_s, self._now_s(), told))
                    answered.add(record.order_id)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            code = error.code().name if isinstance(error, grpc.aio.AioRpcError) else "UNAVAILABLE"
            for record in records:
                if record.order_id not in answered:
                    self._note(record, Answer(PLACE, client.endpoint, sent_s, self._now_s(), code))
        await asyncio.gather(*(self._place_until_final(record, number + 1) for record in records))

    async def _restock(self) -> None:
        sku = self._chance.choice([sku for sku in self._shelf.skus if not sku.plentiful])
        request = stock_pb2.RestockRequest(sku=sku.name, restock_id=str(uuid4()), units=RESTOCK_UNITS)
        for _ in range(ATTEMPTS):
            reply = await ask(self._chance.choice(self._clients).restock, request, PATIENT_LIMIT_S)
            if reply.told == ACCEPTED:
                self.restocked[sku.name] += RESTOCK_UNITS
                return
            if reply.told not in NOT_ATTEMPTED_OR_UNKNOWN:
                now_s = self._now_s()
                self.findings.append(
                    Finding("restock", sku.name, f"was told {reply.told}", now_s - reply.latency_s, now_s)
                )
            await asyncio.sleep(self._chance.uniform(*PAUSE_S))
        self.restocks_unknown[sku.name] += RESTOCK_UNITS

    async def _withdraw(self) -> None:
        counted = stock_pb2.STOCK_POLICY_COUNTER
        sku = self._chance.choice([sku for sku in self._shelf.skus if not sku.plentiful and sku.policy != counted])
        request = stock_pb2.WithdrawRequest(sku=sku.name, withdrawal_id=str(uuid4()), units=WITHDRAWN_UNITS)
        for attempt in range(ATTEMPTS):
            reply = await ask(self._chance.choice(self._clients).withdraw, request, PATIENT_LIMIT_S)
            if reply.told == ACCEPTED:
                self.restocked[sku.name] -= WITHDRAWN_UNITS
                return
            if reply.told == FEWER_AVAILABLE and attempt == 0:
                return
            # After an attempt that nobody answered there may be fewer, and that attempt under way at another gateway.
            if reply.told not in (FEWER_AVAILABLE, *NOT_ATTEMPTED_OR_UNKNOWN):
                now_s = self._now_s()
                self.findings.append(
                    Finding("withdraw", sku.name, f"was told {reply.told}", now_s - reply.latency_s, now_s)
                )
            await asyncio.sleep(self._chance.uniform(*PAUSE_S))
        self.withdrawals_unknown[sku.name] += WITHDRAWN_UNITS

    async def _look(self) -> None:
        """What is read while all changes is right within the bound that is read with it."""
        sku = self._chance.choice(self._shelf.skus)
        level = self._chance.choice((stock_pb2.CONSISTENCY_STRONG, stock_pb2.CONSISTENCY_QUORUM))
        request = stock_pb2.GetStockRequest(sku=sku.name, consistency=level)
        reply = await ask(self._chance.choice(self._clients).get_stock, request, PATIENT_LIMIT_S)
        if reply.told in NOT_ATTEMPTED_OR_UNKNOWN:
            return
        stock = reply.response
        if stock is None:
            wrong = f"reading it was told {reply.told}"
        elif abs(stock.available + stock.escrow + stock.sold - stock.restocked) > max(
            stock.max_oversell, stock.max_undersell
        ):
            wrong = "available + escrow + sold differs from restocked by more than the bounds"
        elif stock.sold > stock.restocked + stock.max_oversell:
            wrong = "more is sold than was ever there"
        else:
            return
        now_s = self._now_s()
        shown = " ".join(str(stock).split())
        self.findings.append(Finding("reading", sku.name, f"{wrong}: {shown}", now_s - reply.latency_s, now_s))

    async def _ask(
        self, record: Record, asked: str, client: Client, method: object, request: object, limit_s: float
    ) -> Reply:
        sent_s = self._now_s()
        reply = await ask(method, request, limit_s)
        self._note(record, Answer(asked, client.endpoint, sent_s, self._now_s(), reply.told))
        return reply

    def _note(self, record: Record, answer: Answer) -> None:
        record.answers.append(answer)
        if answer.asked == PLACE:
            self.told[answer.told] += 1
        if answer.told not in FINAL[answer.asked] | NOT_ATTEMPTED_OR_UNKNOWN:
            self.findings.append(record.finding(f"an answer that this must not get: {answer.told}"))

    def _check_acceptance(self, record: Record, reply: Reply) -> None:
        stands = reply.response.order
        lines = tuple((line.sku, line.quantity) for line in stands.lines)
        if (stands.order_id, stands.customer_id, lines) != (record.order_id, record.customer_id, record.lines):
            shown = " ".join(str(stands).split())
            self.findings.append(record.finding(f"was accepted with other content: {shown}"))
        earlier = [each for each in record.told(PLACE, ACCEPTED)[:-1] if each.heard_s < record.answers[-1].sent_s]
        if earlier and not reply.response.replayed:
            self.findings.append(record.finding("was accepted anew, although it stood"))

    def _check_out_of_stock(self, record: Record, reply: Reply) -> None:
        blamed = reply.blamed.get("sku", "")
        if blamed not in dict(record.lines):
            self.findings.append(record.finding(f"a SKU is blamed that was not asked for: {blamed!r}"))
        elif self._shelf.by_name[blamed].plentiful:
            self.findings.append(record.finding(f"OUT_OF_STOCK for {blamed}, of which there is plenty"))


def _message(record: Record) -> orders_pb2.PlaceOrderRequest:
    hold = Duration(nanos=round(record.hold_s % 1 * 1e9), seconds=int(record.hold_s)) if record.hold_s else None
    return orders_pb2.PlaceOrderRequest(
        order_id=record.order_id,
        customer_id=record.customer_id,
        lines=[orders_pb2.OrderLine(sku=sku, quantity=units) for sku, units in record.lines],
        hold=hold,
    )
