"""Places orders one at a time for their callers, many at a time on the wire: over one stream, which is opened again
whenever it ends. An order whose fate is open is sent again under the same id until it is decided or its time is over.

I/O is handed in, and the event loop is the clock.
"""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain, count

from sluice._gen.orders.v1 import orders_pb2
from sluice.client.answers import Line
from sluice.client.batches import Batches, Undecided
from sluice.client.errors import SluiceError, Unavailable
from sluice.client.order_stream import OrderStream, StreamEnded
from sluice.client.refusals import refusal
from sluice.client.retrying import CLOSED, DEADLINE, INTERNAL, OVERLOADED, Jitter, gives_up, pause_s
from sluice.client.wire import encode_batch, encode_order

MAX_UNDECIDED = 10_000
"""Orders that one client has at the same time; further callers wait. Twice what can be on its way, and about 10 MB."""

DEADLINE_GRAIN_S = 0.01
"""Deadlines are looked at together, at most this often: a timer for each order would cost more than sending it."""

SILENCE_S = 5.0
"""A stream with orders under way and no answer for so long is given up. A gateway whose own servers are away says so
within 2 s."""

SILENCE_LOOK_S = 1.0

_HAD_NO_EFFECT = frozenset({OVERLOADED, DEADLINE})
"""Answers to an attempt that was never started."""


