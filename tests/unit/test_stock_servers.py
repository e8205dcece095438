"""How stock servers are reached: names, addresses, and a file of what their TLS needs; what is wrong is named."""

from pathlib import Path

import pytest

from sluice.stock_servers import stock_servers
from sluice.tls_files import Tls
from tests.certificates import Authority

MEMBERS = "a=one:7100,b=two:7100"
ADDRESSES = {"a": "one:7100", "b": "two:7100"}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


def _with_file(directory: Path, *lines: str) -> str:
    file = directory / "stockd.properties"
    file.write_text("\n".join(lines))
    return f"{MEMBERS}?properties={file}"


def test_without_a_file_there_is_no_tls() -> None:
    assert stock_servers(MEMBERS) == (ADDRESSES, None)


def test_the_file_says_whom_to_trust_and_what_to_show(tmp_path: Path, authority: Authority) -> None:
    own = authority.issue("gateway")
    lines = (f"ca={authority.file}", f"certificate={own.certificate}", f"key={own.key}", "server_name=stockd")
    tls = Tls(authority.file, own.certificate, own.key, "stockd")
    assert stock_servers(_with_file(tmp_path, *lines)) == (ADDRESSES, tls)


def test_an_empty_file_is_tls_with_the_authorities_that_grpc_comes_with(tmp_path: Path) -> None:
    assert stock_servers(_with_file(tmp_path)) == (ADDRESSES, Tls())


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("username=ada", "line 1: 'username' is not one of ca, certificate, key, server_name"),
        ("ca=nowhere.pem", r"nowhere\.pem: No such file"),
        ("key=key.pem", "a certificate needs its key"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, line: str, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        stock_servers(_with_file(tmp_path, line))
