"""One Cassandra node on a loopback address, from the jars of Maven Central."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from cassandra import ConsistencyLevel
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import FallthroughRetryPolicy, WhiteListRoundRobinPolicy

from deploy.local import jvm
from deploy.local.ports import accepts
from deploy.local.processes import Command, NotAnsweringError, Process

VERSION = "5.0.8"
_ARTIFACTS = (
    # The excluded groups serve `nodetool sjk` only.
    jvm.Artifact("org.apache.cassandra", "cassandra-all", VERSION, ("org.gridkit.jvmtool", "org.gridkit.lab")),
)
# Measured: 1.2 GB resident for a lone node, 0.8 GB for each of three.
_HEAP_MB_ALONE = 768
_HEAP_MB_SHARED = 384
_ANSWER_LIMIT_S = 5.0
_TOKEN_RANGE = 2**64

# What the project's own conf/jvm17-server.options opens.
_EXPORTS = (
    "java.base/jdk.internal.misc",
    "java.management.rmi/com.sun.jmx.remote.internal.rmi",
    "java.management/com.sun.jmx.remote.security",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.sql/java.sql",
    "java.base/java.lang.ref",
    "jdk.unsupported/sun.misc",
)
_OPENS = (
    "java.base/java.lang.module",
    "java.base/jdk.internal.loader",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.util.jar",
    "jdk.management/com.sun.management.internal",
    "java.base/sun.nio.ch",
    "java.base/java.io",
    "java.base/java.lang.reflect",
    "java.base/java.lang",
    "java.base/java.util",
    "java.base/java.nio",
)

_LOGBACK = """<configuration>
  <appender name="STDOUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%date{ISO8601} %-5level [%thread] %logger{0} - %msg%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="STDOUT"/></root>
