"""A topic's partitions and the consumer groups that read them, as a move of slots needs to know them."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.cimpl import NewPartitions

from relay.kafka_group_offsets import committed_offsets
from relay.slot_moves import GroupBehind
from sluice.errors import LogUnreachable
from sluice.kafka_topics import ANSWER_LIMIT_S, open_admin


class _Group(NamedTuple):
    """`committed`: by partition, only where something is; `given`: partitions that its members have. Empty: nobody is
    there, or nobody has any.
    """

    name: str
    committed: Mapping[int, int]
    given: frozenset[int]


class KafkaTopicPartitions:
    """See `relay.slot_moves.TopicPartitions`."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._topic = topic
        self._bootstrap = bootstrap
        self._admin = open_admin(bootstrap)

    async def count(self) -> int:
        """Partitions of the topic, 0 if there is no such topic. Raises LogUnreachable."""
        return await asyncio.to_thread(_answer, self._count)

    async def make(self, partitions: int) -> None:
        await asyncio.to_thread(_answer, self._make, partitions)

    async def ends(self, partitions: Sequence[int]) -> Mapping[int, int]:
        return await asyncio.to_thread(_answer, self._offsets, partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]

    async def groups_without(self, partitions: int) -> Sequence[str]:
        wanted = frozenset(range(partitions))
        groups: Sequence[_Group] = await asyncio.to_thread(_answer, self._groups)
        return [group.name for group in groups if group.given and not wanted <= group.given]

    async def behind(self, ends: Mapping[int, int]) -> Sequence[GroupBehind]:
        return await asyncio.to_thread(_answer, self._behind, ends)

    def _count(self) -> int:
        return self._admin.partition_counts().get(self._topic, 0)

    def _make(self, partitions: int) -> None:
        if self._count() < partitions:
            made = self._admin.create_partitions(
                [NewPartitions(self._topic, partitions)], operation_timeout=ANSWER_LIMIT_S
            )
            made[self._topic].result(ANSWER_LIMIT_S)

    def _offsets(self, partitions: Iterable[int], spec: OffsetSpec) -> Mapping[int, int]:
        asked = {TopicPartition(self._topic, partition): spec for partition in partitions}
        if not asked:
            return {}
        answers = self._admin.list_offsets(asked, request_timeout=ANSWER_LIMIT_S)
        return {place.partition: answer.result(ANSWER_LIMIT_S).offset for place, answer in answers.items()}

    def _behind(self, ends: Mapping[int, int]) -> Sequence[GroupBehind]:
        # What retention has taken away nobody can finish.
        starts = self._offsets(ends, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        behind = []
        for group in self._groups():
            places = {partition: max(group.committed.get(partition, 0), starts[partition]) for partition in ends}
            events = sum(max(0, end - places[partition]) for partition, end in ends.items())
            if events:
                behind.append(GroupBehind(group.name, events))
        return behind

    def _groups(self) -> Sequence[_Group]:
        """Those that read the topic: it was given to one of their members, or they have committed something of it."""
        names = [group.group_id for group in self._admin.list_consumer_groups().result(ANSWER_LIMIT_S).valid]
        if not names:
            return []
        of_topic = [TopicPartition(self._topic, partition) for partition in range(self._count())]
        described = self._admin.describe_consumer_groups(names, request_timeout=ANSWER_LIMIT_S)
        offsets_of = committed_offsets(self._bootstrap, names, of_topic, limit_s=ANSWER_LIMIT_S)
        groups = []
        for name in names:
            committed = offsets_of[name]
            given = frozenset(
                place.partition
                for member in described[name].result(ANSWER_LIMIT_S).members
                for place in member.assignment.topic_partitions
                if place.topic == self._topic
            )
            if committed or given:
                groups.append(_Group(name, committed, given))
        return groups


def _answer(ask: Any, *arguments: Any) -> Any:
    try:
        return ask(*arguments)
    except (KafkaException, TimeoutError) as error:
        raise LogUnreachable(str(error) or f"Kafka did not answer within {ANSWER_LIMIT_S:g} s") from error
