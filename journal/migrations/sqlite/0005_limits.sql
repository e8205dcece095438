-- Units that one customer may have of a SKU.
CREATE TABLE sku_limits (
    sku TEXT PRIMARY KEY,
    units INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Units of living orders that were placed while their SKU had a limit: the sum, and what each order has of it.
CREATE TABLE customer_units (
    customer_id TEXT,
    sku TEXT,
    units INTEGER NOT NULL,
    PRIMARY KEY (customer_id, sku)
) STRICT, WITHOUT ROWID;
CREATE TABLE counted_lines (
    order_id TEXT,
    sku TEXT,
    customer_id TEXT NOT NULL,
    units INTEGER NOT NULL,
    PRIMARY KEY (order_id, sku)
) STRICT, WITHOUT ROWID;
