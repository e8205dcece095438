"""The port for who runs Sluice: metrics, whether the process lives, whether it can do its work, and why not."""

import asyncio
import socket
import urllib.error
import urllib.request
from collections.abc import Sequence

import pytest

from sluice.errors import CannotListen
from sluice.telemetry import http_port, metrics
from sluice.telemetry.standing import STUCK_AFTER_S, Standing

LOOPBACK = "127.0.0.1"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def asked(port: int, path: str) -> tuple[int, str]:
    def ask() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return await asyncio.to_thread(ask)


def serve(standing: Standing) -> int:
    return http_port.serve(metrics.new_registry(), standing, f"{LOOPBACK}:0")


async def test_metrics_are_on_their_page_and_nothing_on_others() -> None:
    port = serve(Standing(Clock()))
    status, page = await asked(port, "/metrics")
    assert status == 200
    assert "process_cpu_seconds_total" in page
    assert await asked(port, "/") == (404, "there is /metrics, /livez, /readyz\n")


async def test_a_process_is_ready_when_it_has_started_and_while_nothing_is_missing() -> None:
    standing = Standing(Clock())
    port = serve(standing)
    assert await asked(port, "/readyz") == (503, "not ready: it starts\n")
    missing: Sequence[str] = ("journal away", "stock store away")
    standing.ready_unless(lambda: missing)
    assert await asked(port, "/readyz") == (503, "not ready: journal away, stock store away\n")
    assert await asked(port, "/livez") == (200, "alive\n")
    missing = ()
    assert await asked(port, "/readyz") == (200, "ready\n")
    assert await asked(port, "/readyz?verbose") == (200, "ready\n")


async def test_a_process_whose_event_loop_is_stuck_is_not_alive() -> None:
    clock = Clock()
    standing = Standing(clock)
    standing.ready()
    port = serve(standing)
    assert await asked(port, "/livez") == (200, "alive\n")
    clock.now += STUCK_AFTER_S + 0.5
    # Asked without the event loop's help, which would beat.
    assert standing.why_not_alive() == "the event loop has not moved for 10.5 s"
    assert standing.why_not_ready() == standing.why_not_alive()


async def test_the_event_loop_beats_by_itself() -> None:
    loop = asyncio.get_running_loop()
    standing = Standing(loop.time)
    begun = loop.time()
    await asyncio.sleep(0)
    before = standing.last_beat
    while standing.last_beat == before:
        await asyncio.sleep(0.01)
        assert loop.time() - begun < STUCK_AFTER_S
    assert standing.why_not_alive() == ""


async def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        listen = f"{LOOPBACK}:{taken.getsockname()[1]}"
        with pytest.raises(CannotListen, match=f"cannot listen on {listen} for metrics"):
            http_port.serve(metrics.new_registry(), Standing(Clock()), listen)
