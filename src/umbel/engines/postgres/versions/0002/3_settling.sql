-- Settling, giving back and taking over.

-- Which of these handings-over an owner still holds, in a state of at most so much.
CREATE FUNCTION held(p_owner bigint, p_seqs bigint[], p_leases bigint[], p_most integer)
RETURNS TABLE (seq bigint, lease bigint) LANGUAGE sql
SET search_path FROM CURRENT SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
    SELECT leased.seq, number
    FROM lease CROSS JOIN unnest(seqs) AS leased (seq)
    WHERE owner = p_owner AND number = ANY (p_leases) AND state <= p_most
        AND (leased.seq, number) IN (SELECT * FROM unnest(p_seqs, p_leases))
$$;

-- End the leases of those of these handings-over that an owner holds, in a state of at most so much, and return
-- them. Whoever calls this has to say where they are from now on.
CREATE FUNCTION take_off(p_owner bigint, p_seqs bigint[], p_leases bigint[], p_most integer)
RETURNS TABLE (
    seq bigint, lease bigint, queue integer, urgency smallint, count integer, crashes integer
) LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    one record;
    gone bigint[];
    kept bigint[];
BEGIN
    -- In one order: an owner may settle two parts of a batch at once, each of which waits here for the other. Seqs are
    -- the last to decide, since those of a row become fewer.
    FOR one IN
        SELECT * FROM lease WHERE owner = p_owner AND number = ANY (p_leases) AND state <= p_most
        ORDER BY number, queue, urgency, count, crashes, state, seqs FOR UPDATE
    LOOP
        gone := ARRAY(
            SELECT unnest(one.seqs)
            INTERSECT
            SELECT given.seq FROM unnest(p_seqs, p_leases) AS given (seq, lease) WHERE given.lease = one.number
        );
        IF cardinality(gone) = cardinality(one.seqs) THEN
            DELETE FROM lease WHERE owner = p_owner AND number = one.number AND seqs = one.seqs;
        ELSIF cardinality(gone) > 0 THEN
            kept := ARRAY(SELECT unnest(one.seqs) EXCEPT SELECT unnest(gone) ORDER BY 1);
            UPDATE lease SET seqs = kept WHERE owner = p_owner AND number = one.number AND seqs = one.seqs;
        END IF;
        RETURN QUERY
            SELECT unnest(gone), one.number, one.queue, one.urgency, one.count, one.crashes;
    END LOOP;
END $$;

-- Settle deliveries, all of them or none: UM001 says that one is not held any more. The first arrays are of those
-- that are acknowledged: their seqs and leases, or, where they have one lease and their seqs follow each other, the
-- first and the last seq and that lease. The next are of all others; actions: 1 requeue, 2 park, 3 dead letter. Returns the owner: a claim that takes it from here comes after all of this.
CREATE FUNCTION settle(
    p_owner bigint, p_acked bigint[], p_acked_leases bigint[],
    p_seqs bigint[], p_leases bigint[], p_actions smallint[], p_crashes smallint[], p_dues double precision[],
    p_reasons text[], p_ends double precision[]
) RETURNS bigint LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
BEGIN
    PERFORM stay_attached(p_owner);
    IF p_seqs IS NOT NULL THEN
        -- What is done in several steps is locked in one order first: see take_off.
        PERFORM 1 FROM lease WHERE owner = p_owner AND number = ANY (p_acked_leases || p_leases)
        ORDER BY number, queue, urgency, count, crashes, state, seqs FOR UPDATE;
    END IF;
    IF p_acked IS NOT NULL THEN
        PERFORM acknowledge(p_owner, p_acked, p_acked_leases);
    END IF;
    IF p_seqs IS NOT NULL THEN
        PERFORM bury(p_owner, p_seqs, p_leases, p_actions, p_crashes, p_reasons, p_ends);
        PERFORM put_back(p_owner, p_seqs, p_leases, p_actions, p_crashes, p_dues);
    END IF;
    RETURN p_owner;
END $$;

-- The same, with results and what follows, each given as columns.
CREATE FUNCTION settle_and_store(
    p_owner bigint, p_acked bigint[], p_acked_leases bigint[],
    p_seqs bigint[], p_leases bigint[], p_actions smallint[], p_crashes smallint[], p_dues double precision[],
    p_reasons text[], p_ends double precision[],
    r_task_ids text[], r_states text[], r_final boolean[], r_documents text[], r_data bytea[],
    r_expires double precision[],
    m_queues integer[], m_urgencies smallint[], m_dues double precision[], m_task_ids text[], m_tags text[],
    m_headers text[], m_properties text[], m_content_types text[], m_content_encodings text[], m_bodies bytea[]
) RETURNS bigint LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM settle(
        p_owner, p_acked, p_acked_leases, p_seqs, p_leases, p_actions, p_crashes, p_dues, p_reasons, p_ends
    );
    IF r_task_ids IS NOT NULL THEN
        PERFORM store_results(r_task_ids, r_states, r_final, r_documents, r_data, r_expires);
    END IF;
    IF m_tags IS NOT NULL THEN
        PERFORM publish(
            m_queues, m_urgencies, m_dues, m_task_ids, m_tags, m_headers, m_properties, m_content_types,
            m_content_encodings, m_bodies
        );
    END IF;
    RETURN p_owner;
