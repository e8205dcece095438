"""The whole cluster on one machine: real servers and Sluice's own processes, started and stopped in order."""

import shutil
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from deploy.local import cassandra, kafka, packages, postgres, redis, services, state
from deploy.local.layout import ClusterSpec, Endpoints, assign_ports, brokers, endpoints, listeners, nodes
from deploy.local.ports import holder
from deploy.local.processes import Identity, Process, is_alive, terminate
from deploy.local.state import Record, State

Say = Callable[[str], None]


class SpecChangedError(Exception):
    """The cluster that is there is of another size than the one asked for; the text says what to do."""


class ProcessStatus(NamedTuple):
    """One process as `status` shows it."""

    name: str
    role: str
    pid: int
    alive: bool
    endpoint: str | None
    metrics: str | None
    log: str


class Status(NamedTuple):
    """What should be running and whether it does. `endpoints` is None while the cluster is down."""

    directory: str
    endpoints: Endpoints | None
    processes: list[ProcessStatus]

    @property
    def running(self) -> bool:
        return bool(self.processes) and all(process.alive for process in self.processes)


class _Member(NamedTuple):
    """A part of the cluster before it is made. Making one may download, initialise or format."""

    name: str
    role: str
    endpoint: str | None
    metrics: str | None
    make: Callable[[Path], Process]


# Chains run side by side, the members of a chain one after the other, stages one after the other.
_Stage = list[list[_Member]]


class Cluster:
    """A running cluster. Its processes can be killed, frozen and started again one by one."""

    def __init__(self, spec: ClusterSpec, ports: dict[str, int], records: Iterable[Record]) -> None:
        self.spec = spec
        self.endpoints = endpoints(spec, ports)
        self.nodes = nodes(spec, ports)
        self.brokers = brokers(spec, ports)
        self._ports = ports
        self._records = {record.name: record for record in records}
        self._processes: dict[str, Process] = {}
        # Chains note what they started from threads of their own.
        self._lock = threading.Lock()

    def process(self, name: str) -> Process:
        """By name: `stockd-0`, `gateway-0`, `relay-0`, `postgres`, `kafka` (of three `kafka-1` ...),
        `cassandra-1` ... Raises KeyError.
        """
        return self._processes[name]

    @property
    def names(self) -> list[str]:
        return list(self._processes)

    def down(self, *, purge: bool = False, say: Say = lambda _: None) -> None:
        """Stop everything, in reverse order; `purge` deletes the data too."""
        down(self.spec.directory, purge=purge, say=say)

    def status(self) -> Status:
        return status(self.spec.directory)

    def runs(self, name: str) -> bool:
        record = self._records.get(name)
        return record is not None and is_alive(record.identity)

    def log(self, name: str) -> Path:
        return self.spec.directory / "logs" / f"{name}.log"

    def metrics(self, name: str) -> str:
        """The URL of the metrics of a Sluice process."""
        return services.metrics_url(self._ports, name)

    def make(self, member: _Member) -> Process:
        process = member.make(self.log(member.name))
        with self._lock:
            known = self._records.get(member.name)
            process.identity = known.identity if known else None
            process.launched = partial(self._note, member, process)
            self._processes[member.name] = process
        return process

    def forget(self, names: Iterable[str]) -> None:
        with self._lock:
            for name in names:
                self._records.pop(name, None)
            self._save()

    def _note(self, member: _Member, process: Process, identity: Identity) -> None:
        with self._lock:
            self._records[member.name] = Record(
                name=member.name,
                role=member.role,
                identity=identity,
                endpoint=member.endpoint,
                metrics=member.metrics,
                log=str(process.command.log),
                stop_signal=process.command.stop_signal,
            )
            self._save()

    def _save(self) -> None:
        state.save(State(self.spec, self._ports, tuple(self._records.values())))


def up(spec: ClusterSpec, say: Say = lambda _: None) -> Cluster:
    """Start what does not run yet, wait until everything answers, and return the cluster.

    Raises MissingError, ResolveError, PortHeldError, SpecChangedError, StateError or StartError; what this call
    started is stopped again then.
    """
    programs = packages.require(say)
    with state.exclusive(spec.directory):
        known = state.load(spec.directory) or State(spec, {})
        alive = {record.name for record in known.records if is_alive(record.identity)}
        _check_same_size(spec, known.spec, running=bool(alive))
        ports = assign_ports(spec, known.ports, alive)
        _say_unusual(spec, ports, known.ports, say)
        cluster = Cluster(spec, ports, (record for record in known.records if record.name in alive))
        started: list[Process] = []
        try:
            servers, *own = _stages(spec, ports, programs)
            _start_stage(cluster, servers, started, say)
            _wait_for_ring(cluster)
            _wait_for_brokers(cluster)
            for stage in own:
                _start_stage(cluster, stage, started, say)
        except BaseException:
            for process in reversed(started):
                process.terminate()
            cluster.forget(process.command.name for process in started)
            raise
        if not started:
            say("the cluster is already running")
        return cluster


