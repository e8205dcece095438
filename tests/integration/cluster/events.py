"""What consumers of Kafka see."""

from collections import Counter

from deploy.local.cluster import Cluster
from relay.kafka_log import KafkaLog
from sluice.seams.event_log import TOPIC_ORDER_CREATED, Position


async def created_events(running: Cluster) -> Counter[str]:
    """How often each order was created, for a consumer that drops what is not above the last position it took of
    that partition and journal.
    """
    last: dict[tuple[int, object], Position] = {}
    seen: Counter[str] = Counter()
    log = KafkaLog(running.endpoints.kafka)
    try:
        async for entry in log.read(TOPIC_ORDER_CREATED, follow=False):
            source = (entry.partition, entry.event.position.journal)
            if source not in last or entry.event.position > last[source]:
                last[source] = entry.event.position
                seen[entry.event.key] += 1
    finally:
        await log.close()
    return seen
