"""Order ids for our own clients: UUIDv7 (RFC 9562), because time-ordered keys are stored faster than random ones."""

import os
import time
from uuid import UUID


def new_order_id() -> str:
    """48 bits of milliseconds, then version, variant and 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10))
    value = (milliseconds & (2**48 - 1)) << 80 | random
    value = value & ~(0xF << 76) | (0x7 << 76)
    value = value & ~(0x3 << 62) | (0x2 << 62)
    return str(UUID(int=value))
