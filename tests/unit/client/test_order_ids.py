"""Ids that the client makes are UUIDv7: unique, canonical, and in the order in which they were made."""

import os
import time
from uuid import RFC_4122, UUID

from sluice.client.order_ids import new_order_id


def test_they_are_uuids_of_version_7_in_their_order() -> None:
    before = time.time_ns() // 1_000_000
    ids = [new_order_id() for _ in range(5_000)]
    after = time.time_ns() // 1_000_000
    assert len(set(ids)) == len(ids)
    assert ids == sorted(ids)
    for text in ids:
        parsed = UUID(text)
        assert str(parsed) == text
        assert (parsed.version, parsed.variant) == (7, RFC_4122)
        assert before <= parsed.int >> 80 <= after


def test_their_random_bits_are_all_used() -> None:
    ones, zeros = 0, 0
    for _ in range(200):
        value = UUID(new_order_id()).int
        ones |= value
        zeros |= ~value
    random_bits = 2**62 - 1
    assert ones & random_bits == random_bits
    assert zeros & random_bits == random_bits


def test_a_forked_process_draws_other_ones() -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, new_order_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = UUID(os.read(reading, 36).decode()).int
    ours = UUID(new_order_id()).int
    assert (theirs ^ ours) & (2**62 - 1)
