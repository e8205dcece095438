"""The system under test: a whole cluster of real servers in which every part reaches every other through a link that
can be disturbed.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from deploy.local import cassandra, cluster, state
from deploy.local.cluster import Cluster
from deploy.local.layout import ClusterSpec, listeners
from deploy.local.ports import LOOPBACK, free_port
from deploy.local.state import State
from tests.chaos.links import Door, Link, Network

CLIENTS = "clients"
"""The name of this process among the callers: its buyers call gateways over links that can be disturbed too."""

PEER_DEAD_AFTER_S = 6.0
"""Below the default, so that a short run sees servers fenced; above the pauses of a machine whose two cores run all."""


class System(NamedTuple):
    cluster: Cluster
    network: Network

    @property
    def names(self) -> list[str]:
        return self.cluster.names

    def of_role(self, role: str) -> list[str]:
        return self.cluster.spec.names(role)


def specification(directory: Path) -> ClusterSpec:
    spec = ClusterSpec(
        directory,
        nodes=3,
        stockds=3,
        gateways=2,
        relays=2,
        consumers="lifecycle,compensation",
        peer_dead_after_s=PEER_DEAD_AFTER_S,
    )
    reached_at = {name: f"127.0.1.{index}" for index, name in enumerate(_servers(spec), start=1)}
    return ClusterSpec(**vars(spec) | {"reached_at": reached_at})


@contextmanager
def running_system(directory: Path, say: Callable[[str], None]) -> Iterator[System]:
    """Stops everything at the end, and leaves data and logs where they are."""
    spec = specification(directory)
    directory.mkdir(parents=True, exist_ok=True)
    ports = _ports(spec)
    # The launcher keeps the ports that it finds written down: the proxies must listen before anything starts.
    state.save(State(spec, ports))
    network = Network(doors(spec, ports), lambda: _pids(directory))
    network.start()
    try:
        yield System(cluster.up(spec, say), network)
    finally:
        network.clear_all()
        cluster.down(directory)
        network.stop()


def doors(spec: ClusterSpec, ports: Mapping[str, int]) -> list[Door]:
    gateways, stockds, relays = spec.names("gateway"), spec.names("stockd"), spec.names("relay")
    nodes, consumers = spec.names("cassandra"), spec.names("consume")

    def door(server: str, port: str, own_host: str, callers: list[str]) -> Door:
        return Door(server, spec.reached_at[server], own_host, ports[port], callers)

    found = [
        door("postgres", "postgres", LOOPBACK, [*gateways, *stockds, *relays, *consumers]),
        door("kafka", "kafka", LOOPBACK, [*relays, *consumers]),
        *(door(name, name, LOOPBACK, [*gateways, *consumers]) for name in stockds),
        *(door(name, name, LOOPBACK, [CLIENTS]) for name in gateways),
    ]
    for name, host in zip(nodes, cassandra.hosts(spec.nodes), strict=True):
        found.append(door(name, "cassandra", host, [*gateways, *stockds, *consumers]))
        found.append(door(name, "cassandra-storage", host, [peer for peer in nodes if peer != name]))
    return found


def links(spec: ClusterSpec) -> list[Link]:
    """Every link there is, in a fixed order."""
    ports = dict.fromkeys([*_servers(spec), "cassandra", "cassandra-storage"], 0)
    return [Link(caller, door.server) for door in doors(spec, ports) for caller in door.callers]


def _ports(spec: ClusterSpec) -> dict[str, int]:
    """Not the usual ones: it takes a while until they are used, and another cluster may want them meanwhile."""
    ports: dict[str, int] = {}
    for listener in listeners(spec):
        hosts = [host for name, own in listener.binders for host in {own, spec.reached_at.get(name, own)}]
        ports[listener.key] = free_port(hosts, taken=ports.values())
    return ports


def _servers(spec: ClusterSpec) -> list[str]:
    return [*spec.names("cassandra"), "postgres", "kafka", *spec.names("stockd"), *spec.names("gateway")]


def _pids(directory: Path) -> dict[str, int]:
    # From the launcher's own notes: it writes down whatever it starts before that can connect to anything.
    known = state.load(directory)
    records = known.records if known else ()
    return {record.name: record.identity.pid for record in records} | {CLIENTS: os.getpid()}
