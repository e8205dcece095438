"""Connections to the stock servers that a setting names."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from gateway.keeper_rpc import RpcKeeper
from sluice.settings import parse_members


@asynccontextmanager
async def rpc_keepers(members: str) -> AsyncIterator[Mapping[str, RpcKeeper]]:
    """By name; `members` as in the setting `stockd`. Closed at the end."""
    keepers = {name: RpcKeeper(address) for name, address in parse_members(members).items()}
    try:
        yield keepers
    finally:
        for keeper in keepers.values():
            await keeper.close()
