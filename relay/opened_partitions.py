"""Which partitions know the producer, so that several requests to them may be under way at once.

An idempotent producer numbers its records, and a broker takes only the next number: nothing is left out, however many
requests are under way. But where a broker has nothing of the producer yet it takes any number. If it refuses the first
request, because it does not lead the partition yet, and takes the second, which was under way already, the client
believes that the second's acknowledgement is the first's too, and the first's records are lost without an error.
Measured with Kafka 4.2.0 and librdkafka 2.16.1: of 6,720 records published into topics just made, 3 were acknowledged
and not on the log (the brokers' side is KAFKA-15591, mended in 2026). So the first record of a partition goes alone.
"""

import math
from collections.abc import Callable, Collection, Mapping

OPEN_FOR_S = 3_600.0
"""A broker forgets a producer that has written nothing to a partition for producer.id.expiration.ms, a day unless
somebody has set it lower. Whoever is thought to be forgotten pays one more round trip, nothing else."""

Place = tuple[str, int]
"""(topic, partition)"""


class OpenedPartitions:
    """Of one producer. `monotonic`: seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._written: dict[Place, float] = {}

    def unopened(self, partitions: Mapping[str, Collection[int]]) -> set[Place]:
        """Those, by topic, to which one record must go and be acknowledged before another is sent."""
        long_ago = self._monotonic() - OPEN_FOR_S
        return {
            (topic, partition)
            for topic, of_topic in partitions.items()
            for partition in of_topic
            if self._written.get((topic, partition), -math.inf) <= long_ago
        }

    def written(self, partitions: Mapping[str, Collection[int]]) -> None:
        """To those that are open; or the one record that opens them is acknowledged."""
        now = self._monotonic()
        for topic, of_topic in partitions.items():
            for partition in of_topic:
                self._written[topic, partition] = now
