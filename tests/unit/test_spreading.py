"""When a stock server advises to spread a SKU over more servers, and when over fewer."""

from collections.abc import Mapping

from sluice.model import MAX_OWNERS
from stockd.spreading import HOT_SHARE, LOWER_BELOW, RAISE_PAUSE_S, SATURATED_BUSY, SATURATED_WAITING, Spreading

MAX_WAITING = 1_000
BUSY = SATURATED_BUSY + 0.01
CALM = 0.1


class Server:
    """A stock server's view: what it is asked for per second, how busy it is, and half a second later."""

    def __init__(self, servers: int = 8) -> None:
        self.spreading = Spreading(MAX_WAITING)
        self.spreading.know_servers(servers)
        self.now = 100.0
        self.rates: dict[str, float] = {}

    def look(self, busy: float, rates: Mapping[str, float], waiting: int = 0) -> None:
        self.now += 0.5
        self.rates = dict(rates)
        self.spreading.asked({sku: round(rate / 2) for sku, rate in rates.items()})
        self.spreading.look(busy, waiting, self.now, lambda sku: self.rates.get(sku, 0.0))

    def advice(self, *skus: str) -> list[int]:
        return list(self.spreading.advice(skus))


def test_nothing_is_advised_as_long_as_nobody_chose_or_needs_it() -> None:
    server = Server()
    for _ in range(10):
        server.look(CALM, {"hot": 1_000})
    assert server.advice("hot") == []


def test_what_people_chose_is_advised_and_taken_back() -> None:
    server = Server()
    server.spreading.choose("hot", 3)
    assert server.advice("calm", "hot") == [1, 3]
    assert server.advice("calm") == []
    server.spreading.choose("hot", 1)
    assert server.advice("hot") == []


def test_a_hot_sku_of_a_busy_server_gets_one_owner_more_at_a_time() -> None:
    server = Server()
    server.look(BUSY, {"hot": 1_000, "calm": 10})
    assert server.advice("hot") == []  # only now it counts what it is asked for
    server.look(BUSY, {"hot": 1_000, "calm": 10})
    assert server.advice("hot", "calm") == [2, 1]
    for _ in range(round(RAISE_PAUSE_S / 0.5) - 1):
        server.look(BUSY, {"hot": 1_000, "calm": 10})
        assert server.advice("hot") == [2]
    server.look(BUSY, {"hot": 1_000, "calm": 10})
    assert server.advice("hot") == [3]


def test_orders_that_wait_are_a_sign_too() -> None:
    server = Server()
    waiting = int(SATURATED_WAITING * MAX_WAITING)
    server.look(CALM, {"hot": 1_000}, waiting)
    server.look(CALM, {"hot": 1_000}, waiting)
    assert server.advice("hot") == [2]


def test_many_skus_are_no_hot_sku() -> None:
    server = Server()
    rates = {f"sku-{number}": 100.0 for number in range(int(1 / HOT_SHARE) + 1)}
    for _ in range(20):
        server.look(BUSY, rates)
    assert server.advice(*rates) == []


def test_it_is_never_more_than_there_are_servers_or_the_limit() -> None:
    for servers in (1, 3, MAX_OWNERS + 5):
        server = Server(servers)
        for _ in range(200):
            server.look(BUSY, {"hot": 1_000})
        assert server.spreading.owners_of("hot") == min(servers, MAX_OWNERS)


def test_it_is_lowered_when_one_owner_less_would_do_with_ease() -> None:
    server = Server()
    server.look(BUSY, {"hot": 1_000})
    server.look(BUSY, {"hot": 1_000})
    assert server.advice("hot") == [2]
    # Two owners share the same demand now: neither is busy, and it stays so.
    for _ in range(20):
        server.look(CALM, {"hot": 500})
    assert server.advice("hot") == [2]
    server.look(CALM, {"hot": 1_000 * LOWER_BELOW / 2 - 1})
    assert server.advice("hot") == []


def test_it_is_not_lowered_below_what_people_chose() -> None:
    server = Server()
    server.spreading.choose("hot", 2)
    server.look(BUSY, {"hot": 1_000})
    server.look(BUSY, {"hot": 1_000})
    assert server.advice("hot") == [3]
    for _ in range(5):
        server.look(CALM, {"hot": 0})
    assert server.advice("hot") == [2]
