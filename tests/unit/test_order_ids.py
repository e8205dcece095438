"""Ids that our own clients make are UUIDv7: unique, canonical, and in the order of their milliseconds."""

import time
from uuid import RFC_4122, UUID

from commands.order_ids import new_order_id


def test_they_are_uuids_of_version_7() -> None:
    before = time.time_ns() // 1_000_000
    ids = [new_order_id() for _ in range(1_000)]
    after = time.time_ns() // 1_000_000
    assert len(set(ids)) == len(ids)
    for text in ids:
        parsed = UUID(text)
        assert str(parsed) == text
        assert (parsed.version, parsed.variant) == (7, RFC_4122)
        assert before <= parsed.int >> 80 <= after
    assert [text[:13] for text in ids] == sorted(text[:13] for text in ids)


def test_their_random_bits_are_all_used() -> None:
    ones, zeros = 0, 0
    for _ in range(200):
        value = UUID(new_order_id()).int
        ones |= value
        zeros |= ~value
    random_bits = (2**12 - 1) << 64 | (2**62 - 1)
    assert ones & random_bits == random_bits
    assert zeros & random_bits == random_bits
