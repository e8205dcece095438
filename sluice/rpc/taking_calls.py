"""A server that has asked gRPC for the next calls before they come.

gRPC's own asyncio server asks for one call, hears of it in a later turn of the event loop, and only then asks for the
next: at most one call in a turn, with a round between two threads for each. Here so many are asked for that several are
taken up in one turn. Measured on a server that does nothing else (h2load beside it, two cores): 21,000 to 22,000
calls/s instead of 17,000 to 18,500, and of calls that are refused 20,000 to 28,000 instead of 12,000 to 14,000.

And as every call that arrives is handed over at once, how many wait to be taken up is known, and those that came last
can be refused without waiting for their turn.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import grpc
from grpc._cython import cygrpc  # what servers of grpc.aio are made of
from grpc.aio import _server  # `grpc.aio.server` gives no other way in

from sluice.rpc.failure import RpcFailure

ASKED_FOR = 4_096
"""So many calls that wait can be counted: more than any admission lets wait. Each costs 3 KB."""

REFUSED_AT_ONCE = 4
"""Before one for whom there is room is let in. Without this a server that was offered three or four times what it can
serve did nothing but refuse: 1 % of its peak was left (measured). Fewer would leave some more, and refusals would come
later than a tenth of a second already at twice the peak."""

TAKEN_AT_ONCE = 16
"""In one turn of the event loop. More gains nothing: 64 did as 16."""


@dataclass(frozen=True)
class Surplus:
    """What to do with calls that find too many waiting before them: those of `method`, its full name, are refused."""

    method: str
    refusal: RpcFailure
    room: Callable[[], int]
    """How many calls may wait to be taken up."""
    refused: Callable[[], None]
    """Told of each."""


class _Asked(NamedTuple):
    request: Coroutine[Any, Any, Any]
    """Of gRPC's own server; waits for `arrival`, and returns the call."""
    arrival: "asyncio.Future[Any]"


class Server(_server.Server, grpc.aio.Server):  # type: ignore[misc]  # the first is the second, with other types
    """As `grpc.aio.server` makes it, with neither interceptors nor a limit of calls."""

    def __init__(self, options: Sequence[tuple[str, Any]]) -> None:
        self._loop = cygrpc.get_working_loop()
        self._server = _Core(self._loop, options)

    def calls_waiting(self) -> int:
        """Calls that have arrived and that nobody has taken up yet, ASKED_FOR at most."""
        waiting: int = self._server.calls_waiting()
        return waiting

    def refuse(self, surplus: Surplus) -> None:
        """From now on. Calls of other methods that find no room are served before their turn: they are few, and cheap.

        A refused call is never read, and has no handler and no task: it costs the event loop 27 µs where one that is
        answered, for nothing else, costs 34 (measured).
        """
        self._server.refuse(surplus)


