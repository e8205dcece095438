CREATE TABLE journal_identity (
    journal_id TEXT PRIMARY KEY
) STRICT;
INSERT INTO journal_identity VALUES (lower(
    hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2) || '-8'
    || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6))
));

-- Ids as text: 20 bytes more than a blob, but a person reads them, json_each binds them, and they sort the same.
-- Lines as [["sku", quantity], ...] sorted by SKU. Times are microseconds since 1970, UTC.
CREATE TABLE orders (
    order_id TEXT PRIMARY KEY,
    customer_id TEXT NOT NULL,
    lines TEXT NOT NULL,
    state INTEGER NOT NULL,
    version INTEGER NOT NULL,
    create_time INTEGER NOT NULL,
    update_time INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX orders_by_customer ON orders (customer_id, order_id);

CREATE VIEW order_lines AS
SELECT orders.order_id, orders.customer_id, line.value ->> 0 AS sku, line.value ->> 1 AS quantity,
       orders.state, orders.version, orders.create_time, orders.update_time
FROM orders, json_each(orders.lines) AS line;

CREATE TABLE incarnations (
    incarnation TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    start_time INTEGER NOT NULL,
    fenced INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX incarnations_by_name ON incarnations (name);

-- {"sku": units sold, ...}; an empty object: the reservation is void.
CREATE TABLE spends (
    incarnation TEXT,
    seq INTEGER,
    units TEXT NOT NULL,
    create_time INTEGER NOT NULL,
    PRIMARY KEY (incarnation, seq)
) STRICT, WITHOUT ROWID;

-- Every row up to `through` is in the totals.
CREATE TABLE spend_roll_ups (
    incarnation TEXT PRIMARY KEY,
    through INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE spend_totals (
    incarnation TEXT,
    sku TEXT,
    units INTEGER NOT NULL,
    PRIMARY KEY (incarnation, sku)
) STRICT, WITHOUT ROWID;
CREATE INDEX spend_totals_by_sku ON spend_totals (sku, units);

-- One writer: rows are numbered as they commit. AUTOINCREMENT: a number that was deleted is not used again.
CREATE TABLE outbox (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    create_time INTEGER NOT NULL,
    event_count INTEGER NOT NULL,
    events BLOB NOT NULL
) STRICT;
