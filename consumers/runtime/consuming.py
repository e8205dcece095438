"""A consumer over Kafka, from its start to its end: waits for its topics, joins its group, handles, leaves."""

import asyncio
from functools import partial

import structlog

from consumers.runtime.dead_letters import Parking
from consumers.runtime.handling import Consumer, now_ms
from consumers.runtime.kafka_dead_letters import KafkaDeadLetters
from consumers.runtime.kafka_polling import GroupProtocol, KafkaPolling, ProtocolUnsupported
from consumers.runtime.lanes import Lanes
from consumers.runtime.meters import Meters
from sluice.errors import LogUnreachable
from sluice.kafka_topics import list_topics

TOPICS_POLL_S = 0.5
"""Between looks for topics that the relay has not made yet."""

_log = structlog.get_logger(__name__)


async def consume_kafka(
    consumer: Consumer,
    bootstrap: str,
    meters: Meters,
    stopping: asyncio.Event,
    *,
    lanes: int,
    protocol: GroupProtocol,
    replication_factor: int,
    drain_limit_s: float,
) -> None:
    """Until `stopping` is set; then what is being handled is finished, for `drain_limit_s` at most, and committed."""
    if not await _topics_are_there(consumer, bootstrap, stopping):
        return
    own = meters.of(consumer.name)
    dead_letters = KafkaDeadLetters(bootstrap, consumer.name, replication_factor=replication_factor)
    parking = Parking(dead_letters, consumer.topics)
    try:
        async with Lanes(
            consumer.name,
            consumer.handle,
            parking,
            own,
            lanes=lanes,
            now_ms=now_ms,
            events_per_call=consumer.events_per_call,
        ) as running:
            join = partial(
                KafkaPolling,
                bootstrap,
                consumer.name,
                consumer.topics,
                running,
                own,
                events_in_flight=consumer.events_in_flight,
            )
            try:
                await join(protocol="classic" if protocol == "classic" else "consumer").run(stopping, drain_limit_s)
            except ProtocolUnsupported as error:
                if protocol != "auto":
                    raise
                _log.info("classic_group_protocol", consumer=consumer.name, reason=str(error))
                await join(protocol="classic").run(stopping, drain_limit_s)
    finally:
        await dead_letters.close()


async def _topics_are_there(consumer: Consumer, bootstrap: str, stopping: asyncio.Event) -> bool:
    """False if it was stopped before."""
    told = False
    while not stopping.is_set():
        try:
            missing = set(consumer.topics) - (await list_topics(bootstrap)).keys()
        except LogUnreachable as error:
            missing = {str(error)}
        if not missing:
            return True
        if not told:
            told = True
            _log.info("waiting_for_topics", consumer=consumer.name, missing=sorted(missing))
        try:
            async with asyncio.timeout(TOPICS_POLL_S):
                await stopping.wait()
        except TimeoutError:
            continue
    return False
