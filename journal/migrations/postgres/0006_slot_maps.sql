-- Where events go: the partition of each of the 4,096 slots, as 2 bytes each, big-endian. Rows are never changed. Outbox rows
-- from first_number on are placed by it, until the next epoch's first_number. left_at: for each partition that slots left
-- with this epoch, its end on the log when everything below first_number was acknowledged.
CREATE TABLE slot_maps (
    topic text,
    epoch integer,
    first_number bigint NOT NULL,
    seats bytea NOT NULL CHECK (octet_length(seats) = 8192),
    left_at jsonb NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (topic, epoch)
);

-- A move under way: the seats of the next epoch. Gone when the slots have moved, or the move was aborted.
CREATE TABLE slot_moves (
    topic text PRIMARY KEY,
    seats bytea NOT NULL CHECK (octet_length(seats) = 8192),
    create_time timestamptz NOT NULL DEFAULT now()
);

-- Until then nothing is numbered. A time, so that a mover that dies cannot stop the events for good; what is right does
-- not depend on it.
ALTER TABLE outbox_numbers ADD paused_until timestamptz;


-- As before, and: nothing while numbering is paused.
CREATE OR REPLACE FUNCTION number_outbox(most integer) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    first bigint;
    paused boolean;
    done bigint;
BEGIN
    SELECT c.next, coalesce(c.paused_until > clock_timestamp(), false) INTO first, paused FROM outbox_numbers c FOR UPDATE;
    IF paused THEN
        RETURN 0;
    END IF;
    UPDATE outbox o SET number = first + f.place - 1
    FROM (SELECT u.id, row_number() OVER (ORDER BY u.id) AS place
          FROM outbox u WHERE u.number IS NULL ORDER BY u.id LIMIT most) AS f
    WHERE o.id = f.id;
    GET DIAGNOSTICS done = ROW_COUNT;
    IF done > 0 THEN
        UPDATE outbox_numbers SET next = first + done;
    END IF;
    RETURN done;
END
$$;


-- Pauses numbering for at most so many seconds; returns the last number given, of which there will be no higher one meanwhile.
CREATE FUNCTION pause_numbering(limit_s double precision) RETURNS bigint LANGUAGE sql AS $$
    UPDATE outbox_numbers SET paused_until = clock_timestamp() + make_interval(secs => limit_s) RETURNING next - 1
$$;


-- Puts the next epoch into force and ends the pause, if nothing was numbered above `last_number` and nothing up to it waits.
-- Returns whether it did.
CREATE FUNCTION switch_slot_map(moved_topic text, last_number bigint, partitions_left_at jsonb)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    following bigint;
    next_seats bytea;
BEGIN
    SELECT c.next INTO following FROM outbox_numbers c FOR UPDATE;
    IF following <> last_number + 1 OR EXISTS (SELECT FROM outbox o WHERE o.number <= last_number) THEN
        RETURN false;
    END IF;
    DELETE FROM slot_moves m WHERE m.topic = moved_topic RETURNING m.seats INTO next_seats;
    IF next_seats IS NULL THEN
        RETURN false;
    END IF;
    INSERT INTO slot_maps (topic, epoch, first_number, seats, left_at)
    SELECT moved_topic, max(s.epoch) + 1, following, next_seats, partitions_left_at
    FROM slot_maps s WHERE s.topic = moved_topic;
    UPDATE outbox_numbers SET paused_until = NULL;
    RETURN true;
END
$$;
