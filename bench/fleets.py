"""More of Sluice's own processes on the servers of a cluster that runs: other numbers of stock servers and journals,
consumers.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from bench.launching import module, running
from bench.systems import System, nothing_to_audit, nothing_to_drain
from deploy.local import services
from deploy.local.layout import Endpoints, address
from deploy.local.ports import free_port
from deploy.local.processes import Process


@contextmanager
def fleet(stockds: int, directory: Path, ends: Endpoints, beside: System) -> Iterator[System]:
    """A gateway and `stockds` stock servers of its own, on the servers and with the relay of the cluster `beside`."""
    with _fleet(f"fleet{stockds}", stockds, _stores(ends), directory, beside.drain) as system:
        yield system


@contextmanager
def sharded(journal_url: str, stockds: int, directory: Path, ends: Endpoints) -> Iterator[System]:
    """The same with journals of its own, whose events nobody relays, and an empty ledger: two ledgers in one would hold
    units for stock servers that the other's journal does not know.
    """
    name = f"sharded{journal_url.count(',') + 1}"
    stores = {**_stores(ends), "SLUICE_JOURNAL_URL": journal_url, "SLUICE_KEYSPACE": f"bench_{name}"}
    with _fleet(name, stockds, stores, directory, nothing_to_drain) as system:
        yield system


@contextmanager
def _fleet(
    fleet_name: str, stockds: int, stores: Mapping[str, str], directory: Path, drain: Callable[[], None]
) -> Iterator[System]:
    with ExitStack() as started:
        pids: dict[str, int] = {}
        members, pages = [], []
        for number in range(stockds):
            # A name of the cluster's own would fence that one.
            name = f"{fleet_name}-stockd-{number}"
            target, shown = address(free_port()), free_port()
            settings = {**stores, "SLUICE_NAME": name, "SLUICE_LISTEN": target, "SLUICE_METRICS_LISTEN": address(shown)}
            pids[f"stockd-{number}"] = started.enter_context(_service("stockd", name, directory, target, settings))
            members.append(f"{name}={target}")
            pages.append(f"http://{address(shown)}/metrics")
        target = address(free_port())
        settings = {**stores, "SLUICE_STOCKD": ",".join(members), "SLUICE_LISTEN": target}
        name = f"{fleet_name}-gateway"
        pids["gateway-0"] = started.enter_context(_service("gateway", name, directory, target, settings))
        yield System(fleet_name, target, pids, list(pids), nothing_to_audit, drain, pages, ",".join(members))


@contextmanager
def consumer(name: str, directory: Path, ends: Endpoints, stockds: str) -> Iterator[tuple[int, str]]:
    """One of Sluice's own consumers in a process of its own; yields its pid and its metrics page."""
    port = free_port()
    settings = {
        **_stores(ends),
        "SLUICE_KAFKA": ends.kafka,
        "SLUICE_STOCKD": stockds,
        "SLUICE_METRICS_LISTEN": address(port),
    }
    page = f"http://{address(port)}/metrics"
    command = module(f"consume-{name}", directory, port, "commands.main", "consume", name, settings=settings)
    with running(Process(command, partial(services.shows_metrics, page))) as pid:
        yield pid, page


def _stores(ends: Endpoints) -> Mapping[str, str]:
    return {
        "SLUICE_JOURNAL_URL": ends.postgres,
        "SLUICE_CASSANDRA": ends.cassandra,
        "SLUICE_KEYSPACE": services.KEYSPACE,
    }


@contextmanager
def _service(role: str, name: str, directory: Path, target: str, settings: Mapping[str, str]) -> Iterator[int]:
    port = int(target.rsplit(":", maxsplit=1)[1])
    command = module(name, directory, port, "commands.main", role, settings=settings)
    with running(Process(command, partial(services.serves, target))) as pid:
        yield pid
