-- Who is alive, by the clock of the machine that has this file. A fenced incarnation has no row.
CREATE TABLE heartbeats (
    incarnation TEXT PRIMARY KEY,
    last_beat INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Fenced incarnations whose ledger rows are to be folded, for the first time or again, and when. A row goes when the
-- sweeps are over, so that a long history of starts costs nothing.
CREATE TABLE reclaims (
    incarnation TEXT PRIMARY KEY,
    fence_time INTEGER NOT NULL,
    due INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO reclaims SELECT incarnation, 0, 0 FROM incarnations WHERE fenced;
