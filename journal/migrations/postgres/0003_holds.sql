-- hold_end is kept when the hold is over: it is part of what the order was placed with. reason: why the order ended.
ALTER TABLE orders ADD COLUMN hold_end timestamptz, ADD COLUMN reason text NOT NULL DEFAULT '';

-- The orders in state HELD, and no others. Not an index on orders: with the state in it every change of state would
-- write all indexes of the order anew.
CREATE TABLE holds (
    order_id uuid PRIMARY KEY,
    hold_end timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000); -- a queue, like the outbox
CREATE INDEX holds_by_end ON holds (hold_end);


-- As before, and: order i is held until order_hold_ends[i], if that is there and not null. The function without it stays
-- for gateways of the release before.
CREATE FUNCTION commit_batch(
    batch_time timestamptz,
    order_ids uuid[], customer_ids text[], order_lines jsonb[], order_state smallint,
    order_hold_ends timestamptz[], held_state smallint,
    spenders uuid[],
    spend_incarnations uuid[], spend_seqs bigint[], spend_froms integer[], spend_tos integer[],
    spend_skus text[], spend_units bigint[],
    batch_event_count integer, batch_events bytea
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    done bigint;
BEGIN
    PERFORM FROM incarnations i WHERE i.incarnation = ANY (spenders) AND NOT i.fenced ORDER BY i.incarnation FOR SHARE;
    GET DIAGNOSTICS done = ROW_COUNT;
    IF done < cardinality(spenders) THEN
        RAISE EXCEPTION 'an incarnation is fenced or unknown' USING ERRCODE = 'SL001';
    END IF;

    INSERT INTO orders (order_id, customer_id, lines, state, version, create_time, update_time, hold_end)
    SELECT o.order_id, o.customer_id, o.lines, CASE WHEN o.hold_end IS NULL THEN order_state ELSE held_state END,
           1, batch_time, batch_time, o.hold_end
    FROM unnest(order_ids, customer_ids, order_lines, order_hold_ends) AS o (order_id, customer_id, lines, hold_end)
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS done = ROW_COUNT;
    IF done < cardinality(order_ids) THEN
        RAISE EXCEPTION 'an order stands already' USING ERRCODE = 'SL002';
    END IF;
    IF cardinality(order_hold_ends) > 0 THEN
        INSERT INTO holds SELECT o.order_id, o.hold_end
        FROM unnest(order_ids, order_hold_ends) AS o (order_id, hold_end) WHERE o.hold_end IS NOT NULL;
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


-- One batch of changes of state, all or nothing, in one round trip; `spends` and errors as in commit_batch.
-- SL004: an order does not stand at the version expected. left_holds: those of the orders that leave HELD.
CREATE FUNCTION transition_batch(
    batch_time timestamptz,
    order_ids uuid[], order_versions integer[], order_states smallint[], order_reasons text[], left_holds uuid[],
    spenders uuid[],
    spend_incarnations uuid[], spend_seqs bigint[], spend_froms integer[], spend_tos integer[],
    spend_skus text[], spend_units bigint[],
    batch_event_count integer, batch_events bytea
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    done bigint;
BEGIN
    PERFORM FROM incarnations i WHERE i.incarnation = ANY (spenders) AND NOT i.fenced ORDER BY i.incarnation FOR SHARE;
    GET DIAGNOSTICS done = ROW_COUNT;
    IF done < cardinality(spenders) THEN
        RAISE EXCEPTION 'an incarnation is fenced or unknown' USING ERRCODE = 'SL001';
    END IF;

    -- Two batches that meet wait for each other in one order, so they cannot deadlock.
    PERFORM FROM orders o WHERE o.order_id = ANY (order_ids) ORDER BY o.order_id FOR NO KEY UPDATE;
    UPDATE orders o SET state = t.state, version = o.version + 1, update_time = batch_time, reason = t.reason
    FROM unnest(order_ids, order_versions, order_states, order_reasons) AS t (order_id, version, state, reason)
    WHERE o.order_id = t.order_id AND o.version = t.version;
    GET DIAGNOSTICS done = ROW_COUNT;
    IF done < cardinality(order_ids) THEN
        RAISE EXCEPTION 'an order has moved' USING ERRCODE = 'SL004';
    END IF;
    IF cardinality(left_holds) > 0 THEN
        DELETE FROM holds h WHERE h.order_id = ANY (left_holds);
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
