"""Closing a synchronous client leaves no thread waiting."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from sluice.client import Unavailable, new_order_id, sync

NOBODY = "127.0.0.1:1"
LONG_S = 1_000.0


def test_threads_that_still_wait_are_told() -> None:
    begun = threading.Semaphore(0)

    def told(call: str) -> str:
        begun.release()
        try:
            if call == "place":
                client.place("mug", customer="ada")
            elif call == "watch":
                next(iter(client.watch(new_order_id())))
            else:
                client.get(new_order_id())
        except Unavailable as error:
            return error.reason
        return "an answer"

    with ThreadPoolExecutor(6) as threads:
        with sync.Client(NOBODY, timeout_s=LONG_S) as client:
            answers = [threads.submit(told, call) for call in ("place", "get", "watch") * 2]
            for _ in answers:
                begun.acquire()
        assert [answer.result(timeout=30) for answer in answers] == ["CLOSED"] * 6
    with pytest.raises(Unavailable, match="CLOSED"):
        client.get(new_order_id())
