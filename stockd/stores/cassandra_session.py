"""The driver on asyncio: connect, make tables, prepare, execute. Every wait is bounded and none blocks the event loop.

The driver answers on a thread of its own. Answers are collected and handed to the loop once per burst, because waking
the loop costs more than an answer.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from cassandra import (
    ConsistencyLevel,
    CoordinationFailure,
    DriverException,
    InvalidRequest,
    OperationTimedOut,
    Timeout,
    Unavailable,
)
from cassandra import cluster as driver
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
from cassandra.connection import ConnectionException
from cassandra.io.libevreactor import LibevConnection
from cassandra.policies import (
    ConstantReconnectionPolicy,
    FallthroughRetryPolicy,
)
from cassandra.protocol import ErrorMessage, RequestExecutionException, ServerError

from sluice.cassandra_client import cassandra_access
from sluice.errors import StoreUnreachable
from stockd.stores.cassandra_nodes import PROBE_TIMEOUT_S, AnsweringFirst, Node, SilentNodes, keep_probing
from stockd.stores.opening import RETRY_PAUSE_S

MAX_IN_FLIGHT = 96
"""Below the 128 request threads of one server, so that it always has some left for reads and for others. Far below the
driver's 32,767 streams too: without a free stream it would block the event loop for two seconds.
"""

PLACE_WAIT_S = 0.5
"""Longest wait for one of these places. With a request timeout of 1.2 s a call ends within 1.7 s, and callers hear
UNAVAILABLE within two."""

SCHEMA_TIMEOUT_S = 10.0
"""One CREATE or PREPARE, at start only. A cold server on a busy machine was seen to need two seconds for a table."""

CONNECT_TIMEOUT_S = 2.0
"""A hung server accepts connections and says nothing; the next attempt may find it awake."""

HEARTBEAT_INTERVAL_S = 5
HEARTBEAT_TIMEOUT_S = 2.0
"""A connection that hangs is given up after both. Until then a timed-out request keeps its stream: 600 of them."""

CAS_WRITE_UNKNOWN = 0x1700
"""The driver has no class for it. Protocol v4 servers send a write timeout instead, proxies may not."""

# The server may have acted, may act later, or cannot say.
_OUTCOME_UNKNOWN = (
    Timeout,
    CoordinationFailure,
    OperationTimedOut,
    ConnectionException,
    RequestExecutionException,  # overloaded, bootstrapping: the coordinator may have begun
    ServerError,
)
# Nothing was sent: the coordinator saw too few replicas, or there was no connection to send on. That holds because no
# retry policy moves a request on to a next host after it was sent to a first.
_NOT_SENT = (Unavailable, NoHostAvailable)


class Answer(NamedTuple):
    """Rows as tuples, in the order of `columns`."""

    columns: Sequence[str]
    rows: Sequence[tuple[Any, ...]]


class _NodeSilent(OperationTimedOut):  # type: ignore[misc]  # the driver has no types
    """The node that was asked does not answer probes either, and another one may."""


class _Outcome(NamedTuple):
    waiter: asyncio.Future[Answer | None]
    answer: Answer | None
    error: Exception | None


class CassandraSession:
    """Made by `connect`. All methods belong to the event loop on which it was made."""

    def __init__(self, cluster: Cluster, session: Any, local_dc: str, silent: SilentNodes) -> None:
        self._silent = silent
        silent.on_silence = self._give_up_on
        self._probing: asyncio.Task[None] | None = None
        self._sent: dict[asyncio.Future[Answer | None], Any] = {}
        self._cluster = cluster
        self._session = session
        self._local_dc = local_dc
        self._loop = asyncio.get_running_loop()
        self._places = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._outcomes: deque[_Outcome] = deque()
        self._waking = False

    async def create(self, keyspace: str, tables: Mapping[str, str], statements: Sequence[str]) -> None:
        """Runs the CREATE statements if the keyspace or one of its tables, or the column named with it, is not there.
        May be run by several processes at once: all send to the same node, which does one after the other.

        Raises StoreUnreachable, also for what a schema change in progress looks like from outside.
        """
        await asyncio.to_thread(self._create, keyspace, tables, statements)

    async def stands(self, keyspace: str, tables: Mapping[str, str]) -> bool:
        """Whether the keyspace has these tables with these columns. Raises StoreUnreachable."""
        return await asyncio.to_thread(self._stands, keyspace, tables)

    async def prepare(self, cql: str) -> Any:
        """Raises StoreUnreachable, also for a table that another process is just making: a node shows it in its list of
        tables a moment before statements may speak of it.
        """
        try:
            return await asyncio.to_thread(self._session.prepare, cql)
        except InvalidRequest as error:
            raise StoreUnreachable(f"Cassandra does not know what this speaks of: {cql.strip()}: {error}") from error
        except Exception as error:
            raise _translated(error) from error

    async def write(self, statement: Any) -> Answer:
        """Sends a bound statement once. Raises StoreUnreachable within PLACE_WAIT_S and the request timeout."""
        try:
            async with asyncio.timeout(PLACE_WAIT_S):
                await self._places.acquire()
        except TimeoutError:
            raise StoreUnreachable(f"{MAX_IN_FLIGHT} requests wait for Cassandra; this one was not sent") from None
        waiter: asyncio.Future[Answer | None] = self._loop.create_future()
        request = self._sent[waiter] = self._session.execute_async(statement)
        # The place is free again when the request has ended, which may be after its caller was cancelled.
        request.add_callbacks(self._answered, self._failed, callback_args=(waiter,), errback_args=(waiter,))
        try:
            return await waiter or Answer((), ())
        except OperationTimedOut as error:
            if request.attempted_hosts:
                self._silent.add(request.attempted_hosts[-1], self._nodes())
            raise _translated(error) from error
        except Exception as error:
            raise _translated(error) from error
        finally:
            del self._sent[waiter]

    async def read(self, statement: Any, consistency: ConsistencyLevel) -> Answer:
        """As `write`; a read changes nothing, so its outcome is never unknown. If its node falls silent it is sent once
        more, to another.
        """
        statement.consistency_level = consistency
        try:
            try:
                return await self.write(statement)
            except StoreUnreachable as error:
                if not isinstance(error.__cause__, _NodeSilent):
                    raise
            return await self.write(statement)
        except StoreUnreachable as error:
            raise StoreUnreachable(str(error)) from error

    def watch_nodes(self, probe: Callable[[], Any]) -> None:
        """From now on nodes that cannot execute what `probe` returns, a bound read, are asked last."""

        async def ask(node: Node) -> None:
            statement = probe()
            statement.consistency_level = ConsistencyLevel.LOCAL_QUORUM
            waiter: asyncio.Future[Answer | None] = self._loop.create_future()
            await self._places.acquire()
            self._session.execute_async(statement, host=node, timeout=PROBE_TIMEOUT_S).add_callbacks(
                self._answered, self._failed, callback_args=(waiter,), errback_args=(waiter,)
            )
            await waiter

        self._probing = asyncio.create_task(keep_probing(self._nodes, ask, self._silent))

    async def close(self) -> None:
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.gather(self._probing, return_exceptions=True)
        await asyncio.to_thread(self._cluster.shutdown)

    def _create(self, keyspace: str, tables: Mapping[str, str], statements: Sequence[str]) -> None:
        if self._stands(keyspace, tables):
            return
        try:
            one_for_all = min(
                (node for node in self._nodes() if node.is_up), key=lambda node: node.endpoint, default=None
            )
            for statement in statements:
                self._session.execute(statement, host=one_for_all, timeout=SCHEMA_TIMEOUT_S)
        except (NoHostAvailable, DriverException, ConnectionException, ErrorMessage) as error:
            raise StoreUnreachable(f"cannot make keyspace {keyspace}: {error}") from error

    def _stands(self, keyspace: str, tables: Mapping[str, str]) -> bool:
        try:
            self._cluster.refresh_schema_metadata()
        except (NoHostAvailable, DriverException, ConnectionException, ErrorMessage) as error:
            raise StoreUnreachable(f"cannot look for keyspace {keyspace}: {error}") from error
        known = self._cluster.metadata.keyspaces.get(keyspace)
        return known is not None and all(
            table in known.tables and column in known.tables[table].columns for table, column in tables.items()
        )

    def _nodes(self) -> list[Node]:
        return [node for node in self._cluster.metadata.all_hosts() if node.datacenter == self._local_dc]

    def _give_up_on(self, node: Node) -> None:
        """Whoever waits for the node may ask another one now. What it was asked to do it may still do."""
        for waiter, request in self._sent.items():
            if not waiter.done() and request.attempted_hosts[-1:] == [node]:
                waiter.set_exception(_NodeSilent({str(node.endpoint): "the node is silent"}, node))

    # The next two run on the driver's threads, or here if the request ended at once.

    def _answered(self, answer: Answer | None, waiter: asyncio.Future[Answer | None]) -> None:
        self._hand_over(_Outcome(waiter, answer, None))

    def _failed(self, error: Exception, waiter: asyncio.Future[Answer | None]) -> None:
        self._hand_over(_Outcome(waiter, None, error))

    def _hand_over(self, outcome: _Outcome) -> None:
        self._outcomes.append(outcome)
        # Appended before the flag is read, and cleared before the queue is emptied: no outcome is left behind. Two
        # threads that both see it clear wake the loop twice, which is harmless.
        if self._waking or self._loop.is_closed():
            return
        self._waking = True
        self._loop.call_soon_threadsafe(self._resolve)

    def _resolve(self) -> None:
        self._waking = False
        while self._outcomes:
            waiter, answer, error = self._outcomes.popleft()
            self._places.release()
            if waiter.done():  # cancelled
                continue
            if error is None:
                waiter.set_result(answer)
            else:
                waiter.set_exception(error)


async def connect(contact_points: str, local_dc: str, request_timeout_s: float) -> CassandraSession:
    """One attempt. `contact_points`: as in `sluice.cassandra_client`. Raises StoreUnreachable; and ValueError, which
    names what is wrong with them.
    """
    # A wheel without its compiled parts works, ten times slower and on another reactor.
    assert driver.__file__.endswith(".so"), "the Cassandra driver lacks its compiled modules"
    assert driver.DefaultConnection is LibevConnection, "the Cassandra driver lacks libev"
    attempt = asyncio.create_task(asyncio.to_thread(_connect, contact_points, local_dc, request_timeout_s))
    try:
        cluster, session, silent = await asyncio.shield(attempt)
    except asyncio.CancelledError:
        attempt.add_done_callback(_abandon)  # the thread goes on; what it opens must be closed
        raise
    return CassandraSession(cluster, session, local_dc, silent)


def _connect(contact_points: str, local_dc: str, request_timeout_s: float) -> tuple[Cluster, Any, SilentNodes]:
    addresses, login, tls = cassandra_access(contact_points)
    silent = SilentNodes()
    profile = ExecutionProfile(
        load_balancing_policy=AnsweringFirst(local_dc, silent),
        # The driver's own retries do not ask whether a write may be repeated.
        retry_policy=FallthroughRetryPolicy(),
        row_factory=Answer,
        consistency_level=ConsistencyLevel.LOCAL_QUORUM,
        serial_consistency_level=ConsistencyLevel.LOCAL_SERIAL,
        request_timeout=request_timeout_s,
    )
    try:
        cluster = Cluster(
            addresses,
            port=addresses[0][1],
            auth_provider=PlainTextAuthProvider(*login) if login is not None else None,
            ssl_context=tls,
            protocol_version=4,  # v5 checks frames in pure Python, and sends 0x1700 that the driver does not know
            compression=False,
            execution_profiles={EXEC_PROFILE_DEFAULT: profile},
            reconnection_policy=ConstantReconnectionPolicy(RETRY_PAUSE_S, max_attempts=None),
            connect_timeout=CONNECT_TIMEOUT_S,
            control_connection_timeout=CONNECT_TIMEOUT_S,
            idle_heartbeat_interval=HEARTBEAT_INTERVAL_S,
            idle_heartbeat_timeout=HEARTBEAT_TIMEOUT_S,
            monitor_reporting_enabled=False,
            executor_threads=4,
        )
    except DriverException as error:  # no contact point has an address (yet)
        raise StoreUnreachable(f"Cassandra at {contact_points}: {error}") from error
    try:
        session = cluster.connect()
    except (NoHostAvailable, DriverException, ConnectionException) as error:
        cluster.shutdown()
        raise StoreUnreachable(f"Cassandra at {contact_points}: {error}") from error
    # One read shows one moment: pages of one partition would not. Every list has its own limit.
    session.default_fetch_size = None
    return cluster, session, silent


def _abandon(attempt: asyncio.Task[tuple[Cluster, Any, SilentNodes]]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result()[0].shutdown()


def _translated(error: Exception) -> Exception:
    """StoreUnreachable for what the world does to a request. Anything else is a bug and stays what it is."""
    if isinstance(error, _NOT_SENT):
        return StoreUnreachable(f"Cassandra: {error}")
    if isinstance(error, _OUTCOME_UNKNOWN) or getattr(error, "code", None) == CAS_WRITE_UNKNOWN:
        return StoreUnreachable(f"Cassandra: {error}", outcome_unknown=True)
    return error
