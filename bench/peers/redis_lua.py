"""A coupon server on Redis: one script checks and decrements, and remembers who has one."""

from uuid import UUID

from redis.asyncio import BlockingConnectionPool, Redis

CONNECTIONS = 16
PLACE_WAIT_S = 30.0
"""For one of these connections: a slow answer is counted as slow, not as lost."""

_RESERVE = """
if redis.call('SISMEMBER', KEYS[2], ARGV[1]) == 1 then return 1 end
if tonumber(redis.call('GET', KEYS[1]) or '0') < tonumber(ARGV[2]) then return 0 end
redis.call('DECRBY', KEYS[1], ARGV[2])
redis.call('SADD', KEYS[2], ARGV[1])
return 1
"""


class RedisPeer:
    """See `bench.peers.protocol.Peer`."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._reserve = client.register_script(_RESERVE)

    async def add_stock(self, sku: str, units: int) -> None:
        await self._client.incrby(f"left:{sku}", units)

    async def reserve(self, order_id: UUID, sku: str, quantity: int) -> bool:
        keys = [f"left:{sku}", f"issued:{sku}"]
        return bool(await self._reserve(keys=keys, args=[order_id.bytes, quantity]))

    async def close(self) -> None:
        await self._client.aclose()


async def open_peer(address: str) -> RedisPeer:
    """`address`: redis://..."""
    pool = BlockingConnectionPool.from_url(address, max_connections=CONNECTIONS, timeout=PLACE_WAIT_S)
    return RedisPeer(Redis.from_pool(pool))