def down(directory: Path, *, purge: bool = False, say: Say = lambda _: None) -> None:
    """Stop what the state file of `directory` names, in reverse order of starting, and nothing else.

    Harmless when nothing runs. `purge` deletes what the cluster wrote into `directory`. Raises StateError.
    """
    directory = directory.absolute()
    if not directory.exists():
        return
    with state.exclusive(directory):
        known = state.load(directory)
        if known is None:
            return
        for roles in (("gateway",), ("consume",), ("stockd",), ("relay",), ("postgres", "kafka", "cassandra", "redis")):
            _stop([record for record in known.records if record.role in roles], say)
        if purge:
            _purge(known.spec)
        else:
            state.save(replace(known, records=()))


def status(directory: Path) -> Status:
    """Raises StateError."""
    directory = directory.absolute()
    known = state.load(directory)
    if known is None or not known.records:
        return Status(str(directory), None, [])
    processes = [
        ProcessStatus(
            name=record.name,
            role=record.role,
            pid=record.identity.pid,
            alive=is_alive(record.identity),
            endpoint=record.endpoint,
            metrics=record.metrics,
            log=record.log,
        )
        for record in known.records
    ]
    return Status(str(directory), endpoints(known.spec, known.ports), processes)


def _say_unusual(spec: ClusterSpec, ports: dict[str, int], kept: dict[str, int], say: Say) -> None:
    """Who expects a well-known port learns where its server is instead, and why."""
    for listener in listeners(spec):
        number, usual = ports[listener.key], listener.usual
        if usual is not None and number not in (usual, kept.get(listener.key)):
            say(f"{listener.key}: port {number}, because {usual} is held by {holder(usual) or 'another process'}")


def _check_same_size(wanted: ClusterSpec, known: ClusterSpec, *, running: bool) -> None:
    if running and wanted != known:
        raise SpecChangedError(f"another cluster is running in {known.directory}, take it down first: {known}")
    if wanted.store != known.store:
        raise SpecChangedError(
            f"the ledger in {known.directory} is in {known.store}, not in {wanted.store};"
            " delete it with `down --purge`, or use another directory"
        )
    if wanted.journals != known.journals:
        raise SpecChangedError(
            f"the orders in {known.directory} are in {known.journals} journal(s), not in {wanted.journals};"
            " delete them with `down --purge`, or use another directory"
        )
    if wanted.nodes != known.nodes:
        raise SpecChangedError(
            f"the data in {known.directory} is that of {known.nodes} Cassandra node(s), not {wanted.nodes};"
            " delete it with `down --purge`, or use another directory"
        )

    if wanted.brokers != known.brokers:
        raise SpecChangedError(
            f"the data in {known.directory} is that of {known.brokers} Kafka broker(s), not {wanted.brokers};"
            " delete it with `down --purge`, or use another directory"
        )


def _stages(spec: ClusterSpec, ports: dict[str, int], programs: packages.Programs) -> list[_Stage]:
    stockds = [_service(services.stockd, "stockd", spec, ports, name) for name in spec.names("stockd")]
    relays = [_service(services.relay, "relay", spec, ports, name) for name in spec.names("relay")]
    consumes = [_service(services.consume, "consume", spec, ports, name) for name in spec.names("consume")]
    gateways = [_service(services.gateway, "gateway", spec, ports, name) for name in spec.names("gateway")]
    return [
        [
            [_postgres(spec, ports, programs)],
            # Side by side: one of three does not answer before a second one runs.
            *([_kafka(spec, ports, programs, index)] for index in range(spec.brokers)),
            # Before version 5.1 nodes must join one at a time.
            [_cassandra(spec, programs, node) for node in nodes(spec, ports)],
            [_redis(spec, ports)] if spec.store == "redis" else [],
        ],
        # The first stockd makes the keyspace: Cassandra 5.0 does not take the same schema change twice at a time.
        [stockds[:1]],
        [[member] for member in (*stockds[1:], *relays)],
        [[member] for member in (*gateways, *consumes)],
    ]


