"""One Kafka broker (KRaft, broker and controller in one process) on a loopback port, from the jars of Maven Central."""

import shutil
import subprocess
import uuid
from base64 import urlsafe_b64encode
from functools import partial
from pathlib import Path

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
_ANSWER_LIMIT_S = 3.0
_FORMAT_LIMIT_S = 120.0

_LOG4J = """rootLogger.level = INFO
rootLogger.appenderRef.stdout.ref = STDOUT
appender.stdout.type = Console
appender.stdout.name = STDOUT
appender.stdout.layout.type = PatternLayout
appender.stdout.layout.pattern = %d{ISO8601} %-5p [%t] %c{1} - %m%n
"""


def bootstrap(port: int, host: str = LOOPBACK) -> str:
    return f"{host}:{port}"


def create(
    directory: Path, port: int, controller_port: int, java: Path, log: Path, *, reached_at: str = LOOPBACK
) -> Process:
    """A broker with its data in `directory`, formatted at the first call. It tells clients to come to the host
    `reached_at`. Raises ResolveError.
    """
    directory = directory.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    classpath = jvm.classpath("kafka", _ARTIFACTS, java)
    config = directory / "server.properties"
    config.write_text(_properties(directory / "data", port, controller_port, reached_at))
    log4j = directory / "log4j2.properties"
    log4j.write_text(_LOG4J)
    if not (directory / "data/meta.properties").exists():
        _format(directory, config, log4j, classpath, java)
    command = Command(
        name="kafka",
        argv=(
            str(java),
            # Measured: 540 MB resident after load.
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
        listens=((LOOPBACK, port), (LOOPBACK, controller_port)),
    )
    return Process(command, partial(answers, port))


def answers(port: int) -> None:
    """A metadata request that names a live broker. Raises NotAnsweringError."""
    if not accepts(LOOPBACK, port):
        raise NotAnsweringError(f"nothing listens on {LOOPBACK}:{port}")
    # The client's own log of refused connections says nothing that NotAnsweringError does not say.
    admin = AdminClient({"bootstrap.servers": bootstrap(port), "log_level": 0})
    try:
        metadata = admin.list_topics(timeout=_ANSWER_LIMIT_S)
    except KafkaException as error:
        raise NotAnsweringError(str(error)) from error
    if not metadata.brokers:
        raise NotAnsweringError("no broker has registered")


def _format(directory: Path, config: Path, log4j: Path, classpath: str, java: Path) -> None:
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
            f"--cluster-id={_cluster_id()}",
            f"--config={config}",
            "--standalone",
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


def _cluster_id() -> str:
    return urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()


def _properties(data: Path, port: int, controller_port: int, reached_at: str) -> str:
    controller = f"CONTROLLER://{LOOPBACK}:{controller_port}"
    return f"""process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers={LOOPBACK}:{controller_port}
listeners=PLAINTEXT://{LOOPBACK}:{port},{controller}
advertised.listeners=PLAINTEXT://{reached_at}:{port},{controller}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
# A misspelt topic must be an error. The relay makes the topics with the partitions they need.
auto.create.topics.enable=false
# One broker cannot replicate, and the default of 50 partitions for each internal topic only costs start time.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
# A consumer that died: its partitions are free after this long (default 45 s), as under the classic protocol.
group.consumer.min.session.timeout.ms=6000
group.consumer.session.timeout.ms=10000
# How soon members hear that partitions move (default 5 s).
group.consumer.min.heartbeat.interval.ms=500
group.consumer.heartbeat.interval.ms=1000
# The first member of a group need not wait for others.
group.initial.rebalance.delay.ms=0
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=2
group.initial.rebalance.delay.ms=0
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
