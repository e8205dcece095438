"""A Cassandra that wants TLS and a login keeps the ledger of who has both, and tells the others why not; and a gateway
and a stock server talk to each other over TLS only.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from deploy.local.layout import address
from deploy.local.ports import free_port
from deploy.local.processes import Command, NotAnsweringError, Process
from gateway.keeper_rpc import RpcKeeper
from sluice.client import Client, OutOfStock
from sluice.errors import KeeperUnreachable, StoreUnreachable
from sluice.host_port import split_host_port
from sluice.model import StockPolicy
from sluice.tls_files import Tls
from stockd.stores.cassandra import CassandraStore
from stockd.stores.cassandra_session import connect
from tests.certificates import HOST, Authority, serves_with_tls
from tests.journals import new_postgres_database
from tests.servers import make_cassandra, running, server_directory

pytestmark = pytest.mark.servers

USER = PASSWORD = "cassandra"
"""Whom Cassandra makes at its first start."""

TIMEOUT_S = 5.0
LIMIT_S = 30.0
LOCAL_DC = "datacenter1"


class Secured(NamedTuple):
    contact_point: str
    directory: Path
    authority: Authority

    def reached_with(self, name: str, **properties: str) -> str:
        """What is empty is left out."""
        file = self.directory / name
        file.write_text("\n".join(f"{key}={value}" for key, value in properties.items() if value))
        return f"{self.contact_point}?properties={file}"

    def reached(self) -> str:
        return self.reached_with("right.properties", username=USER, password=PASSWORD, ca=str(self.authority.file))


@pytest.fixture(scope="module")
def secured() -> Iterator[Secured]:
    with server_directory() as directory:
        process, contact_point = make_cassandra(directory)
        authority = Authority(directory, "authority")
        _shut(directory / "cassandra-1" / "cassandra.yaml", authority.issue_store("cassandra"))
        secured = Secured(contact_point, directory, authority)
        with running(Process(process.command, partial(_lets_in, secured.reached()))):
            yield secured


def _shut(config: Path, store: Path) -> None:
    settings = json.loads(config.read_text())
    settings["authenticator"] = {"class_name": "PasswordAuthenticator"}
    settings["client_encryption_options"] = {
        "enabled": True,
        "optional": False,
        "ssl_context_factory": {"class_name": "org.apache.cassandra.security.PEMBasedSslContextFactory"},
        "keystore": str(store),
    }
    config.write_text(json.dumps(settings))


def _lets_in(address: str) -> None:
    async def come_in() -> None:
        session = await connect(address, LOCAL_DC, TIMEOUT_S)
        await session.close()

    try:
        asyncio.run(come_in())
    except StoreUnreachable as error:
        raise NotAnsweringError(str(error)) from error


async def test_a_ledger_is_kept_there(secured: Secured) -> None:
    store = await CassandraStore.open(secured.reached(), "secured", 1, LOCAL_DC)
    try:
        await store.create_sku("mug", StockPolicy.ESCROW)
        head = await store.head("mug")
        assert head is not None
        assert head.policy is StockPolicy.ESCROW
    finally:
        await store.close()


@pytest.mark.parametrize(
    ("changed", "reason"),
    [({"password": "another"}, "incorrect"), ({"ca": ""}, "Cassandra at")],
)
async def test_who_cannot_come_in_hears_why(secured: Secured, changed: dict[str, str], reason: str) -> None:
    properties = {"username": USER, "password": PASSWORD, "ca": str(secured.authority.file), **changed}
    with pytest.raises(StoreUnreachable, match=reason):
        await connect(secured.reached_with("wrong.properties", **properties), LOCAL_DC, TIMEOUT_S)


async def test_servers_of_another_authority_are_not_talked_to(secured: Secured, tmp_path: Path) -> None:
    others = Authority(tmp_path, "others")
    address = secured.reached_with("others.properties", username=USER, password=PASSWORD, ca=str(others.file))
    with pytest.raises(StoreUnreachable, match="certificate verify failed"):
        await connect(address, LOCAL_DC, TIMEOUT_S)


@pytest.fixture
async def journal_url(postgres_url: str) -> AsyncIterator[str]:
    async with new_postgres_database(postgres_url) as url:
        yield url


class Roles:
    """A gateway and a stock server that show each other certificates, on the secured ledger."""

    def __init__(self, secured: Secured, journal_url: str, directory: Path) -> None:
        self._directory = directory
        self._environment = {
            "SLUICE_JOURNAL_URL": journal_url,
            "SLUICE_CASSANDRA": secured.reached(),
            "SLUICE_KEYSPACE": "roles",
            "SLUICE_LOG_FORMAT": "json",
        }
        self.authority = Authority(directory, "sluice")
        self.stockd = address(free_port())
        self.gateway = address(free_port())

    def run_stockd(self) -> Process:
        shown = self.authority.issue("stockd")
        return self._role(
            "stockd",
            self.stockd,
            Tls(self.authority.file, *self.authority.issue("prober")),
            *("--tls-certificate", str(shown.certificate), "--tls-key", str(shown.key)),
            *("--tls-client-ca", str(self.authority.file)),
        )

    def run_gateway(self, properties: str) -> Process:
        shown = self.authority.issue("gateway")
        file = self._directory / "stockd.properties"
        file.write_text(properties)
        return self._role(
            "gateway",
            self.gateway,
            Tls(self.authority.file),
            *("--tls-certificate", str(shown.certificate), "--tls-key", str(shown.key)),
            *("--stockd", f"stockd-0={self.stockd}?properties={file}"),
        )

    def _role(self, name: str, listen: str, tls: Tls, *options: str) -> Process:
        command = Command(
            name=name,
            argv=(sys.executable, "-m", "commands.main", name, "--listen", listen, *options),
            directory=self._directory,
            log=self._directory / f"{name}.log",
            environment=self._environment,
            listens=((HOST, split_host_port(listen)[1]),),
        )
        return Process(command, partial(serves_with_tls, tls, listen))


async def test_orders_are_placed_where_everybody_shows_a_certificate(
    secured: Secured, journal_url: str, tmp_path: Path
) -> None:
    roles = Roles(secured, journal_url, tmp_path)
    own = roles.authority.issue("gateway-to-stockd")
    properties = f"ca={roles.authority.file}\ncertificate={own.certificate}\nkey={own.key}\n"
    with running(roles.run_stockd()), running(roles.run_gateway(properties)):
        async with Client(roles.gateway, tls=Tls(roles.authority.file), timeout_s=LIMIT_S) as client:
            await client.create_sku("mug", 1)
            await client.place("mug", customer="ada")
            with pytest.raises(OutOfStock):
                await client.place("mug", customer="bob")


async def test_a_gateway_without_a_certificate_gets_nothing_of_a_stock_server_that_asks_for_one(
    secured: Secured, journal_url: str, tmp_path: Path
) -> None:
    roles = Roles(secured, journal_url, tmp_path)
    with running(roles.run_stockd()):
        keeper = RpcKeeper(roles.stockd, Tls(roles.authority.file))
        with pytest.raises(KeeperUnreachable):
            await keeper.settle((), TIMEOUT_S)
        await keeper.close()
