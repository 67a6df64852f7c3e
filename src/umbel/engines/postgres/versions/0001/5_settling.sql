-- Settling, giving back and taking over.

-- Store results, given as columns. What succeeded stays so, whatever a late duplicate says; what has ended is not
-- on its way any more.
CREATE FUNCTION store_results(
    p_task_ids text[], p_states text[], p_final boolean[], p_documents text[], p_data bytea[],
    p_expires double precision[]
) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
BEGIN
    -- In one order, so that two who store the same do not wait for each other.
    INSERT INTO result (task_id, state, document, data, expires)
    SELECT DISTINCT ON (task_id) task_id, state, document, data, to_timestamp(expires)
    FROM unnest(p_task_ids, p_states, p_documents, p_data, p_expires)
        WITH ORDINALITY AS given (task_id, state, document, data, expires, n)
    ORDER BY task_id, state = 'SUCCESS' DESC, n DESC
    ON CONFLICT (task_id) DO UPDATE
    SET state = excluded.state, document = excluded.document, data = excluded.data,
        expires = excluded.expires
    WHERE result.state <> 'SUCCESS'
            AND (excluded.state <> 'PROGRESS' OR result.state NOT IN ('FAILURE', 'REVOKED'))
        OR excluded.state = 'SUCCESS' OR result.expires <= clock_timestamp();
    PERFORM tell_of_results(p_task_ids, p_final);
END $$;

-- Which of these handings-over an owner still holds, in a state of at most so much.
CREATE FUNCTION held(p_owner bigint, p_seqs bigint[], p_leases bigint[], p_most integer)
RETURNS TABLE (seq bigint, lease bigint) LANGUAGE sql
SET search_path FROM CURRENT SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
    SELECT place.seq, place.lease
    FROM unnest(p_seqs, p_leases) AS given (seq, lease)
    JOIN place ON place.owner = p_owner AND place.state >= 2 AND place.state <= p_most
        AND place.seq = given.seq AND place.lease = given.lease
$$;

-- Settle deliveries, all of them or none: UM001 says that one is not held any more. The first arrays are of those
-- that are acknowledged, the next of all others; actions: 1 requeue, 2 park, 3 dead letter. With queues, the next
-- messages are claimed.
CREATE FUNCTION settle(
    p_owner bigint, p_acked bigint[], p_acked_leases bigint[],
    p_seqs bigint[], p_leases bigint[], p_actions smallint[], p_crashes smallint[], p_dues double precision[],
    p_reasons text[], p_ends double precision[],
    p_queues integer[], p_limit integer
) RETURNS SETOF delivery LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
BEGIN
    PERFORM stay_attached(p_owner);
    IF p_acked IS NOT NULL THEN
        PERFORM acknowledge(p_owner, p_acked, p_acked_leases);
    END IF;
    IF p_seqs IS NOT NULL THEN
        PERFORM bury(p_owner, p_seqs, p_leases, p_actions, p_crashes, p_reasons, p_ends);
        PERFORM put_back(p_owner, p_seqs, p_leases, p_actions, p_crashes, p_dues);
    END IF;
    IF p_queues IS NOT NULL THEN
        RETURN QUERY SELECT * FROM claim(p_owner, p_queues, p_limit, NULL, false);
    END IF;
END $$;

