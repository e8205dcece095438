"""Keyspace and tables. The ledger may only be written by conditional writes, whoever writes it."""

from uuid import UUID

from sluice.model import StockPolicy
from sluice.slots import slot_of_sku

TABLES = {"ledger": "owners", "holders": "sku", "counted": "units", "counted_closed": "units"}
"""Each table with the column that came last: where that is missing an earlier release made the table."""

TABLES_BEFORE = {"stock": "available"}
"""A ledger with a partition for each SKU, as it was before SKUs shared them. Nobody reads or writes it any more."""

PARTITIONS = 32
"""Of the ledger. Few enough that a burst over many SKUs asks each for several at a time; enough to spread over some
dozens of nodes, and that a million SKUs are some megabytes in each. For good: it says where each SKU is."""

SKU = 0
RESTOCK = 1
TAKEN = 2
"""Kinds of rows of the ledger: the SKU itself, under the id NOBODY; a restock by its id; what an incarnation holds."""

NOBODY = UUID(int=0)

KEYSPACE = """
CREATE KEYSPACE IF NOT EXISTS {keyspace}
WITH replication = {{'class': 'NetworkTopologyStrategy', '{local_dc}': {replication_factor}}}
"""

# SKUs share partitions because conditional writes of one partition can be one write, and kinds come before SKUs so that
# the SKUs of a partition can be listed. Every write of a row with units raises its version.
# A time to live would let the stock itself expire. The ten days of gc_grace also keep the state of old Paxos rounds,
# without which a late round could not be told from a new one. Rows are rewritten in place all the time: levels (L4)
# keep a read to a few files. A read of a quorum asks two of three replicas; while one of them hangs the third is asked
# after 50 ms, where the default waits for 2.5 s until it has seen some traffic.
_LEDGER = """
CREATE TABLE IF NOT EXISTS {keyspace}.ledger (
    part smallint, kind tinyint, sku text, id uuid,
    available bigint, policy text, owners int,
    units bigint, version bigint,
    PRIMARY KEY (part, kind, sku, id)
) WITH default_time_to_live = 0 AND gc_grace_seconds = 864000
  AND compaction = {{'class': 'UnifiedCompactionStrategy', 'scaling_parameters': 'L4'}}
  AND speculative_retry = 'MIN(99PERCENTILE,50MS)'
"""

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
        for statement in (KEYSPACE, _LEDGER, _HOLDERS, _COUNTED, _COUNTED_CLOSED)
    ]


def part_of(sku: str) -> int:
    """The partition of the ledger that holds the SKU."""
    return slot_of_sku(sku) % PARTITIONS


def policy_of(text: str) -> StockPolicy:
    return StockPolicy[text.upper()]


def policy_text(policy: StockPolicy) -> str:
    return policy.name.lower()
