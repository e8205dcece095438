"""How Cassandra is reached: contact points, and what its TLS and logins need.

Everywhere one text says it: `host:port,host:port`, or that with `?properties=FILE` behind it.
"""

import ssl
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sluice.host_port import split_host_port
from sluice.properties_file import read_properties, split_properties
from sluice.tls_files import TLS_FILES, tls_of

PROPERTIES = ("username", "password", *TLS_FILES, "check_name")
"""`ca`: a PEM file of authorities; with it everything is encrypted. `certificate` and `key`: what is shown to servers
that ask for it. `check_name`: `no` if the servers' certificates do not name their addresses."""


class CassandraAccess(NamedTuple):
    """`login`: name and password."""

    contact_points: Sequence[tuple[str, int]]
    login: tuple[str, str] | None
    tls: ssl.SSLContext | None


def cassandra_access(cassandra: str) -> CassandraAccess:
    """Raises ValueError, which names what is wrong."""
    addresses, file = split_properties(cassandra)
    contact_points = [split_host_port(point.strip()) for point in addresses.split(",")]
    if file is None:
        return CassandraAccess(contact_points, None, None)
    properties = read_properties(file, PROPERTIES, ", ".join(PROPERTIES))
    try:
        return CassandraAccess(contact_points, _login(properties), _tls(properties))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _login(properties: Mapping[str, str]) -> tuple[str, str] | None:
    _both_or_neither(properties, "username", "password")
    return (properties["username"], properties["password"]) if "username" in properties else None


def _tls(properties: Mapping[str, str]) -> ssl.SSLContext | None:
    _both_or_neither(properties, "certificate", "key")
    if "ca" not in properties:
        if needless := properties.keys() & {"certificate", "key", "check_name"}:
            raise ValueError(f"without ca nothing is encrypted, and {min(needless)} is not used")
        return None
    tls = tls_of(properties)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(tls.ca)
    if properties.get("check_name", "yes") not in ("yes", "no"):
        raise ValueError("check_name is yes or no")
    context.check_hostname = properties.get("check_name") != "no"
    if tls.certificate is not None:
        context.load_cert_chain(tls.certificate, tls.key)
    return context


def _both_or_neither(properties: Mapping[str, str], one: str, other: str) -> None:
    if (one in properties) != (other in properties):
        raise ValueError(f"{one} and {other} are needed both, or neither")
