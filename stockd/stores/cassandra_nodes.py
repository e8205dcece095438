"""Which Cassandra nodes answer now; those that do not are asked last.

By itself the driver goes on asking a node that hangs until its heartbeats have failed, 7 s, and a node that is cut off
from the other replicas for ever: the node answers, and can do nothing. The SKUs whose requests start at that node would
wait all the while, although two of three replicas could serve them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any

import structlog
from cassandra.policies import DCAwareRoundRobinPolicy, TokenAwarePolicy

PROBE_INTERVAL_S = 0.5
PROBE_TIMEOUT_S = 0.5
"""A node that hangs is passed by after at most one second. Then buyers, who wait up to 1.2 s for the ledger, are
mostly served by another node before they are refused. Per process and node two small reads a second."""

_log = structlog.get_logger(__name__)

Node = Any
"""A `cassandra.pool.Host`; the driver has no types."""


class SilentNodes:
    """The nodes that did not answer when last asked. Changed on the event loop, read by the driver's threads too."""

    def __init__(self) -> None:
        self._silent: frozenset[Node] = frozenset()
        self.on_silence: Callable[[Node], None] = lambda _: None
        """Told of a node when it falls silent and there is another to ask."""

    def __contains__(self, node: Node) -> bool:
        return node in self._silent

    def add(self, node: Node, all_nodes: Iterable[Node]) -> None:
        if node in self._silent:
            return
        self._silent |= {node}
        _log.warning("a Cassandra node is silent", node=str(node.endpoint))
        if any(other not in self._silent for other in all_nodes):
            self.on_silence(node)

    def discard(self, node: Node) -> None:
        if node in self._silent:
            self._silent -= {node}
            _log.info("a Cassandra node answers again", node=str(node.endpoint))


class AnsweringFirst(TokenAwarePolicy):  # type: ignore[misc]  # the driver has no types
    """The replicas of a SKU in ring order, unshuffled: its conditional writes start at the same node, where they queue
    and do not duel. Silent nodes come last. No node of another data centre is used: LOCAL_SERIAL there is a vote among
    other replicas.
    """

    def __init__(self, local_dc: str, silent: SilentNodes) -> None:
        super().__init__(DCAwareRoundRobinPolicy(local_dc=local_dc), shuffle_replicas=False)
        self._silent = silent

    def make_query_plan(self, working_keyspace: str | None = None, query: Any = None) -> Iterator[Node]:
        last = []
        for node in super().make_query_plan(working_keyspace, query):
            if node in self._silent:
                last.append(node)
            else:
                yield node
        yield from last


async def keep_probing(
    nodes: Callable[[], Sequence[Node]], probe: Callable[[Node], Awaitable[None]], silent: SilentNodes
) -> None:
    """Asks every node for ever. `probe` raises whatever it likes if the node does not answer in time, or says that it
    cannot serve. A node that the driver has given up is not asked.
    """
    while True:
        up = [node for node in nodes() if node.is_up]
        if len(up) > 1:  # a lone node is asked in any case
            await asyncio.gather(*(_probe(node, up, probe, silent) for node in up))
        await asyncio.sleep(PROBE_INTERVAL_S)


async def _probe(node: Node, up: Sequence[Node], probe: Callable[[Node], Awaitable[None]], silent: SilentNodes) -> None:
    try:
        await probe(node)
    except Exception:  # noqa: BLE001 - whatever it says instead of an answer, another node should be asked
        silent.add(node, up)
    else:
        silent.discard(node)
