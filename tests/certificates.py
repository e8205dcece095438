"""Authorities of the tests' own, and certificates of them."""

from pathlib import Path
from typing import NamedTuple

import grpc
import trustme
from cryptography.hazmat.primitives import serialization
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.local.processes import NotAnsweringError
from sluice.rpc.caller_tls import channel_credentials
from sluice.tls_files import Tls

HOST = "127.0.0.1"
ANSWER_LIMIT_S = 2.0


class Pem(NamedTuple):
    """Files of one certificate."""

    certificate: Path
    key: Path


class Authority:
    """Who makes certificates, and the file by which others know it."""

    def __init__(self, directory: Path, name: str) -> None:
        self._made = trustme.CA()
        self._directory = directory
        self.file = directory / f"{name}.pem"
        self._made.cert_pem.write_to_path(self.file)

    def issue(self, name: str, identity: str = HOST) -> Pem:
        """Anew, if there are files of that name."""
        pem = Pem(self._directory / f"{name}.crt", self._directory / f"{name}.key")
        made = self._made.issue_cert(identity)
        made.private_key_pem.write_to_path(pem.key)
        pem.certificate.write_bytes(b"".join(each.bytes() for each in made.cert_chain_pems))
        return pem

    def issue_store(self, name: str) -> Path:
        """Certificate and key in one file, as servers on the JVM take them."""
        pem = self.issue(name)
        key = serialization.load_pem_private_key(pem.key.read_bytes(), password=None)
        in_pkcs8 = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        store = self._directory / f"{name}.store"
        store.write_bytes(in_pkcs8 + pem.certificate.read_bytes())
        return store


def serves_with_tls(tls: Tls, endpoint: str) -> None:
    """As `deploy.local.services.serves`, over TLS."""
    with grpc.secure_channel(endpoint, channel_credentials(tls)) as channel:
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=""), timeout=ANSWER_LIMIT_S
            )
        except grpc.RpcError as error:
            raise NotAnsweringError(error.code().name) from error
    if reply.status != health_pb2.HealthCheckResponse.SERVING:
        raise NotAnsweringError(str(reply.status))
