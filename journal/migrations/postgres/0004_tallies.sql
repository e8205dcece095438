-- What stock-changed tells of SKUs that are sold by counting, added up in its order, through (number, place).
CREATE TABLE tallies (
    sku text,
    journal_id uuid,
    number bigint NOT NULL,
    place integer NOT NULL,
    units bigint NOT NULL,
    PRIMARY KEY (sku, journal_id)
);

-- The orders that make up the tallies, until stock-changed tells that their units are back.
CREATE TABLE tallied_orders (
    sku text,
    order_id uuid,
    number bigint NOT NULL,
    place integer NOT NULL,
    units bigint NOT NULL,
    PRIMARY KEY (sku, order_id)
);
CREATE INDEX tallied_orders_by_age ON tallied_orders (sku, number, place);


-- Counts each event once: only what is above the SKU's position is new, whoever brings it. Returns the tallies after it.
-- An event is (sku, order_id, units sold, negative: returned, number, place).
CREATE FUNCTION tally_events(
    source uuid, event_skus text[], event_orders uuid[], event_units bigint[], event_numbers bigint[], event_places integer[]
) RETURNS TABLE (tallied_sku text, tallied_units bigint) LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tallies (sku, journal_id, number, place, units)
    SELECT DISTINCT e.sku, source, 0, -1, 0 FROM unnest(event_skus) AS e (sku) ORDER BY e.sku
    ON CONFLICT DO NOTHING;
    -- Two that bring the same events wait for each other, in one order; the statements after this see what the other did.
    PERFORM FROM tallies t WHERE t.journal_id = source AND t.sku = ANY (event_skus) ORDER BY t.sku FOR UPDATE;

    WITH fresh AS (
        SELECT e.* FROM unnest(event_skus, event_orders, event_units, event_numbers, event_places)
            AS e (sku, order_id, units, number, place)
        JOIN tallies t ON t.sku = e.sku AND t.journal_id = source
        WHERE (e.number, e.place) > (t.number, t.place)
    ), sold AS (
        INSERT INTO tallied_orders (sku, order_id, number, place, units)
        SELECT f.sku, f.order_id, f.number, f.place, f.units FROM fresh f
        WHERE f.units > 0
          AND NOT EXISTS (SELECT FROM fresh b WHERE b.sku = f.sku AND b.order_id = f.order_id AND b.units < 0)
        ON CONFLICT DO NOTHING
    ), returned AS (
        DELETE FROM tallied_orders o USING fresh f
        WHERE o.sku = f.sku AND o.order_id = f.order_id AND f.units < 0
    ), sums AS (
        SELECT f.sku, sum(f.units) AS units,
               (array_agg(f.number ORDER BY f.number DESC, f.place DESC))[1] AS number,
               (array_agg(f.place ORDER BY f.number DESC, f.place DESC))[1] AS place
        FROM fresh f GROUP BY f.sku
    )
    UPDATE tallies t SET units = t.units + s.units, number = s.number, place = s.place
    FROM sums s WHERE t.sku = s.sku AND t.journal_id = source;

    RETURN QUERY SELECT t.sku, sum(t.units)::bigint FROM tallies t WHERE t.sku = ANY (event_skus) GROUP BY t.sku;
END
$$;
