-- Where events go: the partition of each of the 4,096 slots, as 2 bytes each, big-endian. Rows are never changed. Outbox rows
-- from first_number on are placed by it, until the next epoch's first_number. left_at: {"partition": offset}, for each
-- partition that slots left with this epoch its end on the log when everything below first_number was acknowledged.
CREATE TABLE slot_maps (
    topic TEXT,
    epoch INTEGER,
    first_number INTEGER NOT NULL,
    seats BLOB NOT NULL CHECK (length(seats) = 8192),
    left_at TEXT NOT NULL,
    PRIMARY KEY (topic, epoch)
) STRICT, WITHOUT ROWID;

-- A move under way: the seats of the next epoch. Gone when the slots have moved, or the move was aborted.
CREATE TABLE slot_moves (
    topic TEXT PRIMARY KEY,
    seats BLOB NOT NULL CHECK (length(seats) = 8192)
) STRICT, WITHOUT ROWID;

-- Rows have their number from the start; whoever holds the lease sees them up to `through`, which stands still while
-- numbering is paused. Microseconds since 1970, UTC.
CREATE TABLE outbox_lent (
    through INTEGER NOT NULL,
    paused_until INTEGER NOT NULL
) STRICT;
INSERT INTO outbox_lent VALUES (0, 0);