class Placing:
    def __init__(
        self, open_stream: Callable[[], OrderStream], *, jitter: Jitter, max_undecided: int = MAX_UNDECIDED
    ) -> None:
        self._open_stream = open_stream
        self._jitter = jitter
        self._max_undecided = max_undecided
        self._loop = asyncio.get_running_loop()
        self._batches = Batches()
        self._resting: dict[int, list[Undecided]] = {}
        self._rest_numbers = count()
        self._undecided = 0
        self._invited = 0
        self._callers: deque[asyncio.Future[None]] = deque()
        self._work = asyncio.Event()
        self._look_at = math.inf
        self._look: asyncio.TimerHandle | None = None
        self._heard_at = 0.0
        self._trouble = ""
        self._closed = False

    @property
    def full(self) -> bool:
        """Then whoever comes next waits until there is room."""
        return self._undecided + self._invited >= self._max_undecided

    async def until_room(self, order_id: str, deadline: float) -> None:
        """Waits in line; the place is kept until the caller's next turn, in which it submits its order. Raises
        Unavailable at the deadline.
        """
        room: asyncio.Future[None] = self._loop.create_future()
        self._callers.append(room)
        try:
            async with asyncio.timeout_at(deadline):
                await room
        except BaseException as error:
            if room.done() and not room.cancelled():
                self._invited -= 1
                self._invite()  # whom the place was kept for does not come
            if isinstance(error, TimeoutError):
                raise Unavailable(self._trouble or DEADLINE, order_id, outcome_unknown=False) from error
            raise
        self._invited -= 1

    def submit(
        self, order_id: str, customer: str, lines: tuple[Line, ...], rest: bytes, deadline: float
    ) -> "asyncio.Future[bool]":
        """The answer: whether it is replayed. It may also be any error of an order. Raises ValueError, and Unavailable
        if this client is closed.
        """
        entry = encode_order(order_id, customer, rest)
        if self._closed:
            raise Unavailable(CLOSED, order_id, outcome_unknown=False)
        answer: asyncio.Future[bool] = self._loop.create_future()
        self._batches.add(Undecided(order_id, lines, entry, deadline, answer))
        self._undecided += 1
        if deadline < self._look_at:
            self._look_later(deadline)
        # Not sent at once: what else is submitted in this turn of the event loop joins the batch.
        if not self._work.is_set() and self._batches.may_send():
            self._work.set()
        return answer

    async def run(self) -> None:
        """Until it is cancelled; then whoever still waits is told."""
        failures = 0
        try:
            while True:
                await self._work.wait()
                ended, answered = await self._use(self._open_stream())
                failures = 1 if answered else failures + 1
                self._take_back(ended)
                await asyncio.sleep(pause_s(ended.reason, failures, self._jitter, ended.advised_s))
        finally:
            self._close()

    async def _use(self, stream: OrderStream) -> tuple[StreamEnded, bool]:
        """Until the stream ends; how it did, and whether there was any answer."""
        answered = False
        async with asyncio.TaskGroup() as tasks:
            helping = [tasks.create_task(self._write(stream)), tasks.create_task(self._end_if_silent(stream))]
            try:
                while True:
                    answer = await stream.read()
                    answered = True
                    self._settle(answer)
            except StreamEnded as ended:
                how = ended
            finally:
                for task in helping:
                    task.cancel()
                stream.cancel()
        return how, answered

    async def _write(self, stream: OrderStream) -> None:
        # Who reads hears why a stream ends.
        with contextlib.suppress(StreamEnded):
            # Until then nothing is under way: an order that has never left is known not to stand.
            await stream.connected()
            while True:
                await self._work.wait()
                self._work.clear()
                while self._batches.may_send():
                    batch_id, entries, dropped = self._batches.take()
                    self._release(dropped)
                    if entries:
                        await stream.write(encode_batch(batch_id, entries))

    async def _end_if_silent(self, stream: OrderStream) -> None:
        """A gateway that hangs keeps its connections: another one may be well."""
        self._heard_at = self._loop.time()
        while self._loop.time() < self._heard_at + SILENCE_S:
            await asyncio.sleep(SILENCE_LOOK_S)
            if not self._batches.any_under_way():
                self._heard_at = self._loop.time()
        stream.cancel()

    def _settle(self, answer: orders_pb2.PlaceOrdersResponse) -> None:
        self._heard_at = self._loop.time()
        self._trouble = ""
        batch = self._batches.of(answer.batch_id)
        decided = 0
        open_again: dict[str, list[Undecided]] = {}
        for result in answer.results:
            order = batch.pop(result.order_id, None)
            if order is None:
                continue
            outcome = result.outcome
            if outcome == orders_pb2.OUTCOME_ACCEPTED:
                decided += 1
                if not order.answer.done():
                    order.answer.set_result(result.replayed)
            elif outcome == orders_pb2.OUTCOME_REJECTED:
                decided += 1
                if not order.answer.done():
                    order.answer.set_exception(refusal(order, result.reason, result.detail))
            else:
                open_again.setdefault(result.reason, []).append(order)
        if answer.done and (forgotten := self._batches.finish(answer.batch_id)):
            open_again.setdefault(INTERNAL, []).extend(forgotten)
        for reason, orders in open_again.items():
            decided += self._rest(orders, reason)
        self._release(decided)
        self._send()

    def _rest(self, orders: Sequence[Undecided], reason: str) -> int:
        """Lets them wait before they are sent again, all together. Returns how many will not: nobody waits for them any
        more, or their time would be over, or it would be in vain.
        """
        pause = pause_s(reason, max(order.attempts for order in orders), self._jitter)
        then = self._loop.time() + pause
        resting = []
        for order in orders:
            order.heard = reason
            order.doubtful |= reason not in _HAD_NO_EFFECT
            if order.answer.done():
                continue
            if order.deadline <= then or gives_up(reason, order.attempts):
                order.answer.set_exception(Unavailable(reason, order.order_id, outcome_unknown=order.doubtful))
            else:
                resting.append(order)
        if resting:
            number = next(self._rest_numbers)
            self._resting[number] = resting
            self._loop.call_later(pause, self._wake, number)
        return len(orders) - len(resting)

    def _wake(self, number: int) -> None:
        self._batches.put_back(self._resting.pop(number, ()))
        self._send()

    def _take_back(self, ended: StreamEnded) -> None:
        """What was on its way is sent again, before all that waits."""
        left = self._batches.recall()
        self._trouble = ended.reason
        for order in left:
            order.doubtful |= not ended.graceful
        self._batches.put_back(left)
        if ended.failure is not None:
            failed = self._batches.drain()
            for order in failed:
                _fail(order, ended.failure())
            self._release(len(failed))
        self._work.clear()
        self._send()

    def _send(self) -> None:
        if self._batches.may_send():
            self._work.set()

    def _look_later(self, deadline: float) -> None:
        if self._look is not None:
            self._look.cancel()
        self._look_at = max(deadline, self._loop.time() + DEADLINE_GRAIN_S)
        self._look = self._loop.call_at(self._look_at, self._look_at_deadlines)

    def _look_at_deadlines(self) -> None:
        now = self._loop.time()
        earliest = math.inf
        for order in chain(self._batches.waiting(), *self._resting.values()):
            if order.deadline <= now:
                reason = order.heard or self._trouble or DEADLINE
                _fail(order, Unavailable(reason, order.order_id, outcome_unknown=order.doubtful))
            elif not order.answer.done():
                earliest = min(earliest, order.deadline)
        for order in self._batches.under_way():
            if order.deadline <= now:
                _fail(order, Unavailable(DEADLINE, order.order_id))
            elif not order.answer.done():
                earliest = min(earliest, order.deadline)
        self._release(self._batches.drop_done())
        self._look = None
        self._look_at = math.inf
        if earliest < math.inf:
            self._look_later(earliest)

    def _release(self, decided: int) -> None:
        self._undecided -= decided
        if self._callers:
            self._invite()

    def _invite(self) -> None:
        while self._callers and not self.full:
            caller = self._callers.popleft()
            if not caller.done():
                caller.set_result(None)
                self._invited += 1

    def _close(self) -> None:
        """Whoever waits is told."""
        self._closed = True
        if self._look is not None:
            self._look.cancel()
        for order in self._batches.under_way():
            order.doubtful = True
        for order in chain(self._batches.drain(), *self._resting.values()):
            _fail(order, Unavailable(CLOSED, order.order_id, outcome_unknown=order.doubtful))
        self._resting.clear()
        for caller in self._callers:
            if not caller.done():
                caller.set_result(None)  # and hears it when it submits
                self._invited += 1


def _fail(order: Undecided, error: SluiceError) -> None:
    if not order.answer.done():
        order.answer.set_exception(error)
