"""The files of TLS, read and checked before anything relies on them. All are PEM."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

TLS_FILES = ("ca", "certificate", "key")
"""What the files of a caller are called where they are named."""


class TlsFiles(NamedTuple):
    """What a server shows: its `certificate`, with those between it and an authority, and its `key`, not encrypted.
    `client_ca`: the authorities of which callers must have a certificate; None: whoever comes is served.
    """

    certificate: Path
    key: Path
    client_ca: Path | None


class TlsContents(NamedTuple):
    certificate: bytes
    key: bytes
    client_ca: bytes | None


@dataclass(frozen=True)
class Tls:
    """How a caller makes sure whom it talks to, and shows who it is.

    `ca`: certificates of the authorities that it trusts; None: those that gRPC comes with. `certificate` and `key`: its
    own, for servers that ask for one. `server_name`: whose certificate is expected; empty: that of the target's host.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str = ""


def tls_of(properties: Mapping[str, str]) -> Tls:
    """Of `ca`, `certificate`, `key` and `server_name`, as far as they are given. Raises ValueError as `check_tls`."""
    ca, certificate, key = (Path(properties[name]) if name in properties else None for name in TLS_FILES)
    tls = Tls(ca, certificate, key, properties.get("server_name", ""))
    check_tls(tls)
    return tls


def check_tls(tls: Tls) -> None:
    """Raises ValueError, which names the file that is not there or is not what it should be."""
    if (tls.certificate is None) != (tls.key is None):
        raise ValueError("a certificate needs its key, and a key its certificate")
    if tls.ca is not None:
        read_authorities(tls.ca)
    if tls.certificate is not None and tls.key is not None:
        _read(tls.certificate)
        _read(tls.key)
        check_pair(tls.certificate, tls.key)


def read_tls_files(files: TlsFiles) -> TlsContents:
    """Raises ValueError, which names the file that is not there or is not what it should be."""
    client_ca = None if files.client_ca is None else read_authorities(files.client_ca)
    contents = TlsContents(_read(files.certificate), _read(files.key), client_ca)
    check_pair(files.certificate, files.key)
    return contents


def check_pair(certificate: Path, key: Path) -> None:
    """Raises ValueError if the key is not the certificate's, or gRPC could not use them."""
    try:
        # A password makes an encrypted key an error: without one the terminal would be asked.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except OSError as error:
        raise ValueError(f"{certificate} and {key} are no certificate and its key: {_reason(error)}") from error


def read_authorities(file: Path) -> bytes:
    """Raises ValueError if there is no certificate in it."""
    contents = _read(file)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(file)
    except OSError as error:
        raise ValueError(f"{file} has no certificate: {_reason(error)}") from error
    return contents


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}") from error


def _reason(error: OSError) -> str:
    return (error.reason if isinstance(error, ssl.SSLError) else None) or error.strerror or str(error)
