"""Which rows a person should look at to understand a finding: queries to paste, and what to read on the log.

For PostgreSQL and Cassandra. The SQLite file of an embedded gateway has the same tables but for the ledger (`stock`,
`stock_units`), and its arrays are texts.
"""

from collections.abc import Sequence

from audit.checks import Finding
from stockd.stores.cassandra_schema import part_of

_ORDER = "journal: SELECT * FROM orders WHERE order_id = '{}'"
_LEDGER = (
    "ledger: SELECT * FROM ledger WHERE part = {part} AND kind IN (0, 1, 2) AND sku = '{sku}'"
    " (in Redis: HGETALL <keyspace>:stock:{key})"
)
_SPENDS = "journal: SELECT * FROM spends WHERE '{}' = ANY (skus)"
_LINES = "journal: SELECT * FROM order_lines WHERE sku = '{}'"

_OF_A_SKU = frozenset({"I1", "I2", "I3", "I10", "I11"})


def rows_of(finding: Finding) -> Sequence[str]:
    """One line each."""
    subject = finding.subject.replace("'", "''")
    if finding.subject.startswith("outbox row "):
        return (f"journal: the outbox row with number {finding.subject.removeprefix('outbox row ')}",)
    if _is_order(finding.subject):
        order_id = finding.subject.partition("/")[0]
        return (
            _ORDER.format(order_id),
            f"topics order-*: key {order_id}; topic stock-changed: order_id {order_id}",
        )
    if finding.invariant in _OF_A_SKU:
        return (
            _LEDGER.format(part=part_of(finding.subject), sku=subject, key=finding.subject),
            _SPENDS.format(subject),
            _LINES.format(subject),
        )
    return ()


def _is_order(subject: str) -> bool:
    """An order id, or the id of one of its events: `<order_id>/<version>`."""
    return len(subject.partition("/")[0]) == 36 and subject.count("-") >= 4
