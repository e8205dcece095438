-- Which of a cluster's journals this is: number 0 to count - 1, as orders and reservations are divided. Written when it is first
-- opened, never changed. first_journal: the identity of number 0, so that databases of two clusters cannot be mixed.
CREATE TABLE journal_shard (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    number integer NOT NULL,
    count integer NOT NULL,
    first_journal uuid NOT NULL,
    CHECK (0 <= number AND number < count)
);
-- One that has been used was the only one.
INSERT INTO journal_shard (number, count, first_journal)
SELECT 0, 1, i.journal_id FROM journal_identity i WHERE EXISTS (SELECT FROM incarnations) OR EXISTS (SELECT FROM orders);


-- Fences it here, even if it was not registered here yet: then it never can be. For all journals but the first, whose
-- fence_incarnation makes it due for a reclaim.
CREATE FUNCTION fence_besides(old uuid, old_name text, old_start timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- This waits for a registration in flight, and the update after it for commits in flight.
    INSERT INTO incarnations (incarnation, name, start_time, fenced) VALUES (old, old_name, old_start, true)
    ON CONFLICT DO NOTHING;
    UPDATE incarnations i SET fenced = true WHERE i.incarnation = old AND NOT i.fenced;
    DELETE FROM heartbeats h WHERE h.incarnation = old;
END
$$;


-- As before, and: of several journals each has the numbers whose remainder is its own, so the one after n is n + count.
CREATE OR REPLACE FUNCTION roll_up_spends(rolled_incarnation uuid, most integer) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    shard journal_shard;
    before bigint;
    until bigint;
BEGIN
    SELECT r.through INTO before FROM spend_roll_ups r WHERE r.incarnation = rolled_incarnation FOR UPDATE;
    IF before IS NULL THEN
        RETURN 0;
    END IF;
    SELECT * INTO STRICT shard FROM journal_shard;
    -- The last row before the first gap. Numbers begin at count + number; before them `through` is 0.
    SELECT max(n.seq) INTO until
    FROM (SELECT s.seq, row_number() OVER (ORDER BY s.seq) AS place
          FROM spends s WHERE s.incarnation = rolled_incarnation AND s.seq > before
          ORDER BY s.seq LIMIT most) AS n
    WHERE n.seq = (before / shard.count + n.place) * shard.count + shard.number;
    IF until IS NULL THEN
        RETURN 0;
    END IF;
    INSERT INTO spend_totals AS t (incarnation, sku, units)
    SELECT rolled_incarnation, u.sku, sum(u.units)
    FROM spends s, unnest(s.skus, s.units) AS u (sku, units)
    WHERE s.incarnation = rolled_incarnation AND s.seq > before AND s.seq <= until
    GROUP BY u.sku ORDER BY u.sku
    ON CONFLICT (incarnation, sku) DO UPDATE SET units = t.units + excluded.units;
    UPDATE spend_roll_ups r SET through = until WHERE r.incarnation = rolled_incarnation;
    RETURN until / shard.count - before / shard.count;
END
$$;