END $$;

-- Delete what is done. Part of settle. Most often that is all of one lease.
CREATE FUNCTION acknowledge(p_owner bigint, p_seqs bigint[], p_leases bigint[])
RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    given bigint[] := p_seqs;
    leases bigint[] := p_leases;
    done bigint;
BEGIN
    IF cardinality(p_leases) = 1 AND cardinality(p_seqs) = 2 THEN
        -- They are in ascending order, and all different.
        DELETE FROM lease
        WHERE owner = p_owner AND number = p_leases[1] AND cardinality(seqs) = p_seqs[2] - p_seqs[1] + 1
            AND seqs[1] = p_seqs[1] AND seqs[cardinality(seqs)] = p_seqs[2];
        IF FOUND THEN
            DELETE FROM message WHERE seq >= p_seqs[1] AND seq <= p_seqs[2];
            RETURN;
        END IF;
        given := ARRAY(SELECT generate_series(p_seqs[1], p_seqs[2]));
        leases := array_fill(p_leases[1], ARRAY[cardinality(given)]);
    ELSIF leases = array_fill(leases[1], ARRAY[cardinality(given)]) THEN
        DELETE FROM lease WHERE owner = p_owner AND number = leases[1] AND seqs = p_seqs;
        IF FOUND THEN
            DELETE FROM message WHERE seq = ANY (p_seqs);
            RETURN;
        END IF;
    END IF;
    SELECT count(*) INTO done FROM take_off(p_owner, given, leases, 3);
    IF done < cardinality(given) THEN
        RAISE 'not held' USING ERRCODE = 'UM001';
    END IF;
    DELETE FROM message WHERE seq = ANY (given);
END $$;

-- Move messages to the dead letters. Part of settle.
CREATE OR REPLACE FUNCTION bury(
    p_owner bigint, p_seqs bigint[], p_leases bigint[], p_actions smallint[], p_crashes smallint[],
    p_reasons text[], p_ends double precision[]
) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    wanted integer := cardinality(array_positions(p_actions, 3::smallint));
    seqs bigint[];
    leases bigint[];
    done integer;
BEGIN
    IF wanted = 0 THEN
        RETURN;
    END IF;
    SELECT array_agg(seq), array_agg(lease) INTO seqs, leases
    FROM unnest(p_seqs, p_leases, p_actions) AS given (seq, lease, action) WHERE action = 3;
    WITH gone AS MATERIALIZED (
        SELECT off.seq, queue, urgency, off.crashes + given.crashes AS crashes, reason, ends
        FROM take_off(p_owner, seqs, leases, 3) AS off
        JOIN unnest(p_seqs, p_leases, p_crashes, p_reasons, p_ends) AS given (seq, lease, crashes, reason, ends)
            ON given.seq = off.seq AND given.lease = off.lease
    ), removed AS (
        DELETE FROM message USING gone WHERE message.seq = gone.seq RETURNING message.*
    )
    INSERT INTO dead_letter (
        queue, urgency, crashes, reason, died, expires, task_id, tag, headers, properties, content_type,
        content_encoding, body
    )
    SELECT queue, urgency, crashes, reason, clock_timestamp(), to_timestamp(ends), task_id, tag, headers,
        properties, content_type, content_encoding, body
    FROM gone JOIN removed USING (seq) ORDER BY seq;
    GET DIAGNOSTICS done = ROW_COUNT;
    IF done < wanted THEN
        RAISE 'not held' USING ERRCODE = 'UM001';
    END IF;
END $$;

-- Return messages to their queues, at once or when they are due. Part of settle.
CREATE OR REPLACE FUNCTION put_back(
    p_owner bigint, p_seqs bigint[], p_leases bigint[], p_actions smallint[], p_crashes smallint[],
    p_dues double precision[]
) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    wanted integer := cardinality(p_seqs) - cardinality(array_positions(p_actions, 3::smallint));
    wanted_seqs bigint[];
    wanted_leases bigint[];
    queues integer[];
    urgencies smallint[];
    seqs bigint[];
    parked integer[];
    soonest timestamptz;
    done bigint;
BEGIN
    IF wanted = 0 THEN
        RETURN;
    END IF;
    SELECT array_agg(seq), array_agg(lease) INTO wanted_seqs, wanted_leases
    FROM unnest(p_seqs, p_leases, p_actions) AS given (seq, lease, action) WHERE action < 3;
    WITH back AS (
        INSERT INTO place (seq, queue, urgency, state, due, count, crashes)
        SELECT off.seq, queue, urgency, action - 1, to_timestamp(given.due), count, off.crashes + given.crashes
        FROM take_off(p_owner, wanted_seqs, wanted_leases, 3) AS off
        JOIN unnest(p_seqs, p_leases, p_actions, p_crashes, p_dues) AS given (seq, lease, action, crashes, due)
            ON given.seq = off.seq AND given.lease = off.lease
        RETURNING queue, urgency, seq, due, state
    )
    SELECT array_agg(queue) FILTER (WHERE state = 0), array_agg(urgency) FILTER (WHERE state = 0),
        array_agg(seq) FILTER (WHERE state = 0), array_agg(queue) FILTER (WHERE state = 1), min(due), count(*)
    INTO queues, urgencies, seqs, parked, soonest, done FROM back;
    IF done < wanted THEN
        RAISE 'not held' USING ERRCODE = 'UM001';
    END IF;
    PERFORM begin_agenda_at(soonest);
    PERFORM come_back(queues, urgencies, seqs);
    -- Who waits is woken for what is parked, too, to know when to look.
    PERFORM ring_all(parked);
