"""Every peer by name: where its code is, which server it needs, and what it has kept when it says yes."""

from typing import NamedTuple


class KnownPeer(NamedTuple):
    """`opened_by` names a function `(address) -> Peer`. `server` is what must run for it (`bench.peers.servers`).
    `keeps` is what of an accepted order is kept at the moment in which its buyer hears yes; `durable` whether that
    survives a power cut.
    """

    opened_by: str
    server: str
    label: str
    keeps: str
    durable: bool
    oversells: bool = False


PEERS = {
    "redis": KnownPeer(
        "bench.peers.redis_lua:open_peer", "redis", "Redis, one Lua script", "count and order ids, in memory", False
    ),
    "redis_aof": KnownPeer(
        "bench.peers.redis_lua:open_peer",
        "redis_aof",
        "Redis, one Lua script, log synced before each answer",
        "count and order ids",
        True,
    ),
    "postgres_hot_row": KnownPeer(
        "bench.peers.postgres_hot_row:open_peer",
        "postgres",
        "PostgreSQL, `UPDATE … WHERE qty >= n` on one row",
        "order row and count, one transaction",
        True,
    ),
    "postgres_skip_locked": KnownPeer(
        "bench.peers.postgres_skip_locked:open_peer",
        "postgres",
        "PostgreSQL, a row for each unit, `SKIP LOCKED`",
        "order id in its units' rows",
        True,
    ),
    "lwt_per_order": KnownPeer(
        "bench.peers.lwt_per_order:open_peer",
        "cassandra",
        "Cassandra, one conditional write per order",
        "count; not whose it was",
        True,
    ),
    "counter_per_order": KnownPeer(
        "bench.peers.counter_per_order:open_peer",
        "cassandra",
        "Cassandra, one read and one counter addition per order",
        "count; sells beyond the stock",
        True,
        oversells=True,
    ),
    "kafka_first": KnownPeer(
        "bench.peers.kafka_first:open_deciding",
        "kafka",
        "Kafka first, one consumer decides",
        "order in the log, acknowledged by one broker and not synced",
        False,
    ),
    "kafka_first_append": KnownPeer(
        "bench.peers.kafka_first:open_appending",
        "kafka",
        "Kafka first, answered when appended",
        "order in the log, not decided yet",
        False,
        oversells=True,
    ),
    "kafka_first_append_10": KnownPeer(
        "bench.peers.kafka_first:open_appending_to_ten",
        "kafka",
        "Kafka first, 10 partitions, answered when appended",
        "order in the log, not decided yet",
        False,
        oversells=True,
    ),
    "tigerbeetle": KnownPeer(
        "bench.peers.tigerbeetle_pending:open_peer",
        "tigerbeetle",
        "TigerBeetle, a pending transfer per order",
        "transfer with the order's id",
        True,
    ),
}
