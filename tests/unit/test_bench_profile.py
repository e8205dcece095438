"""A sample belongs to the innermost frame that is ours or a named library's; a thread that waits is no work."""

import pytest

from bench.profile import part_of, parts_of

LOOP = "MainThread;run (uvloop/__init__.py:92);uv_run (core.c:464);Loop_run (/v/site-packages/uvloop/loop.so)"
GRPC = "0x7f (/v/site-packages/grpc/_cython/cygrpc.so)"
UPB = "0x7e (/v/site-packages/google/_upb/_message.abi3.so)"


@pytest.mark.parametrize(
    ("inner", "part"),
    [
        (f"{GRPC};sendmsg (/usr/lib/libc.so.6)", "gRPC"),
        (f"{GRPC};{UPB}", "protobuf"),
        (f"{GRPC};answer (/p/sluice/rpc/server.py:45);parse_order (/p/gateway/validation.py:9)", "validation"),
        ("commit (/p/journal/postgres.py:9);bind (/v/asyncpg/protocol.so);write (/v/uvloop/loop.so)", "journal"),
        ("encode_order_events (/p/journal/events.py:9);0x1 (/usr/lib/libc.so.6)", "events encoding"),
        ("0x1 (/usr/lib/libc.so.6)", "event loop"),
    ],
)
def test_who_called_it_did_it(inner: str, part: str) -> None:
    assert part_of(f"{LOOP};{inner}") == part


@pytest.mark.parametrize(
    "waiting",
    [
        "uv__io_poll (linux.c:1452);epoll_pwait (libc.so.6)",
        "PyThread_acquire_lock_timed (libpython3.11.so);0x7f (libc.so.6);0x7e (libc.so.6)",
        "execute (cursor.c:896);pthread_cond_timedwait (libc.so.6);0x7f (libc.so.6)",
    ],
)
def test_waiting_is_left_out(waiting: str) -> None:
    assert part_of(f"{LOOP};{waiting}") is None


def test_a_wait_is_told_by_the_function_not_by_a_name_that_contains_one() -> None:
    assert part_of(f"{LOOP};{GRPC};pthread_cond_signal (libc.so.6)") == "gRPC"
    assert part_of(f"{LOOP};poll_everything (/p/gateway/placing.py:1)") == "placing and coalescing"


def test_samples_are_summed_by_part() -> None:
    lines = [
        f"{LOOP};{GRPC} 3\n",
        f"{LOOP};{GRPC};{UPB} 2\n",
        f"{LOOP};epoll_wait (libc.so.6) 90\n",
        f"{LOOP};{GRPC} 1\n",
    ]
    assert parts_of(lines) == {"gRPC": 4, "protobuf": 2}
