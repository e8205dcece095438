"""How stock servers are reached: `name=host:port,name=host:port`, or that with `?properties=FILE` behind it."""

from collections.abc import Mapping
from typing import NamedTuple

from sluice.host_port import split_host_port
from sluice.properties_file import read_properties, split_properties
from sluice.tls_files import TLS_FILES, Tls, tls_of

PROPERTIES = (*TLS_FILES, "server_name")
"""As in `Tls`."""


class StockServers(NamedTuple):
    """`addresses` by name. `tls`: None: nothing is encrypted."""

    addresses: Mapping[str, str]
    tls: Tls | None


def stock_servers(stockd: str) -> StockServers:
    """Raises ValueError, which names what is wrong."""
    members, file = split_properties(stockd)
    if file is None:
        return StockServers(parse_members(members), None)
    given = read_properties(file, PROPERTIES, ", ".join(PROPERTIES))
    return StockServers(parse_members(members), tls_of(given))


def parse_members(value: str) -> dict[str, str]:
    """`a=host:port,b=host:port` as name → address. Raises ValueError naming the part that is wrong."""
    members: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in value.split(","))):
        name, separator, address = part.partition("=")
        if not separator or not name:
            raise ValueError(f"{part!r} is not name=host:port")
        split_host_port(address)
        if name in members:
            raise ValueError(f"{name!r} is named twice")
        members[name] = address
    if not members:
        raise ValueError("at least one name=host:port is needed")
    return members
