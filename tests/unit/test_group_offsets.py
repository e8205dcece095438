"""How far a group has committed can be asked while its coordinator changes: the answer comes, or an error that says so.

The admin client's own call for it ended the process in that case.
"""

from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition

from relay.kafka_group_offsets import GroupOffsetsUnknown, committed_offsets
from tests.unit.mock_kafka import OFFSET_FETCH, MockKafka, mock_kafka

TOPIC = "order-created"
PLACES = [TopicPartition(TOPIC, partition) for partition in range(4)]
PATIENCE_S = 30.0
SHORT_S = 1.0


@pytest.fixture
def kafka() -> Iterator[MockKafka]:
    with mock_kafka() as broker:
        broker.make_topic(TOPIC, len(PLACES))
        yield broker


def commit(kafka: MockKafka, group: str, partition: int, offset: int) -> None:
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": group, "enable.auto.commit": False})
    consumer.commit(offsets=[TopicPartition(TOPIC, partition, offset)], asynchronous=False)
    consumer.close()


def test_each_group_has_what_it_committed(kafka: MockKafka) -> None:
    commit(kafka, "projection", 1, 7)
    commit(kafka, "lifecycle", 2, 0)
    groups = ["projection", "lifecycle", "never-committed"]
    assert committed_offsets(kafka.bootstrap, groups, PLACES, limit_s=PATIENCE_S) == {
        "projection": {1: 7},
        "lifecycle": {2: 0},
        "never-committed": {},
    }


@pytest.mark.parametrize("error", [KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS])
def test_a_coordinator_that_changes_is_asked_again(kafka: MockKafka, error: int) -> None:
    commit(kafka, "projection", 1, 7)
    kafka.answer_with_error(OFFSET_FETCH, error, times=3)
    assert committed_offsets(kafka.bootstrap, ["projection"], PLACES, limit_s=PATIENCE_S) == {"projection": {1: 7}}


def test_without_a_coordinator_it_says_so(kafka: MockKafka) -> None:
    kafka.answer_with_error(OFFSET_FETCH, KafkaError.NOT_COORDINATOR, times=1_000)
    with pytest.raises(GroupOffsetsUnknown) as raised:
        committed_offsets(kafka.bootstrap, ["projection"], PLACES, limit_s=SHORT_S)
    assert raised.value.group == "projection"