-- The same, with results and what follows, each given as columns.
CREATE FUNCTION settle_and_store(
    p_owner bigint, p_acked bigint[], p_acked_leases bigint[],
    p_seqs bigint[], p_leases bigint[], p_actions smallint[], p_crashes smallint[], p_dues double precision[],
    p_reasons text[], p_ends double precision[],
    p_queues integer[], p_limit integer,
    r_task_ids text[], r_states text[], r_final boolean[], r_documents text[], r_data bytea[],
    r_expires double precision[],
    m_queues integer[], m_urgencies smallint[], m_dues double precision[], m_task_ids text[], m_tags text[],
    m_headers text[], m_properties text[], m_content_types text[], m_content_encodings text[], m_bodies bytea[]
) RETURNS SETOF delivery LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM settle(
        p_owner, p_acked, p_acked_leases, p_seqs, p_leases, p_actions, p_crashes, p_dues, p_reasons, p_ends,
        NULL, 0
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
    IF p_queues IS NOT NULL THEN
        RETURN QUERY SELECT * FROM claim(p_owner, p_queues, p_limit, NULL, false);
    END IF;
END $$;

-- Delete what is done. Part of settle.
CREATE FUNCTION acknowledge(p_owner bigint, p_seqs bigint[], p_leases bigint[])
RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    done integer;
BEGIN
    WITH gone AS (
        DELETE FROM place USING unnest(p_seqs, p_leases) AS given (seq, lease)
        WHERE place.owner = p_owner AND place.state >= 2
            AND place.seq = given.seq AND place.lease = given.lease
        RETURNING place.seq
    )
    DELETE FROM message USING gone WHERE message.seq = gone.seq;
    GET DIAGNOSTICS done = ROW_COUNT;
    IF done < cardinality(p_seqs) THEN
        RAISE 'not held' USING ERRCODE = 'UM001';
    END IF;
END $$;

-- Move messages to the dead letters. Part of settle.
CREATE FUNCTION bury(
    p_owner bigint, p_seqs bigint[], p_leases bigint[], p_actions smallint[], p_crashes smallint[],
    p_reasons text[], p_ends double precision[]
) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    wanted integer := cardinality(array_positions(p_actions, 3::smallint));
    done integer;
BEGIN
    IF wanted = 0 THEN
        RETURN;
    END IF;
    WITH gone AS (
        DELETE FROM place
        USING unnest(p_seqs, p_leases, p_actions, p_crashes, p_reasons, p_ends)
            AS given (seq, lease, action, crashes, reason, ends)
        WHERE action = 3 AND place.owner = p_owner AND place.state >= 2
            AND place.seq = given.seq AND place.lease = given.lease
        RETURNING place.seq, queue, urgency, place.crashes + given.crashes AS crashes, reason, ends
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
CREATE FUNCTION put_back(
    p_owner bigint, p_seqs bigint[], p_leases bigint[], p_actions smallint[], p_crashes smallint[],
    p_dues double precision[]
) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    wanted integer := cardinality(p_seqs) - cardinality(array_positions(p_actions, 3::smallint));
    queues integer[];
    urgencies smallint[];
    seqs bigint[];
    soonest timestamptz;
BEGIN
    IF wanted = 0 THEN
        RETURN;
    END IF;
    WITH back AS (
        UPDATE place
        SET state = action - 1, owner = NULL, due = to_timestamp(given.due),
            crashes = place.crashes + given.crashes
        FROM unnest(p_seqs, p_leases, p_actions, p_crashes, p_dues)
            AS given (seq, lease, action, crashes, due)
        WHERE action < 3 AND place.owner = p_owner AND place.state >= 2
            AND place.seq = given.seq AND place.lease = given.lease
        RETURNING place.queue, place.urgency, place.seq, place.due
    )
    SELECT array_agg(queue), array_agg(urgency), array_agg(seq), min(due)
    INTO queues, urgencies, seqs, soonest FROM back;
    IF coalesce(cardinality(seqs), 0) < wanted THEN
        RAISE 'not held' USING ERRCODE = 'UM001';
    END IF;
    PERFORM begin_agenda_at(soonest);
    -- Who waits is woken for what is parked, too, to know when to look.
    PERFORM come_back(queues, urgencies, seqs);
END $$;

-- Note that deliveries may not be delivered again; those that are not held are passed over.
CREATE FUNCTION mark_early(p_owner bigint, p_seqs bigint[], p_leases bigint[])
RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
BEGIN
    PERFORM stay_attached(p_owner);
    UPDATE place SET state = 3 FROM unnest(p_seqs, p_leases) AS given (seq, lease)
    WHERE place.owner = p_owner AND place.state >= 2
        AND place.seq = given.seq AND place.lease = given.lease;
END $$;

-- Give back, as if they had never been handed over, those of these that an owner holds, in a state of at most so
-- much; how many.
CREATE FUNCTION give_back(p_owner bigint, p_seqs bigint[], p_leases bigint[], p_most integer)
RETURNS integer LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
    queues integer[];
    urgencies smallint[];
    seqs bigint[];
BEGIN
    WITH back AS (
        UPDATE place SET state = 0, owner = NULL, count = count - 1
        FROM unnest(p_seqs, p_leases) AS given (seq, lease)
        WHERE place.owner = p_owner AND place.state >= 2 AND place.state <= p_most
            AND place.seq = given.seq AND place.lease = given.lease
        RETURNING place.queue, place.urgency, place.seq
    )
    SELECT array_agg(queue), array_agg(urgency), array_agg(seq) INTO queues, urgencies, seqs FROM back;
    IF seqs IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM come_back(queues, urgencies, seqs);
    RETURN cardinality(seqs);
END $$;

-- Give back what the owner itself never started.
CREATE FUNCTION release(p_owner bigint, p_seqs bigint[], p_leases bigint[])
RETURNS integer LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM stay_attached(p_owner);
    RETURN give_back(p_owner, p_seqs, p_leases, 3);
END $$;

-- Give back what another owner has not started, but for what was marked early.
CREATE FUNCTION take_back(p_owner text, p_seqs bigint[], p_leases bigint[])
RETURNS integer LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    number bigint;
BEGIN
    -- After what it does just now: its claims and settles keep the row from being locked.
    SELECT id INTO number FROM owner WHERE name = p_owner FOR UPDATE;
    RETURN CASE WHEN number IS NULL THEN 0 ELSE give_back(number, p_seqs, p_leases, 2) END;
END $$;

-- Give back all that an owner holds but what was marked early. With p_uncounted as if it had never been handed over.
CREATE FUNCTION give_all_back(p_owner bigint, p_uncounted integer) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
    queues integer[];
    urgencies smallint[];
    seqs bigint[];
BEGIN
    WITH back AS (
        UPDATE place SET state = 0, owner = NULL, count = count - p_uncounted
        WHERE owner = p_owner AND state >= 2 AND state = 2 -- the first condition is that of the index
        RETURNING queue, urgency, seq
    )
    SELECT array_agg(queue), array_agg(urgency), array_agg(seq) INTO queues, urgencies, seqs FROM back;
    IF seqs IS NOT NULL THEN
        PERFORM come_back(queues, urgencies, seqs);
    END IF;
END $$;

-- End an owner's leases, and delete it unless it holds what it may not give back.
CREATE FUNCTION leave(p_owner bigint) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
BEGIN
    PERFORM 1 FROM owner WHERE id = p_owner FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    PERFORM give_all_back(p_owner, 1);
    DELETE FROM waiter WHERE owner = p_owner;
    IF EXISTS (SELECT 1 FROM place WHERE owner = p_owner AND state >= 2) THEN
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
    handed bigint[];
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
    -- The leases stay: what a dead process wrote down about a key must be found by it.
    WITH moved AS (
        UPDATE place SET owner = p_owner WHERE owner = dead.id AND state >= 2 RETURNING place.seq
    )
    SELECT array_agg(seq) INTO handed FROM moved;
    DELETE FROM owner WHERE id = dead.id;
    DELETE FROM waiter WHERE owner = dead.id;
    RETURN QUERY
        SELECT place.seq, lease, queue, urgency, state, count, crashes, task_id, tag, headers, properties,
            content_type, content_encoding, body, NULL::double precision
        FROM place JOIN message USING (seq)
        WHERE place.owner = p_owner AND place.state >= 2 AND place.seq = ANY (handed)
        ORDER BY urgency, seq;
END $$;

-- Put dead letters back on their queues, with no crash counted; how many.
CREATE FUNCTION revive(p_ids bigint[]) RETURNS integer LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    queues integer[];
    urgencies smallint[];
    seqs bigint[];
BEGIN
    WITH gone AS (
        DELETE FROM dead_letter WHERE id = ANY (p_ids) RETURNING *
    ), numbered AS MATERIALIZED (
        SELECT nextval('message_seq') AS seq, ordered.* FROM (SELECT * FROM gone ORDER BY id) AS ordered
    ), stored AS (
        INSERT INTO message (
            seq, published, task_id, tag, headers, properties, content_type, content_encoding, body
        )
        SELECT seq, clock_timestamp(), task_id, tag, headers, properties, content_type, content_encoding, body
        FROM numbered
    ), back AS (
        INSERT INTO place (seq, queue, urgency, state)
        SELECT seq, queue, urgency, 0 FROM numbered RETURNING queue, urgency, seq
    )
    SELECT array_agg(queue), array_agg(urgency), array_agg(seq) INTO queues, urgencies, seqs FROM back;
    IF seqs IS NULL THEN
        RETURN 0;
    END IF;
    PERFORM come_back(queues, urgencies, seqs);
    RETURN cardinality(seqs);
END $$;
