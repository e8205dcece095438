"""Keyspace and tables. The ledger (`stock`) may only be written by conditional writes, whoever writes it."""

TABLES = {"stock": "owners", "holders": "sku", "counted": "units", "counted_closed": "units"}
"""Each table with the column that came last: where that is missing an earlier release made the table."""

KEYSPACE = """
CREATE KEYSPACE IF NOT EXISTS {keyspace}
WITH replication = {{'class': 'NetworkTopologyStrategy', '{local_dc}': {replication_factor}}}
"""

# kind 0: a restock by its id; kind 1: what an incarnation holds. Every write of a row raises its version.
# A time to live would let the stock itself expire. The ten days of gc_grace also keep the state of old Paxos rounds,
# without which a late round could not be told from a new one. Rows are rewritten in place all the time: levels (L4)
# keep a read to a few files. A read of a quorum asks two of three replicas; while one of them hangs the third is asked
# after 50 ms, where the default waits for 2.5 s until it has seen some traffic.
_STOCK = """
CREATE TABLE IF NOT EXISTS {keyspace}.stock (
    sku text, kind tinyint, id uuid,
    available bigint STATIC, policy text STATIC, owners int STATIC,
    units bigint, version bigint,
    PRIMARY KEY (sku, kind, id)
) WITH default_time_to_live = 0 AND gc_grace_seconds = 864000
  AND compaction = {{'class': 'UnifiedCompactionStrategy', 'scaling_parameters': 'L4'}}
  AND speculative_retry = 'MIN(99PERCENTILE,50MS)'
"""

_STOCK_OWNERS = "ALTER TABLE {keyspace}.stock ADD IF NOT EXISTS owners int STATIC"

_HOLDERS = """
CREATE TABLE IF NOT EXISTS {keyspace}.holders (
    incarnation uuid, sku text,
    PRIMARY KEY (incarnation, sku)
) WITH compaction = {{'class': 'UnifiedCompactionStrategy', 'scaling_parameters': 'L4'}}
  AND speculative_retry = 'MIN(99PERCENTILE,50MS)'
"""


# A table of counters holds nothing else. Each incarnation adds to cells of its own, so the replicas' locks on a hot SKU
# are spread too. Rows are never deleted: a deleted counter comes back wrong.
_COUNTED = """
CREATE TABLE IF NOT EXISTS {keyspace}.counted (
    sku text, incarnation uuid, number int, units counter,
    PRIMARY KEY (sku, incarnation, number)
) WITH compaction = {{'class': 'UnifiedCompactionStrategy', 'scaling_parameters': 'L4'}}
  AND speculative_retry = 'MIN(99PERCENTILE,50MS)'
"""

_COUNTED_CLOSED = """
CREATE TABLE IF NOT EXISTS {keyspace}.counted_closed (
    sku text, incarnation uuid, number int, units bigint,
    PRIMARY KEY (sku, incarnation, number)
) WITH compaction = {{'class': 'UnifiedCompactionStrategy', 'scaling_parameters': 'L4'}}
  AND speculative_retry = 'MIN(99PERCENTILE,50MS)'
"""


def create_statements(keyspace: str, replication_factor: int, local_dc: str) -> list[str]:
    """In the order in which they must run. What exists stays as it is, its replication too."""
    return [
        statement.format(keyspace=keyspace, replication_factor=replication_factor, local_dc=local_dc)
        for statement in (KEYSPACE, _STOCK, _STOCK_OWNERS, _HOLDERS, _COUNTED, _COUNTED_CLOSED)
    ]
