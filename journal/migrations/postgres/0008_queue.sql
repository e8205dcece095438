-- Orders that were queued and did not get their units: they never had any, so nothing of them is held, counted or spent.
-- SL002: an order stands.
CREATE FUNCTION reject_batch(
    batch_time timestamptz,
    order_ids uuid[], customer_ids text[], order_lines jsonb[], order_hold_ends timestamptz[],
    order_priorities smallint[], order_reasons text[],
    rejected_state smallint,
    batch_event_count integer, batch_events bytea
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    done bigint;
BEGIN
    INSERT INTO orders (order_id, customer_id, lines, state, version, create_time, update_time, hold_end, priority, reason)
    SELECT o.order_id, o.customer_id, o.lines, rejected_state, 1, batch_time, batch_time, o.hold_end, o.priority,
           o.reason
    FROM unnest(order_ids, customer_ids, order_lines, order_hold_ends, order_priorities, order_reasons)
        AS o (order_id, customer_id, lines, hold_end, priority, reason)
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS done = ROW_COUNT;
    IF done < cardinality(order_ids) THEN
        RAISE EXCEPTION 'an order stands already' USING ERRCODE = 'SL002';
    END IF;
    INSERT INTO outbox (create_time, event_count, events) VALUES (batch_time, batch_event_count, batch_events);
END
$$;
