"""TLS at the front door: who trusts the gateway's authority is served, and nobody else; where callers must show a
certificate those who have none are not served; and a certificate that was renewed is shown without a restart.
"""

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from commands.calling import EXIT_BAD_FILE
from sluice.client import Client, Tls, Unavailable, sync
from tests.certificates import Authority, Pem, serves_with_tls
from tests.integration.embedded.conftest import Embedded, make_embedded

UNITS = 100
LONG_S = 60.0
REFUSED_WITHIN_S = 2.0
"""A handshake that fails is tried again until the caller's time is over."""


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


@pytest.fixture
def others(tmp_path: Path) -> Authority:
    """An authority that has nothing to do with the gateway."""
    return Authority(tmp_path, "others")


@pytest.fixture
def shown(authority: Authority) -> Pem:
    """What the gateway shows."""
    return authority.issue("gateway")


@pytest.fixture
def gateway(tmp_path: Path, authority: Authority, shown: Pem) -> Iterator[Embedded]:
    yield from _serving(tmp_path, Tls(authority.file), shown)


@pytest.fixture
def asking_gateway(tmp_path: Path, authority: Authority, shown: Pem, buyer: Pem) -> Iterator[Embedded]:
    """One that serves only who has a certificate of the authority."""
    yield from _serving(tmp_path, Tls(authority.file, *buyer), shown, "--tls-client-ca", str(authority.file))


@pytest.fixture
def buyer(authority: Authority) -> Pem:
    return authority.issue("buyer", "buyer@shop.example")


def _serving(directory: Path, tls: Tls, shown: Pem, *options: str) -> Iterator[Embedded]:
    files = ("--tls-certificate", str(shown.certificate), "--tls-key", str(shown.key))
    embedded = make_embedded(directory, *files, *options, answers=partial(serves_with_tls, tls))
    embedded.process.start()
    try:
        yield embedded
    finally:
        embedded.process.kill()


async def _buy(endpoint: str, tls: Tls | None) -> None:
    """Raises Unavailable where the connection is refused."""
    async with Client(endpoint, tls=tls, timeout_s=LONG_S) as client:
        await client.create_sku("mug", UNITS, timeout_s=REFUSED_WITHIN_S)
        await client.place("mug", customer="ada")


async def test_who_trusts_its_authority_is_served(gateway: Embedded, authority: Authority) -> None:
    await _buy(gateway.endpoint, Tls(authority.file))


def test_and_so_are_threads(gateway: Embedded, authority: Authority) -> None:
    with sync.Client(gateway.endpoint, tls=Tls(authority.file), timeout_s=LONG_S) as client:
        client.create_sku("mug", UNITS)
        assert not client.place("mug", customer="ada").replayed


async def test_without_tls_nobody_is_served(gateway: Embedded) -> None:
    with pytest.raises(Unavailable):
        await _buy(gateway.endpoint, None)


async def test_who_trusts_another_authority_does_not_talk_to_it(gateway: Embedded, others: Authority) -> None:
    with pytest.raises(Unavailable):
        await _buy(gateway.endpoint, Tls(others.file))


async def test_who_expects_another_name_does_not_talk_to_it(gateway: Embedded, authority: Authority) -> None:
    with pytest.raises(Unavailable):
        await _buy(gateway.endpoint, Tls(authority.file, server_name="shop.example"))


async def test_a_name_that_is_not_the_targets_can_be_expected(
    gateway: Embedded, authority: Authority, shown: Pem
) -> None:
    assert authority.issue(shown.key.stem, "shop.example") == shown
    await _buy(gateway.endpoint, Tls(authority.file, server_name="shop.example"))


async def test_who_shows_a_certificate_is_served_where_one_is_asked_for(
    asking_gateway: Embedded, authority: Authority, buyer: Pem
) -> None:
    await _buy(asking_gateway.endpoint, Tls(authority.file, *buyer))


async def test_who_shows_none_or_that_of_others_is_not(
    asking_gateway: Embedded, authority: Authority, others: Authority
) -> None:
    for own in ((), others.issue("stranger")):
        with pytest.raises(Unavailable):
            await _buy(asking_gateway.endpoint, Tls(authority.file, *own))


async def test_a_renewed_certificate_is_shown_to_whoever_comes_then(
    gateway: Embedded, authority: Authority, others: Authority, shown: Pem
) -> None:
    async with Client(gateway.endpoint, tls=Tls(authority.file), timeout_s=LONG_S) as here_before:
        await here_before.create_sku("mug", UNITS)
        assert others.issue(shown.key.stem) == shown
        await _buy(gateway.endpoint, Tls(others.file))
        await here_before.place("mug", customer="bob")
    with pytest.raises(Unavailable):
        await _buy(gateway.endpoint, Tls(authority.file))


async def test_files_that_cannot_be_used_are_not_taken(gateway: Embedded, authority: Authority, shown: Pem) -> None:
    shown.certificate.write_text("half of a certificate")
    await _buy(gateway.endpoint, Tls(authority.file))
    shown.key.unlink()
    await _buy(gateway.endpoint, Tls(authority.file))
    log = gateway.process.command.log.read_text()
    assert log.count("the files of TLS have changed and cannot be used") == 2
    assert str(shown.key) in log


def _sluice(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "commands.main", *arguments],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=LONG_S,
    )


def test_the_command_line_speaks_tls(asking_gateway: Embedded, authority: Authority, buyer: Pem) -> None:
    tls = {
        "SLUICE_ENDPOINT": f"tls://{asking_gateway.endpoint}",
        "SLUICE_CA": str(authority.file),
        "SLUICE_CERTIFICATE": str(buyer.certificate),
        "SLUICE_KEY": str(buyer.key),
    }
    assert _sluice("health", **tls).stdout == "SERVING\n"
    assert _sluice("stock", "create", "mug", "10", **tls).returncode == 0
    refused = _sluice("health", **{**tls, "SLUICE_CERTIFICATE": "", "SLUICE_KEY": ""})
    assert (refused.returncode, refused.stdout.partition(":")[0]) == (1, "UNAVAILABLE")
    nothing = _sluice("health", **{**tls, "SLUICE_CA": "nowhere.pem"})
    assert (nothing.returncode, nothing.stderr) == (EXIT_BAD_FILE, "TLS: nowhere.pem: No such file or directory\n")
