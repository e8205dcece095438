-- Orders that were queued, a row for each batch of them, in the form of an outbox row. `first`: the place of the first
-- one in the queue; the others follow. Rows are kept: the queue is the log of who came first.
CREATE TABLE order_requests (
    first INTEGER PRIMARY KEY,
    create_time INTEGER NOT NULL,
    request_count INTEGER NOT NULL,
    requests BLOB NOT NULL
) STRICT;

-- Where each order stands; the first time, if it was queued more than once.
CREATE TABLE requested_orders (
    order_id TEXT PRIMARY KEY,
    place INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
