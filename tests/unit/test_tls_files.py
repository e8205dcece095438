"""Files of TLS that cannot be used are named before anything is served."""

import os
from pathlib import Path

import pytest
import trustme
import typer
from cryptography.hazmat.primitives import serialization
from typer.testing import CliRunner

from commands.options import EXIT_BAD_SETTINGS, with_settings
from sluice.rpc.caller_tls import channel_credentials
from sluice.settings import GatewaySettings
from sluice.tls_files import Tls, TlsFiles, read_authorities, read_tls_files


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SLUICE_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(tmp_path: Path, authority: trustme.CA) -> TlsFiles:
    files = TlsFiles(tmp_path / "certificate.pem", tmp_path / "key.pem", tmp_path / "authority.pem")
    made = authority.issue_cert("shop.example")
    made.cert_chain_pems[0].write_to_path(files.certificate)
    made.private_key_pem.write_to_path(files.key)
    assert files.client_ca is not None
    authority.cert_pem.write_to_path(files.client_ca)
    return files


@pytest.fixture
def another_key(tmp_path: Path, authority: trustme.CA) -> Path:
    file = tmp_path / "another-key.pem"
    authority.issue_cert("shop.example").private_key_pem.write_to_path(file)
    return file


def _invoke(*arguments: object) -> tuple[int, list[GatewaySettings], str]:
    heard: list[GatewaySettings] = []
    app = typer.Typer()
    app.command()(with_settings(GatewaySettings)(heard.append))
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, heard, result.output


def test_without_files_there_is_no_tls() -> None:
    _, (settings,), _ = _invoke()
    assert settings.tls is None


def test_files_that_belong_together_are_taken(files: TlsFiles) -> None:
    _, (settings,), _ = _invoke(
        *("--tls-certificate", files.certificate, "--tls-key", files.key, "--tls-client-ca", files.client_ca)
    )
    assert settings.tls == files
    contents = read_tls_files(files)
    assert contents.certificate == files.certificate.read_bytes()
    assert contents.key == files.key.read_bytes()


def test_a_certificate_needs_its_key_and_a_key_its_certificate(files: TlsFiles) -> None:
    for option, file in (("--tls-certificate", files.certificate), ("--tls-key", files.key)):
        code, heard, output = _invoke(option, file)
        assert (code, heard) == (EXIT_BAD_SETTINGS, [])
        assert "setting tls_key: Value error, tls_certificate and tls_key are needed both, or neither" in output


def test_callers_show_certificates_only_over_tls(files: TlsFiles) -> None:
    code, _, output = _invoke("--tls-client-ca", files.client_ca)
    assert code == EXIT_BAD_SETTINGS
    assert "setting tls_client_ca: Value error, without tls_certificate callers show no certificate" in output


def test_the_key_of_another_certificate_is_named(files: TlsFiles, another_key: Path) -> None:
    code, _, output = _invoke("--tls-certificate", files.certificate, "--tls-key", another_key)
    assert code == EXIT_BAD_SETTINGS
    assert "setting tls_key:" in output
    assert str(another_key) in output.replace("\n", "")


@pytest.mark.parametrize("place", range(3))
def test_a_file_that_is_not_there_or_is_something_else_is_named(files: TlsFiles, place: int) -> None:
    file = files[place]
    assert file is not None
    file.write_text("something else")
    with pytest.raises(ValueError, match=file.name):
        read_tls_files(files)
    file.unlink()
    with pytest.raises(ValueError, match=f"{file.name}: No such file or directory"):
        read_tls_files(files)


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_password(files: TlsFiles) -> None:
    key = serialization.load_pem_private_key(files.key.read_bytes(), password=None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"a password"),
    )
    files.key.write_bytes(encrypted)
    with pytest.raises(ValueError, match=files.key.name):
        read_tls_files(files)


def test_a_callers_files_are_checked_as_well(files: TlsFiles, another_key: Path) -> None:
    assert channel_credentials(Tls(files.client_ca, files.certificate, files.key))
    with pytest.raises(ValueError, match="a certificate needs its key"):
        channel_credentials(Tls(certificate=files.certificate))
    with pytest.raises(ValueError, match=another_key.name):
        channel_credentials(Tls(certificate=files.certificate, key=another_key))
    with pytest.raises(ValueError, match=r"nowhere\.pem"):
        channel_credentials(Tls(Path("nowhere.pem")))


def test_authorities_may_be_several(tmp_path: Path, authority: trustme.CA) -> None:
    file = tmp_path / "authorities.pem"
    file.write_bytes(authority.cert_pem.bytes() + trustme.CA().cert_pem.bytes())
    assert read_authorities(file) == file.read_bytes()
