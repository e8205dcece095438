-- hold_end is kept when the hold is over: it is part of what the order was placed with. reason: why the order ended.
ALTER TABLE orders ADD COLUMN hold_end INTEGER;
ALTER TABLE orders ADD COLUMN reason TEXT NOT NULL DEFAULT '';

-- The orders in state HELD, and no others.
CREATE TABLE holds (
    order_id TEXT PRIMARY KEY,
    hold_end INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX holds_by_end ON holds (hold_end);
