"""TLS of a caller: what it trusts, and what it shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from sluice.tls_files import check_pair, read_authorities


@dataclass(frozen=True)
class Tls:
    """How a caller makes sure whom it talks to, and shows who it is. Files are PEM.

    `ca`: certificates of the authorities that it trusts; None: those that gRPC comes with. `certificate` and `key`: its
    own, for servers that ask for one. `server_name`: whose certificate is expected; empty: that of the target's host.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str = ""


def channel_credentials(tls: Tls) -> grpc.ChannelCredentials:
    """Raises ValueError, which names the file that is not there or is not what it should be."""
    if (tls.certificate is None) != (tls.key is None):
        raise ValueError("a certificate needs its key, and a key its certificate")
    ca = None if tls.ca is None else read_authorities(tls.ca)
    if tls.certificate is None or tls.key is None:
        return grpc.ssl_channel_credentials(ca)
    check_pair(tls.certificate, tls.key)
    return grpc.ssl_channel_credentials(ca, tls.key.read_bytes(), tls.certificate.read_bytes())


def channel_options(tls: Tls) -> Sequence[tuple[str, Any]]:
    return (("grpc.ssl_target_name_override", tls.server_name),) if tls.server_name else ()
