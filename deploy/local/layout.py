"""What a local cluster consists of, and which port each part gets."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from deploy.local import cassandra, kafka, postgres, redis
from deploy.local.ports import LOOPBACK, PortHeldError, free_port, is_free, usual_or_free
from sluice.sharding import MAX_SHARDS

DEFAULT_DIRECTORY = Path(".sluice/cluster")
# One node, or enough for a quorum that survives the loss of one.
NODE_COUNTS = (1, 3)
STORES = ("cassandra", "redis")

_POSTGRES_PORT = 5432
_KAFKA_PORT = 9092
_CQL_PORT = 9042
_REDIS_PORT = 6379
_FIRST_GATEWAY_PORT = 50051
_FIRST_STOCKD_PORT = 7101
# Fixed first choices, so that a Prometheus configuration can name them.
_FIRST_METRICS_PORT = {"gateway": 9201, "stockd": 9301, "relay": 9401, "consume": 9501}


@dataclass(frozen=True)
class ClusterSpec:
    """How large a cluster is and where its data and logs are. Cassandra's replication factor equals `nodes`; with
    `store` redis there is one Redis and no Cassandra, and `nodes` means nothing.
    """

    directory: Path = DEFAULT_DIRECTORY
    store: Literal["cassandra", "redis"] = "cassandra"
    nodes: int = 1
    # Of Kafka; also the number of copies of each partition.
    brokers: int = 1
    stockds: int = 2
    gateways: int = 1
    relays: int = 1
    # Databases over which orders are divided, all on the one PostgreSQL.
    journals: int = 1
    # Of lifecycle, compensation, projection and queue, comma separated; they share one process. By default two are not
    # among them: lifecycle writes every order twice more, projection reads and writes each line's SKU once more, and a
    # sale on one machine should not pay for it unasked. Of several journals there is no queue.
    consumers: str = "compensation,queue"
    log_level: str = "info"
    # As the setting of stockd: tests of dead servers need not wait as long as a sale should.
    peer_dead_after_s: float = 10.0
    # Name of a process -> host at which the others reach it, on its own port, where that is not the host on which it
    # listens: then somebody there passes connections on to it.
    reached_at: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.nodes not in NODE_COUNTS:
            raise ValueError(f"nodes must be one of {NODE_COUNTS}, not {self.nodes}")
        if not 1 <= self.journals <= MAX_SHARDS:
            raise ValueError(f"journals must be 1 to {MAX_SHARDS}, not {self.journals}")
        if self.brokers not in kafka.BROKER_COUNTS:
            raise ValueError(f"brokers must be one of {kafka.BROKER_COUNTS}, not {self.brokers}")
        if self.store not in STORES:
            raise ValueError(f"store must be one of {STORES}, not {self.store}")
        if self.store != "cassandra" and "projection" in self.consumers.split(","):
            raise ValueError("the consumer projection writes to Cassandra, and this cluster has none")
        object.__setattr__(self, "directory", self.directory.absolute())

    def host(self, name: str) -> str:
        """Where the others reach a process that is no Cassandra node."""
        return self.reached_at.get(name, LOOPBACK)

    def names(self, role: str) -> list[str]:
        """Names of the processes of `role`, in order."""
        if role == "cassandra":
            if self.store != "cassandra":
                return []
            return [f"cassandra-{index}" for index in range(1, self.nodes + 1)]
        if role == "kafka":
            return ["kafka"] if self.brokers == 1 else [f"kafka-{index}" for index in range(1, self.brokers + 1)]
        if role == "consume":
            # Consumers that end orders give their units back to the stock servers.
            return ["consume-0"] if self.consumers and self.stockds else []
        count = {"stockd": self.stockds, "gateway": self.gateways, "relay": self.relays}[role]
        return [f"{role}-{index}" for index in range(count)]


class Listener(NamedTuple):
    """A port that is needed: who binds it on which address, and the number that people expect there (None: any)."""

    key: str
    usual: int | None
    binders: tuple[tuple[str, str], ...]
    # Peers remember these numbers on disk, so a cluster with data cannot change them.
    fixed: bool = False


def listeners(spec: ClusterSpec) -> list[Listener]:
    wanted = [
        Listener("postgres", _POSTGRES_PORT, (("postgres", LOOPBACK),)),
    ]
    for i, name in enumerate(spec.names("kafka")):
        wanted.append(Listener(name, _KAFKA_PORT + i, ((name, LOOPBACK),)))
        wanted.append(Listener(f"{name}-controller", None, ((name, LOOPBACK),), fixed=True))
    if spec.store == "redis":
        wanted.append(Listener("redis", _REDIS_PORT, (("redis", LOOPBACK),)))
    else:
        nodes = tuple(zip(spec.names("cassandra"), cassandra.hosts(spec.nodes), strict=True))
        wanted.append(Listener("cassandra", _CQL_PORT, nodes))
        wanted.append(Listener("cassandra-storage", None, nodes, fixed=True))
    for role, first in (("gateway", _FIRST_GATEWAY_PORT), ("stockd", _FIRST_STOCKD_PORT)):
        wanted += [Listener(name, first + i, ((name, LOOPBACK),)) for i, name in enumerate(spec.names(role))]
    for role, first in _FIRST_METRICS_PORT.items():
        names = spec.names(role)
        wanted += [Listener(f"{name}-metrics", first + i, ((name, LOOPBACK),)) for i, name in enumerate(names)]
    return wanted


def assign_ports(spec: ClusterSpec, kept: Mapping[str, int], alive: Collection[str]) -> dict[str, int]:
    """A port for every listener: the one it had (`kept`), else the usual one, else any free one.

    While some processes are `alive`, the others must get their old ports back, because the living ones know them.
    Raises PortHeldError, naming the process in the way.
    """
    assigned: dict[str, int] = {}
    for listener in listeners(spec):
        dead_hosts = [host for name, host in listener.binders if name not in alive]
        number = kept.get(listener.key)
        if number is not None and number not in assigned.values() and is_free(number, dead_hosts):
            assigned[listener.key] = number
        elif number is not None and (alive or listener.fixed):
            raise PortHeldError(number, listener.key)
        else:
            hosts = [host for _, host in listener.binders]
            # Ports kept for listeners still to come are not given away.
            taken = [*assigned.values(), *(kept[key] for key in kept if key != listener.key)]
            if listener.usual is None:
                assigned[listener.key] = free_port(hosts, taken=taken)
            else:
                assigned[listener.key] = usual_or_free(listener.usual, hosts, taken=taken)
    return assigned


class Endpoints(NamedTuple):
    """Where clients find the cluster; `cassandra` and `kafka` are comma-separated `host:port` lists, and `postgres` is
    such a list of URLs if there are several journals. Of `cassandra` and `redis` the one that is not there is empty.
    """

    gateways: list[str]
    postgres: str
    cassandra: str
    kafka: str
    redis: str


def nodes(spec: ClusterSpec, ports: Mapping[str, int]) -> list[cassandra.Node]:
    return [
        cassandra.Node(index, spec.nodes, ports["cassandra"], ports["cassandra-storage"], spec.reached_at)
        for index, _ in enumerate(spec.names("cassandra"), start=1)
    ]


def brokers(spec: ClusterSpec, ports: Mapping[str, int]) -> list[kafka.Broker]:
    return [
        kafka.Broker(name, ports[name], ports[f"{name}-controller"], spec.host(name)) for name in spec.names("kafka")
    ]


def endpoints(spec: ClusterSpec, ports: Mapping[str, int]) -> Endpoints:
    return Endpoints(
        gateways=[f"{spec.host(name)}:{ports[name]}" for name in spec.names("gateway")],
        postgres=postgres.urls(ports["postgres"], spec.journals, spec.host("postgres")),
        cassandra=",".join(node.contact_point for node in nodes(spec, ports)),
        kafka=kafka.bootstrap(brokers(spec, ports)),
        redis=redis.url(ports["redis"]) if spec.store == "redis" else "",
    )


def address(port: int) -> str:
    return f"{LOOPBACK}:{port}"
