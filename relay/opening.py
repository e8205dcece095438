"""Opens the relay's publisher; makes what it needs and is not there: topics, and first slot maps for them."""

from collections.abc import Mapping

from journal.slot_maps import SlotMaps
from relay.kafka_publisher import KafkaPublisher
from sluice.kafka_topics import RELAY_TOPICS, UnusableTopic, make_request_topic, make_slot_map_topic, make_topics
from sluice.slot_map import SlotMap, used_partitions


async def open_publisher(
    bootstrap: str, slot_maps: SlotMaps, *, partitions: int, replication_factor: int
) -> KafkaPublisher:
    """`partitions` is for topics that are new; one that was lost with a broker's disk is made as its slot map has it.

    Raises LogUnreachable, JournalUnreachable, UnusableTopic.
    """
    await make_slot_map_topic(bootstrap, replication_factor=replication_factor)
    await make_request_topic(bootstrap, replication_factor=replication_factor)
    known = await slot_maps.in_force()
    counts: dict[str, int] = {}
    for wanted, topics in _by_partitions(known, partitions).items():
        counts |= await make_topics(bootstrap, topics, partitions=wanted, replication_factor=replication_factor)
    for topic, slot_map in known.items():
        if topic in counts and counts[topic] < (used := used_partitions(slot_map.seats)):
            raise UnusableTopic(topic, f"has {counts[topic]} partitions, but its slots are placed on {used}")
    await slot_maps.begin({topic: count for topic, count in counts.items() if topic not in known})
    return KafkaPublisher(bootstrap, await slot_maps.in_force())


def _by_partitions(known: Mapping[str, SlotMap], partitions: int) -> Mapping[int, list[str]]:
    wanted: dict[int, list[str]] = {}
    for topic in RELAY_TOPICS:
        count = used_partitions(known[topic].seats) if topic in known else partitions
        wanted.setdefault(count, []).append(topic)
    return wanted
