"""Kafka brokers on loopback ports, from the jars of Maven Central: KRaft, each broker and controller in one process."""

import shutil
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from deploy.local import jvm
from deploy.local.ports import LOOPBACK, accepts
from deploy.local.processes import Command, NotAnsweringError, Process

VERSION = "4.2.0"
_LOG4J_VERSION = "2.25.3"
_ARTIFACTS = (
    jvm.Artifact("org.apache.kafka", "kafka_2.13", VERSION),
    jvm.Artifact("org.apache.kafka", "kafka-tools", VERSION),
    # The server brings log4j-core and slf4j 1.7 but nothing that joins them.
    jvm.Artifact("org.apache.logging.log4j", "log4j-slf4j-impl", _LOG4J_VERSION),
)
BROKER_COUNTS = (1, 3)
"""One, or enough for a quorum that survives the loss of one."""

_ANSWER_LIMIT_S = 3.0
_FORMAT_LIMIT_S = 120.0

_LOG4J = """rootLogger.level = INFO
rootLogger.appenderRef.stdout.ref = STDOUT
appender.stdout.type = Console
appender.stdout.name = STDOUT
appender.stdout.layout.type = PatternLayout
appender.stdout.layout.pattern = %d{ISO8601} %-5p [%t] %c{1} - %m%n
"""


class Broker(NamedTuple):
    """One of a cluster: it tells clients to come to the host `reached_at`, on its own port."""

    name: str
    port: int
    controller_port: int
    reached_at: str = LOOPBACK

    @property
    def bootstrap(self) -> str:
        return f"{self.reached_at}:{self.port}"


def alone(port: int, controller_port: int) -> Sequence[Broker]:
    """A cluster of one."""
    return [Broker("kafka", port, controller_port)]


def bootstrap(brokers: Sequence[Broker]) -> str:
    return ",".join(broker.bootstrap for broker in brokers)


def create(directory: Path, brokers: Sequence[Broker], index: int, java: Path, log: Path) -> Process:
    """The broker at `index` of the cluster that all `brokers` make together, with its data in `directory`, which is
    formatted at the first call. The others' directories must lie beside it: what they agree on is made of that place.
    One of several answers only when most of them run. Raises ResolveError.
    """
    broker = brokers[index]
    directory = directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    classpath = jvm.classpath("kafka", _ARTIFACTS, java)
    config = directory / "server.properties"
    config.write_text(_properties(directory / "data", brokers, index))
    log4j = directory / "log4j2.properties"
    log4j.write_text(_LOG4J)
    if not (directory / "data/meta.properties").exists():
        _format(directory, brokers, config, log4j, classpath, java)
    command = Command(
        name=broker.name,
        argv=(
            str(java),
            # Measured: 540 MB resident after load, for each broker.
            "-Xms256m",
            "-Xmx512m",
            "-XX:+UseG1GC",
            "-XX:MaxGCPauseMillis=20",
            "-XX:+ExitOnOutOfMemoryError",
            "-Djava.awt.headless=true",
            f"-Dlog4j2.configurationFile={log4j.as_uri()}",
            "-cp",
            classpath,
            "kafka.Kafka",
            str(config),
        ),
        directory=directory,
        log=log,
        listens=((LOOPBACK, broker.port), (LOOPBACK, broker.controller_port)),
    )
    return Process(command, partial(answers, broker.port))


def answers(port: int, brokers: int = 1) -> None:
    """A metadata request that names so many live brokers. Raises NotAnsweringError."""
    if not accepts(LOOPBACK, port):
        raise NotAnsweringError(f"nothing listens on {LOOPBACK}:{port}")
    # The client's own log of refused connections says nothing that NotAnsweringError does not say.
    admin = AdminClient({"bootstrap.servers": f"{LOOPBACK}:{port}", "log_level": 0})
    try:
        metadata = admin.list_topics(timeout=_ANSWER_LIMIT_S)
    except KafkaException as error:
        raise NotAnsweringError(str(error)) from error
    if len(metadata.brokers) < brokers:
        raise NotAnsweringError(f"{len(metadata.brokers)} of {brokers} brokers have registered")


def _format(directory: Path, brokers: Sequence[Broker], config: Path, log4j: Path, classpath: str, java: Path) -> None:
    # What an interrupted format left behind would make the next one refuse.
    shutil.rmtree(directory / "data", ignore_errors=True)
    run = subprocess.run(
        [
            java,
            "-Xmx128m",
            "-XX:TieredStopAtLevel=1",
            f"-Dlog4j2.configurationFile={log4j.as_uri()}",
            "-cp",
            classpath,
            "kafka.tools.StorageTool",
            "format",
            f"--cluster-id={_agreed_id(directory, 'cluster')}",
            f"--config={config}",
            _controllers(directory, brokers),
        ],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_FORMAT_LIMIT_S,
        check=False,
    )
    if run.returncode != 0:
        raise RuntimeError(f"formatting Kafka's storage failed:\n{run.stdout}{run.stderr}")


def _controllers(directory: Path, brokers: Sequence[Broker]) -> str:
    """Who votes, as it is written into each disk when it is formatted."""
    if len(brokers) == 1:
        return "--standalone"
    voters = (
        f"{number}@{LOOPBACK}:{broker.controller_port}:{_agreed_id(directory, broker.name)}"
        for number, broker in enumerate(brokers, start=1)
    )
    return f"--initial-controllers={','.join(voters)}"


def _agreed_id(directory: Path, name: str) -> str:
    """The same for every broker beside this one, without a file that they share."""
    made = uuid.uuid5(uuid.NAMESPACE_URL, (directory.parent / name).as_uri())
    return urlsafe_b64encode(made.bytes).rstrip(b"=").decode()


def _properties(data: Path, brokers: Sequence[Broker], index: int) -> str:
    broker = brokers[index]
    controller = f"CONTROLLER://{LOOPBACK}:{broker.controller_port}"
    quorum = ",".join(f"{LOOPBACK}:{each.controller_port}" for each in brokers)
    copies = len(brokers)
    # Of three copies two must be written: one broker may be lost, and nothing acknowledged is lost with it.
    in_sync = (copies + 1) // 2
    return f"""process.roles=broker,controller
node.id={index + 1}
controller.quorum.bootstrap.servers={quorum}
listeners=PLAINTEXT://{LOOPBACK}:{broker.port},{controller}
advertised.listeners=PLAINTEXT://{broker.bootstrap},{controller}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
# A misspelt topic must be an error. The relay makes the topics with the partitions they need.
auto.create.topics.enable=false
default.replication.factor={copies}
min.insync.replicas={in_sync}
# The default of 50 partitions for each internal topic only costs start time.
offsets.topic.replication.factor={copies}
offsets.topic.num.partitions=4
# A consumer that died: its partitions are free after this long (default 45 s), as under the classic protocol.
group.consumer.min.session.timeout.ms=6000
group.consumer.session.timeout.ms=10000
# How soon members hear that partitions move (default 5 s).
group.consumer.min.heartbeat.interval.ms=500
group.consumer.heartbeat.interval.ms=1000
# The first member of a group need not wait for others.
group.initial.rebalance.delay.ms=0
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr={in_sync}
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor={copies}
share.coordinator.state.topic.min.isr={in_sync}
share.coordinator.state.topic.num.partitions=2
# A killed broker is not taken back before its old session has ended; with the default that is 9 s.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
# The default of 128 MiB for the cleaner alone would be a quarter of the heap.
log.cleaner.threads=1
log.cleaner.dedupe.buffer.size=8388608
log.segment.bytes=67108864
num.network.threads=2
num.io.threads=4
"""