END $$;

-- Note that deliveries may not be delivered again; those that are not held are passed over.
CREATE OR REPLACE FUNCTION mark_early(p_owner bigint, p_seqs bigint[], p_leases bigint[])
RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
BEGIN
    PERFORM stay_attached(p_owner);
    INSERT INTO lease (owner, number, queue, urgency, state, count, crashes, seqs)
    SELECT p_owner, lease, queue, urgency, 3, count, crashes, array_agg(seq ORDER BY seq)
    FROM take_off(p_owner, p_seqs, p_leases, 3) GROUP BY lease, queue, urgency, count, crashes;
END $$;

-- Give back, as if they had never been handed over, those of these that an owner holds, in a state of at most so
-- much; how many.
CREATE OR REPLACE FUNCTION give_back(p_owner bigint, p_seqs bigint[], p_leases bigint[], p_most integer)
RETURNS integer LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
    queues integer[];
    urgencies smallint[];
    seqs bigint[];
BEGIN
    WITH back AS (
        INSERT INTO place (seq, queue, urgency, state, count, crashes)
        SELECT seq, queue, urgency, 0, count - 1, crashes FROM take_off(p_owner, p_seqs, p_leases, p_most)
        RETURNING queue, urgency, seq
    )
    SELECT array_agg(queue), array_agg(urgency), array_agg(seq) INTO queues, urgencies, seqs FROM back;
    IF seqs IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM come_back(queues, urgencies, seqs);
    RETURN cardinality(seqs);
END $$;

-- Give back all that an owner holds but what was marked early. With p_uncounted as if it had never been handed over.
CREATE OR REPLACE FUNCTION give_all_back(p_owner bigint, p_uncounted integer) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
    queues integer[];
    urgencies smallint[];
    seqs bigint[];
BEGIN
    WITH gone AS (
        DELETE FROM lease WHERE owner = p_owner AND state = 2 RETURNING *
    ), back AS (
        INSERT INTO place (seq, queue, urgency, state, count, crashes)
        SELECT unnest(gone.seqs), queue, urgency, 0, count - p_uncounted, crashes FROM gone
        RETURNING queue, urgency, seq
    )
    SELECT array_agg(queue), array_agg(urgency), array_agg(seq) INTO queues, urgencies, seqs FROM back;
    IF seqs IS NOT NULL THEN
        PERFORM come_back(queues, urgencies, seqs);
    END IF;
END $$;

-- End an owner's leases, and delete it unless it holds what it may not give back.
CREATE OR REPLACE FUNCTION leave(p_owner bigint) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
BEGIN
    PERFORM 1 FROM owner WHERE id = p_owner FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM give_all_back(p_owner, 1);
    DELETE FROM waiter WHERE owner = p_owner;
    IF EXISTS (SELECT 1 FROM lease WHERE owner = p_owner) THEN
        UPDATE owner SET expires = 'epoch' WHERE id = p_owner;
    ELSE
        DELETE FROM owner WHERE id = p_owner;
    END IF;
END $$;

-- Take away everything an owner holds, and delete it: that is its fence. Of these handings-over it is known that they
-- have not started; if nothing is known (null), all that was not marked early goes back. What is left is handed over.
CREATE FUNCTION reclaim(
    p_owner bigint, p_name text, p_seqs bigint[], p_leases bigint[], p_only_expired boolean
) RETURNS SETOF delivery LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
    dead record;
BEGIN
    PERFORM stay_attached(p_owner);
    SELECT id, expires INTO dead FROM owner WHERE name = p_name FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    IF p_only_expired AND NOT is_over(dead.expires, (SELECT mercy FROM watch)) THEN
        RETURN;
    END IF;
    IF p_seqs IS NULL THEN
        PERFORM give_all_back(dead.id, 0); -- they may have started, so they count as delivered
    ELSE
        PERFORM give_back(dead.id, p_seqs, p_leases, 3);
    END IF;
    -- The numbers stay: what a dead process wrote down about a key must be found by it.
    RETURN QUERY
        WITH handed AS (
            UPDATE lease SET owner = p_owner WHERE owner = dead.id RETURNING lease.*
        )
        SELECT seq, number, queue, urgency, state, count, crashes, tag, headers, properties, content_type,
            content_encoding, body, NULL::double precision
        FROM handed CROSS JOIN unnest(seqs) AS leased (seq) JOIN message USING (seq)
        ORDER BY urgency, seq;
    DELETE FROM owner WHERE id = dead.id;
    DELETE FROM waiter WHERE owner = dead.id;
END $$;