</configuration>
"""


@dataclass(frozen=True)
class Node:
    """One node among `count`; `index` counts from 1. All use the same ports on addresses of their own."""

    index: int
    count: int
    cql_port: int
    storage_port: int
    # Name -> host at which the other nodes and clients reach a node, on the same ports, if not where it listens.
    reached_at: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"cassandra-{self.index}"

    @property
    def host(self) -> str:
        return f"127.0.0.{self.index}"

    @property
    def broadcast_host(self) -> str:
        return self.reached_at.get(self.name, self.host)

    @property
    def contact_point(self) -> str:
        return f"{self.broadcast_host}:{self.cql_port}"


def hosts(count: int) -> tuple[str, ...]:
    return tuple(Node(index, count, 0, 0).host for index in range(1, count + 1))


def create(directory: Path, node: Node, java: Path, log: Path) -> Process:
    """A node with its data in `directory`. Start node 1 first and one node at a time. Raises ResolveError."""
    directory = directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "cassandra.yaml"
    # JSON is YAML, and needs no YAML library here.
    config.write_text(json.dumps(_config(node), indent=1))
    logback = directory / "logback.xml"
    logback.write_text(_LOGBACK)
    command = Command(
        name=node.name,
        argv=(
            str(java),
            *_jvm_options(node),
            f"-Dcassandra.config={config.as_uri()}",
            f"-Dcassandra.storagedir={directory}",
            f"-Dcassandra.logdir={directory}",
            f"-Dlogback.configurationFile={logback.as_uri()}",
            "-cp",
            jvm.classpath("cassandra", _ARTIFACTS, java),
            "org.apache.cassandra.service.CassandraDaemon",
        ),
        directory=directory,
        log=log,
        listens=((node.host, node.cql_port), (node.host, node.storage_port)),
    )
    return Process(command, partial(answers, node.host, node.cql_port))


def answers(host: str, port: int) -> None:
    """A query on system.local, from this node and no other. Raises NotAnsweringError."""
    _ask(host, port, "SELECT release_version FROM system.local", ConsistencyLevel.ONE)


def sees_all(host: str, port: int) -> None:
    """The node believes that all of three nodes are up. Raises NotAnsweringError.

    A node that has just started comes to believe it only after some rounds of gossip.
    """
    # A table with three replicas in every cluster: ALL is refused while one of them is believed to be down.
    _ask(host, port, "SELECT id FROM system_distributed.repair_history LIMIT 1", ConsistencyLevel.ALL)


def _ask(host: str, port: int, query: str, consistency: int) -> None:
    if not accepts(host, port):
        raise NotAnsweringError(f"nothing listens on {host}:{port}")
    profile = ExecutionProfile(
        load_balancing_policy=WhiteListRoundRobinPolicy([host]),
        retry_policy=FallthroughRetryPolicy(),
        consistency_level=consistency,
        request_timeout=_ANSWER_LIMIT_S,
    )
    cluster = Cluster(
        [host],
        port=port,
        protocol_version=4,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        connect_timeout=_ANSWER_LIMIT_S,
        control_connection_timeout=_ANSWER_LIMIT_S,
        schema_metadata_enabled=False,
        token_metadata_enabled=False,
        monitor_reporting_enabled=False,
    )
    try:
        cluster.connect().execute(query)
    except Exception as error:  # the driver has no common base for what a starting node does to a client
        raise NotAnsweringError(str(error)) from error
    finally:
        cluster.shutdown()


def _jvm_options(node: Node) -> list[str]:
    heap_mb = _HEAP_MB_ALONE if node.count == 1 else _HEAP_MB_SHARED
    return [
        *(f"--add-exports={package}=ALL-UNNAMED" for package in _EXPORTS),
        *(f"--add-opens={package}=ALL-UNNAMED" for package in _OPENS),
        "-Djdk.attach.allowAttachSelf=true",
        "-Dio.netty.tryReflectionSetAccessible=true",
        "-Dio.netty.allocator.useCacheForAllThreads=true",
        "-Dio.netty.allocator.maxOrder=11",
        f"-Xms{heap_mb}m",
        f"-Xmx{heap_mb}m",
        "-Xss256k",
        "-XX:MaxDirectMemorySize=256m",
        "-XX:+UseG1GC",
        "-XX:+ExitOnOutOfMemoryError",
        "-Djava.net.preferIPv4Stack=true",
        "-Dchronicle.analytics.disable=true",
        "-Dcassandra-foreground=yes",
        # Waits that only make sense between machines: gossip settling, ring delay, shutdown announcement.
        "-Dcassandra.skip_wait_for_gossip_to_settle=0",
        "-Dcassandra.ring_delay_ms=0",
        "-Dcassandra.superuser_setup_delay_ms=0",
        "-Dcassandra.shutdown_announce_in_ms=0",
        "-Dcassandra.size_recorder_interval=0",
        "-Dcassandra.disable_tcactive_openssl=true",
    ]


def _peer(node: Node, index: int) -> str:
    return f"{replace(node, index=index).broadcast_host}:{node.storage_port}"


def _config(node: Node) -> dict[str, object]:
    return {
        "cluster_name": "sluice-local",
        "num_tokens": 1,
        "initial_token": str(-(2**63) + (node.index - 1) * _TOKEN_RANGE // node.count),
        # The ring is complete from the start, so there is nothing to stream.
        "auto_bootstrap": False,
        "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
        "endpoint_snitch": "SimpleSnitch",
        "seed_provider": [
            {
                "class_name": "org.apache.cassandra.locator.SimpleSeedProvider",
                # All of them: a node that is no seed gives up its start when no other answers at once, because the
                # machine is busy or its links are cut. Nothing is streamed, so a seed joins like any other.
                "parameters": [{"seeds": ",".join(_peer(node, index) for index in range(1, node.count + 1))}],
            }
        ],
        "listen_address": node.host,
        "rpc_address": node.host,
        "broadcast_address": node.broadcast_host,
        "broadcast_rpc_address": node.broadcast_host,
        "storage_port": node.storage_port,
        "native_transport_port": node.cql_port,
        # Measured: with "periodic", each kill -9 of a lone node lost up to 4 of the last 20 acknowledged conditional
        # writes, although the segments are memory-mapped: replay ends at the last marker, and markers are periodic too.
        # A lost take is an oversold unit. "batch" lost none; writes that wait together share one fsync.
        "commitlog_sync": "batch",
        "commitlog_segment_size": "8MiB",
        "commitlog_total_space": "128MiB",
        "memtable_heap_space": "96MiB",
        "memtable_offheap_space": "64MiB",
        "file_cache_size": "32MiB",
        "key_cache_size": "4MiB",
        "counter_cache_size": "8MiB",
        "prepared_statements_cache_size": "8MiB",
        "networking_cache_size": "16MiB",
        "concurrent_compactors": 1,
        # Otherwise every DROP and TRUNCATE of a test keeps a copy of the table.
        "auto_snapshot": False,
        "disk_failure_policy": "stop",
        "commit_failure_policy": "stop",
        # Not the server's default; stockd relies on its cheaper and linearizable reads.
        "paxos_variant": "v2",
        "cas_contention_timeout": "1000ms",
        "write_request_timeout": "2000ms",
        "counter_write_request_timeout": "5000ms",
        "native_transport_max_threads": 128,
        "storage_compatibility_mode": "NONE",
    }
