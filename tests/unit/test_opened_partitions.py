"""One record opens a partition for a producer; a partition that it has long written nothing to is opened again."""

from relay.opened_partitions import OPEN_FOR_S, OpenedPartitions


class Clock:
    now = 5.0

    def __call__(self) -> float:
        return self.now


def test_a_partition_is_open_once_it_was_written_to() -> None:
    opened = OpenedPartitions(Clock())
    assert opened.unopened({"a": [0, 1], "b": [1]}) == {("a", 0), ("a", 1), ("b", 1)}
    opened.written({"a": [1], "b": [1]})
    assert opened.unopened({"a": [0, 1], "b": [0, 1]}) == {("a", 0), ("b", 0)}


def test_it_is_opened_again_before_a_broker_may_have_forgotten_the_producer() -> None:
    clock = Clock()
    opened = OpenedPartitions(clock)
    opened.written({"a": [0, 1]})
    clock.now += OPEN_FOR_S / 2
    opened.written({"a": [1]})
    clock.now += OPEN_FOR_S / 2
    assert opened.unopened({"a": [0, 1]}) == {("a", 0)}
