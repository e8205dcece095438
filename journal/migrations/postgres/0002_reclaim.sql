-- Who is alive, by this database's clock. Not a column of incarnations: commits hold that row FOR SHARE, and a beat must
-- not wait for them. A fenced incarnation has no row. One that a release before this version registered has none either,
-- and never counts as silent: that release does not beat.
CREATE TABLE heartbeats (
    incarnation uuid PRIMARY KEY,
    last_beat timestamptz NOT NULL
) WITH (fillfactor = 50); -- a row is written every second: its next version finds room on the same page

-- Fenced incarnations whose ledger rows are to be folded, for the first time or again, and when. A row goes when the
-- sweeps are over, so that a long history of starts costs nothing.
CREATE TABLE reclaims (
    incarnation uuid PRIMARY KEY,
    fence_time timestamptz NOT NULL,
    due timestamptz NOT NULL
);
INSERT INTO reclaims SELECT i.incarnation, clock_timestamp(), clock_timestamp() FROM incarnations i WHERE i.fenced;


-- Returns whether this call fenced it. Fenced again it is swept again from the start: somebody knows of a late write.
CREATE FUNCTION fence_incarnation(old uuid) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    newly boolean;
BEGIN
    -- This waits for commits in flight.
    UPDATE incarnations i SET fenced = true WHERE i.incarnation = old AND NOT i.fenced;
    newly := FOUND;
    DELETE FROM heartbeats h WHERE h.incarnation = old;
    INSERT INTO reclaims AS r (incarnation, fence_time, due)
    SELECT i.incarnation, clock_timestamp(), clock_timestamp() FROM incarnations i WHERE i.incarnation = old
    ON CONFLICT (incarnation) DO UPDATE SET fence_time = excluded.fence_time, due = excluded.due;
    RETURN newly;
END
$$;


-- As before, and: the first beat is written here, so that who dies at once is silent too; the predecessors are due.
CREATE OR REPLACE FUNCTION register_incarnation(new_name text, new_incarnation uuid, start timestamptz)
RETURNS SETOF uuid LANGUAGE plpgsql AS $$
BEGIN
    -- Two starts of one name at once: the later one must see the earlier one's row.
    PERFORM pg_advisory_xact_lock(hashtextextended('sluice incarnations of ' || new_name, 0));
    IF EXISTS (SELECT FROM incarnations i WHERE i.incarnation = new_incarnation AND i.fenced) THEN
        RAISE EXCEPTION 'the incarnation is fenced' USING ERRCODE = 'SL001';
    END IF;
    -- In the order in which commits lock them; this waits for commits in flight.
    PERFORM FROM incarnations i WHERE i.name = new_name AND i.incarnation <> new_incarnation AND NOT i.fenced
    ORDER BY i.incarnation FOR UPDATE;
    WITH fenced AS (
        UPDATE incarnations i SET fenced = true
        WHERE i.name = new_name AND i.incarnation <> new_incarnation AND NOT i.fenced
        RETURNING i.incarnation
    ), silenced AS (
        DELETE FROM heartbeats h USING fenced f WHERE h.incarnation = f.incarnation
    )
    INSERT INTO reclaims SELECT f.incarnation, clock_timestamp(), clock_timestamp() FROM fenced f;
    -- Those that are still being swept are looked at now: one of them may have written until a moment ago.
    UPDATE reclaims r SET due = clock_timestamp()
    FROM incarnations i WHERE i.name = new_name AND r.incarnation = i.incarnation;
    INSERT INTO incarnations (incarnation, name, start_time) VALUES (new_incarnation, new_name, start)
    ON CONFLICT DO NOTHING;
    INSERT INTO heartbeats AS h VALUES (new_incarnation, clock_timestamp())
    ON CONFLICT (incarnation) DO UPDATE SET last_beat = excluded.last_beat;
    INSERT INTO spend_roll_ups VALUES (new_incarnation, 0) ON CONFLICT DO NOTHING;
    RETURN QUERY SELECT i.incarnation FROM incarnations i WHERE i.name = new_name AND i.fenced ORDER BY i.start_time;
END
$$;
