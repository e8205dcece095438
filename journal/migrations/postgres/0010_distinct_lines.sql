-- As before, but for less. Orders are inserted without ON CONFLICT, which looks each id up once more before it is inserted.
-- order_lines has every content once, and order_line_places[i] says which one is order i's; an empty array: there
-- is one only. Measured at 500 orders a batch of one SKU, us of server CPU per order: 10.0 before, 8.2 without ON CONFLICT, 7.1
-- with both.
DROP FUNCTION commit_batch(timestamptz, uuid[], text[], jsonb[], smallint, timestamptz[], smallint, smallint[], uuid[], uuid[],
                           bigint[], integer[], integer[], text[], bigint[], integer, bytea);
CREATE FUNCTION commit_batch(
    batch_time timestamptz,
    order_ids uuid[], customer_ids text[], order_lines jsonb[], order_line_places integer[], order_state smallint,
    order_hold_ends timestamptz[], held_state smallint, order_priorities smallint[],
    spenders uuid[],
    spend_incarnations uuid[], spend_seqs bigint[], spend_froms integer[], spend_tos integer[],
    spend_skus text[], spend_units bigint[],
    batch_event_count integer, batch_events bytea
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    done bigint;
    -- Where there are several, an order without a place has no lines, and is refused as a row.
    only_lines jsonb := CASE WHEN cardinality(order_lines) = 1 THEN order_lines[1] END;
BEGIN
    PERFORM FROM incarnations i WHERE i.incarnation = ANY (spenders) AND NOT i.fenced ORDER BY i.incarnation FOR SHARE;
    GET DIAGNOSTICS done = ROW_COUNT;
    IF done < cardinality(spenders) THEN
        RAISE EXCEPTION 'an incarnation is fenced or unknown' USING ERRCODE = 'SL001';
    END IF;

    BEGIN  -- a savepoint for the batch, which costs 10 us: callers know an order that stands by SL002
        INSERT INTO orders (order_id, customer_id, lines, state, version, create_time, update_time, hold_end, priority)
        SELECT o.order_id, o.customer_id, coalesce(order_lines[o.line_place], only_lines),
               CASE WHEN o.hold_end IS NULL THEN order_state ELSE held_state END,
               1, batch_time, batch_time, o.hold_end, coalesce(o.priority, 0)
        FROM unnest(order_ids, customer_ids, order_line_places, order_hold_ends, order_priorities)
             AS o (order_id, customer_id, line_place, hold_end, priority);
    EXCEPTION WHEN unique_violation THEN
        RAISE EXCEPTION 'an order stands already' USING ERRCODE = 'SL002';
    END;
    IF cardinality(order_hold_ends) > 0 THEN
        INSERT INTO holds SELECT o.order_id, o.hold_end
        FROM unnest(order_ids, order_hold_ends) AS o (order_id, hold_end) WHERE o.hold_end IS NOT NULL;
    END IF;

    -- Where nothing has a limit this takes 10 us; a look for 500 SKUs takes 200 us even if the table is empty.
    IF EXISTS (SELECT FROM sku_limits) THEN
        IF EXISTS (SELECT FROM sku_limits l WHERE l.sku = ANY (spend_skus)) THEN
            IF NOT count_customer_units(
                order_ids, customer_ids,
                ARRAY(
                    SELECT coalesce(order_lines[o.line_place], only_lines)
                    FROM unnest(order_ids, order_line_places) AS o (order_id, line_place)
                )
            ) THEN
                RAISE EXCEPTION 'a customer has reached a limit' USING ERRCODE = 'SL005';
            END IF;
        END IF;
    END IF;

    INSERT INTO spends (incarnation, seq, skus, units, create_time)
    SELECT s.incarnation, s.seq, spend_skus[s.first:s.last], spend_units[s.first:s.last], batch_time
    FROM unnest(spend_incarnations, spend_seqs, spend_froms, spend_tos) AS s (incarnation, seq, first, last)
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS done = ROW_COUNT;
    IF done < cardinality(spend_seqs) THEN
        RAISE EXCEPTION 'a reservation is closed already' USING ERRCODE = 'SL003';
    END IF;

    IF batch_event_count > 0 THEN
        INSERT INTO outbox (create_time, event_count, events) VALUES (batch_time, batch_event_count, batch_events);
    END IF;
END
$$;