def _postgres(spec: ClusterSpec, ports: dict[str, int], programs: packages.Programs) -> _Member:
    port = ports["postgres"]

    def make(log: Path) -> Process:
        return postgres.create(spec.directory / "postgres", port, programs.postgres_bin, log, spec.journals)

    return _Member("postgres", "postgres", postgres.urls(port, spec.journals, spec.host("postgres")), None, make)


def _kafka(spec: ClusterSpec, ports: dict[str, int], programs: packages.Programs, index: int) -> _Member:
    found = brokers(spec, ports)
    broker = found[index]

    def make(log: Path) -> Process:
        return kafka.create(spec.directory / broker.name, found, index, programs.java, log)

    return _Member(broker.name, "kafka", broker.bootstrap, None, make)


def _cassandra(spec: ClusterSpec, programs: packages.Programs, node: cassandra.Node) -> _Member:
    def make(log: Path) -> Process:
        return cassandra.create(spec.directory / node.name, node, programs.java, log)

    return _Member(node.name, "cassandra", node.contact_point, None, make)


def _redis(spec: ClusterSpec, ports: dict[str, int]) -> _Member:
    port = ports["redis"]

    def make(log: Path) -> Process:
        return redis.create(spec.directory / "redis", port, "always", packages.require_redis(), log)

    return _Member("redis", "redis", redis.url(port), None, make)


def _service(
    create: Callable[[ClusterSpec, dict[str, int], str, Path], Process],
    role: str,
    spec: ClusterSpec,
    ports: dict[str, int],
    name: str,
) -> _Member:
    endpoint = f"{spec.host(name)}:{ports[name]}" if name in ports else None
    return _Member(name, role, endpoint, services.metrics_url(ports, name), partial(create, spec, ports, name))


def _start_stage(cluster: Cluster, stage: _Stage, started: list[Process], say: Say) -> None:
    chains = [chain for chain in stage if chain]
    if not chains:
        return
    cancelled = threading.Event()
    with ThreadPoolExecutor(len(chains)) as threads:
        futures = [threads.submit(_start_chain, cluster, chain, started, cancelled, say) for chain in chains]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
            _raise_first(futures)
        except BaseException:
            cancelled.set()
            # Ends the waiting of the other chains: what they wait for is gone.
            for process in list(started):
                process.terminate()
            raise


def _wait_for_ring(cluster: Cluster) -> None:
    """Each of several Cassandra nodes must see the others, else the first write to a new keyspace is refused."""
    if len(cluster.spec.names("cassandra")) <= 1:
        return
    for node in cluster.nodes:
        cluster.process(node.name).wait_until(partial(cassandra.sees_all, node.host, node.cql_port))


def _wait_for_brokers(cluster: Cluster) -> None:
    """Each of several brokers must see the others, else the first topic with a copy on each is refused."""
    for broker in cluster.brokers:
        process = cluster.process(broker.name)
        process.wait_until(partial(kafka.answers, broker.port, len(cluster.brokers)))


def _raise_first(futures: list[Future[None]]) -> None:
    for future in futures:
        if future.done():
            future.result()


def _start_chain(
    cluster: Cluster, chain: list[_Member], started: list[Process], cancelled: threading.Event, say: Say
) -> None:
    for member in chain:
        if cluster.runs(member.name):
            process = cluster.make(member)
            process.wait_until(process.answers)
            continue
        # Said before it is made: the first time that takes a download.
        say(f"{member.name}: starting, log in {cluster.log(member.name)}")
        begin = time.monotonic()
        process = cluster.make(member)
        if cancelled.is_set():
            return
        started.append(process)
        process.start()
        where = member.endpoint or member.metrics
        say(f"{member.name}: answers on {where} after {time.monotonic() - begin:.1f} s")


def _stop(records: list[Record], say: Say) -> None:
    living = [record for record in records if is_alive(record.identity)]
    if not living:
        return
    with ThreadPoolExecutor(len(living)) as threads:
        for record, stopping in [
            (record, threads.submit(terminate, record.identity, number=record.stop_signal)) for record in living
        ]:
            stopping.result()
            say(f"{record.name}: stopped")


def _purge(spec: ClusterSpec) -> None:
    """Only what the cluster made: the directory may hold other files of the user."""
    postgres.remove(spec.directory / "postgres")
    for name in ("postgres", "redis", *spec.names("kafka"), *spec.names("cassandra"), "logs"):
        shutil.rmtree(spec.directory / name, ignore_errors=True)
    state.remove(spec.directory)
    with suppress(OSError):
        spec.directory.rmdir()
