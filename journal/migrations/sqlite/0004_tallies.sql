-- What stock-changed tells of SKUs that are sold by counting, added up in its order, through (number, place).
CREATE TABLE tallies (
    sku TEXT,
    journal_id TEXT,
    number INTEGER NOT NULL,
    place INTEGER NOT NULL,
    units INTEGER NOT NULL,
    PRIMARY KEY (sku, journal_id)
) STRICT, WITHOUT ROWID;

-- The orders that make up the tallies, until stock-changed tells that their units are back.
CREATE TABLE tallied_orders (
    sku TEXT,
    order_id TEXT,
    number INTEGER NOT NULL,
    place INTEGER NOT NULL,
    units INTEGER NOT NULL,
    PRIMARY KEY (sku, order_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX tallied_orders_by_age ON tallied_orders (sku, number, place);

-- How far each consumer of the process is on each topic: all up to here is done.
CREATE TABLE consumer_places (
    consumer TEXT,
    topic TEXT,
    number INTEGER NOT NULL,
    place INTEGER NOT NULL,
    PRIMARY KEY (consumer, topic)
) STRICT, WITHOUT ROWID;

-- What consumers could not handle, and notes on it; in Kafka these are topics.
CREATE TABLE dead_letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    consumer TEXT NOT NULL,
    topic TEXT NOT NULL,
    entry TEXT NOT NULL
) STRICT;
CREATE INDEX dead_letters_by_log ON dead_letters (consumer, topic, id);
