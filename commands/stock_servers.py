"""Connections to the stock servers that a setting names."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from gateway.keeper_rpc import RpcKeeper
from sluice.stock_servers import stock_servers


@asynccontextmanager
async def rpc_keepers(members: str) -> AsyncIterator[Mapping[str, RpcKeeper]]:
    """By name; `members` as in the setting `stockd`. Closed at the end."""
    servers = stock_servers(members)
    keepers = {name: RpcKeeper(address, servers.tls) for name, address in servers.addresses.items()}
    try:
        yield keepers
    finally:
        for keeper in keepers.values():
            await keeper.close()
