"""The stock store that the settings name. Only its own driver is loaded: that takes a while, and one is enough."""

from collections.abc import Callable

from sluice.seams.stock_projection import StockProjection
from sluice.seams.stock_store import StockStore
from sluice.settings import StockStoreSettings
from stockd.stores import driver_without_numpy


async def open_store(settings: StockStoreSettings) -> StockStore:
    """Makes what is not there yet. Raises StoreUnreachable after a minute, ValueError for a wrong Redis URL."""
    if settings.stock_store == "redis":
        return await _open_redis(settings)
    driver_without_numpy.load()
    from stockd.stores.cassandra import CassandraStore  # noqa: PLC0415

    return await CassandraStore.open(
        settings.cassandra, settings.keyspace, settings.replication_factor, settings.local_dc
    )


async def open_standing_store(settings: StockStoreSettings) -> StockStore:
    """As `open_store` for who only looks: makes nothing. Raises LedgerMissing too.

    Keys in Redis need no schema: there a misspelt name shows as a ledger without SKUs.
    """
    if settings.stock_store == "redis":
        return await _open_redis(settings)
    driver_without_numpy.load()
    from stockd.stores.cassandra import CassandraStore  # noqa: PLC0415

    return await CassandraStore.open_standing(settings.cassandra, settings.keyspace, settings.local_dc)


async def open_projection(settings: StockStoreSettings, now_ms: Callable[[], int]) -> StockProjection:
    """Makes what is not there yet. It is in Cassandra, whatever holds the ledger. Raises StoreUnreachable after a
    minute.
    """
    driver_without_numpy.load()
    from stockd.stores.cassandra_projection import CassandraProjection  # noqa: PLC0415

    return await CassandraProjection.open(
        settings.cassandra, settings.keyspace, settings.replication_factor, settings.local_dc, now_ms
    )


async def open_standing_projection(settings: StockStoreSettings, now_ms: Callable[[], int]) -> StockProjection:
    """As `open_projection` for who only looks or rebuilds: makes nothing. Raises LedgerMissing too."""
    driver_without_numpy.load()
    from stockd.stores.cassandra_projection import CassandraProjection  # noqa: PLC0415

    return await CassandraProjection.open_standing(settings.cassandra, settings.keyspace, settings.local_dc, now_ms)


async def _open_redis(settings: StockStoreSettings) -> StockStore:
    from stockd.stores.redis import RedisStore  # noqa: PLC0415

    return await RedisStore.open(settings.redis_url.get_secret_value(), settings.keyspace)