class _Core(cygrpc.AioServer):  # type: ignore[misc]  # it has no types
    def __init__(self, loop: asyncio.AbstractEventLoop, options: Sequence[tuple[str, Any]]) -> None:
        self._asked: deque[_Asked] = deque()
        self._refused = 0  # one after the other
        self._taken = 0  # in this turn of the event loop
        self._handlers: list[grpc.GenericRpcHandler] = []
        self._last_calls: set[asyncio.Task[None]] = set()
        self._event_loop = loop
        self._surplus: Surplus | None = None
        self._refusal: tuple[int, str, tuple[tuple[str, str | bytes], ...]] = (0, "", ())
        super().__init__(loop, None, (), None, tuple(options), None)

    def refuse(self, surplus: Surplus) -> None:
        failure = surplus.refusal
        self._refusal = (failure.code.value[0], failure.message, failure.trailing_metadata())
        self._surplus = surplus

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        self._handlers += handlers
        super().add_generic_rpc_handlers(handlers)

    async def _request_call(self) -> Any:
        """The next call, the one that was asked for first. gRPC's server asks for it here, one after the other."""
        while True:
            while len(self._asked) < ASKED_FOR:
                self._asked.append(self._ask())
            room = self._room()
            is_surplus = room < len(self._asked) and self._asked[room].arrival.done()
            if room and self._refused == REFUSED_AT_ONCE:
                is_surplus = False  # one for whom there is room is not to wait for ever behind those for whom is none
            self._refused = min(self._refused + 1, REFUSED_AT_ONCE) if is_surplus else 0
            asked = self._taken_out(room) if is_surplus else self._asked.popleft()
            if not asked.arrival.done():
                self._taken = 0
                await asked.arrival
                is_surplus = self._room() == 0
            elif self._taken == TAKEN_AT_ONCE:
                self._taken = 0
                await asyncio.sleep(0)
            self._taken += 1
            if not is_surplus:
                return _call_of(asked)
            self._turn_away(_call_of(asked))

    def _room(self) -> int:
        return ASKED_FOR if self._surplus is None else self._surplus.room()

    def _taken_out(self, place: int) -> _Asked:
        asked = self._asked[place]
        del self._asked[place]
        return asked

    def _turn_away(self, call: Any) -> None:
        assert self._surplus is not None
        if self._method_of(call) != self._surplus.method:
            self._serve(call)
            return
        no_metadata = cygrpc.SendInitialMetadataOperation((), _NO_FLAGS)
        sending = cygrpc._send_error_status_from_server(call, *self._refusal, no_metadata, self._event_loop)  # noqa: SLF001
        with contextlib.suppress(cygrpc.ExecuteBatchError):  # a caller who has left
            _waited_for_by(sending).add_done_callback(partial(_end, sending))
        self._surplus.refused()

    def _method_of(self, call: Any) -> str:
        """Only a handler is told. This one is asked like any other, and goes no further."""
        asking = cygrpc._handle_rpc(_METHOD_TELLERS, (), call, self._event_loop, False)  # noqa: SLF001
        try:
            asking.send(None)
        except _MethodTold as told:
            return told.method
        raise AssertionError("gRPC asks handlers before it does anything else")

    def calls_waiting(self) -> int:
        """Calls that have arrived and are not taken up: they arrive in the order in which they were asked for."""
        return next((place for place, asked in enumerate(self._asked) if not asked.arrival.done()), len(self._asked))

    def _ask(self) -> _Asked:
        request = super()._request_call()
        return _Asked(request, _waited_for_by(request))

    async def _start_shutting_down(self) -> None:
        """No further call is asked for. What was handed over meanwhile is served like all calls in hand."""
        await super()._start_shutting_down()
        for asked in self._asked:
            # Those for which there was no call fail.
            with contextlib.suppress(cygrpc._RequestCallError):  # noqa: SLF001
                await asked.arrival
                self._serve(_call_of(asked))
        self._asked.clear()

    def _serve(self, call: Any) -> None:
        handling = cygrpc._handle_rpc(self._handlers, (), call, self._event_loop, False)  # noqa: SLF001
        task = self._event_loop.create_task(cygrpc._schedule_rpc_coro(handling, call, self._event_loop))  # noqa: SLF001
        self._last_calls.add(task)
        task.add_done_callback(self._last_calls.discard)


def _call_of(asked: _Asked) -> Any:
    """Of one that has arrived."""
    try:
        asked.request.send(None)
    except StopIteration as returned:
        return returned.value
    raise AssertionError("a request waits for its arrival and nothing else")


class _MethodTold(Exception):
    def __init__(self, method: str) -> None:
        super().__init__(method)
        self.method = method


class _MethodTeller(grpc.GenericRpcHandler):
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        raise _MethodTold(handler_call_details.method)


_METHOD_TELLERS: list[grpc.GenericRpcHandler] = [_MethodTeller()]
"""One list for all calls: gRPC keeps it with each until the garbage collector comes."""

_NO_FLAGS = 0


def _waited_for_by(coroutine: Coroutine[Any, Any, Any]) -> "asyncio.Future[Any]":
    """Starts it. What it waits for is taken as a task would take it."""
    future: asyncio.Future[Any] = coroutine.send(None)
    future._asyncio_future_blocking = False  # noqa: SLF001
    return future


def _end(sending: Coroutine[Any, Any, None], sent: "asyncio.Future[Any]") -> None:
    """Of a coroutine that has waited for the last time. A caller who left is not told."""
    del sent
    with contextlib.suppress(StopIteration, cygrpc.ExecuteBatchError):
        sending.send(None)
