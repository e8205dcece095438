"""TLS of a caller: what it trusts, and what it shows."""

from collections.abc import Sequence
from typing import Any

import grpc

from sluice.tls_files import Tls, check_tls


def channel_credentials(tls: Tls) -> grpc.ChannelCredentials:
    """Raises ValueError, which names the file that is not there or is not what it should be."""
    check_tls(tls)
    ca = None if tls.ca is None else tls.ca.read_bytes()
    if tls.certificate is None or tls.key is None:
        return grpc.ssl_channel_credentials(ca)
    return grpc.ssl_channel_credentials(ca, tls.key.read_bytes(), tls.certificate.read_bytes())


def channel_options(tls: Tls) -> Sequence[tuple[str, Any]]:
    return (("grpc.ssl_target_name_override", tls.server_name),) if tls.server_name else ()
