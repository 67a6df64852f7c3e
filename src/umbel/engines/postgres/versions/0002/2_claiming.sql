-- Leasing messages.

-- Wake as many who wait for queues as these are. It waits for nobody.
CREATE FUNCTION ring_all(p_queues integer[]) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    one record;
BEGIN
    FOR one IN
        SELECT queue, count(*) AS messages FROM unnest(p_queues) AS given (queue) GROUP BY queue ORDER BY queue
    LOOP
        PERFORM ring(one.queue, one.messages);
    END LOOP;
END $$;

-- Let messages be found again that went back to their queues, and wake as many who wait: last, since whoever is woken
-- may have locked a lane and wait for its place on the list.
CREATE OR REPLACE FUNCTION come_back(p_queues integer[], p_urgencies smallint[], p_seqs bigint[])
RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    one record;
BEGIN
    FOR one IN
        SELECT queue, urgency, min(seq) AS seq
        FROM unnest(p_queues, p_urgencies, p_seqs) AS given (queue, urgency, seq)
        GROUP BY queue, urgency ORDER BY queue, urgency
    LOOP
        -- Who moves the lane on meanwhile has not seen them: wait for it, or keep it from doing so.
        PERFORM 1 FROM lane WHERE queue = one.queue AND urgency = one.urgency FOR NO KEY UPDATE;
        UPDATE lane SET first = one.seq
        WHERE queue = one.queue AND urgency = one.urgency AND first > one.seq;
    END LOOP;
    PERFORM ring_all(p_queues);
END $$;

-- Return scheduled messages that are due to their queues, but to lanes that somebody has locked: who claims as it
-- settles has lanes already, and would wait for those who wait for it. Whoever claims next returns the others. A
-- bounded number at a time keeps the transaction short when a million become due at once.
CREATE OR REPLACE FUNCTION return_due() RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    moment timestamptz := clock_timestamp();
    since timestamptz := (SELECT first FROM agenda);
    lanes bigint[]; -- a number for each queue and urgency: an array of these is no join, so the index gives the order
    queues integer[];
    urgencies smallint[];
    seqs bigint[];
BEGIN
    SELECT array_agg(DISTINCT lane), max(due) INTO lanes, moment FROM (
        SELECT queue::bigint * 1000 + urgency AS lane, due FROM place
        WHERE state = 1 AND due <= moment AND due >= since ORDER BY due LIMIT 1000
    ) AS soonest;
    lanes := ARRAY(
        SELECT queue::bigint * 1000 + urgency FROM lane
        WHERE queue::bigint * 1000 + urgency = ANY (lanes) FOR NO KEY UPDATE SKIP LOCKED
    );
    IF cardinality(lanes) = 0 THEN
        RETURN;
    END IF;
    WITH back AS (
        UPDATE place SET state = 0, due = NULL
        WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM place
            WHERE state = 1 AND due <= moment AND due >= since
                AND queue::bigint * 1000 + urgency = ANY (lanes)
            ORDER BY due LIMIT 1000 FOR UPDATE SKIP LOCKED
        ))
        RETURNING queue, urgency, seq
    )
    SELECT array_agg(queue), array_agg(urgency), array_agg(seq) INTO queues, urgencies, seqs FROM back;
    IF seqs IS NOT NULL THEN
        PERFORM come_back(queues, urgencies, seqs);
    END IF;
END $$;

-- Handings-over, as claims and reclaims return them. What many have in common, from lease to crashes, is said once, by
-- a row without seq before them; theirs are null then. The last row may have no seq, too: as lease it has the version of
-- what is revoked, if anything ever was, or where there is nothing to hand over none, and says when the next scheduled
-- message is due.
CREATE TYPE delivery AS (
    seq bigint, lease bigint, queue integer, urgency smallint, state smallint, count integer, crashes integer,
    tag text, headers text, properties text, content_type text, content_encoding text, body bytea,
    due_in double precision
);

-- Whether seqs in ascending order follow each other without a gap. What lies between the first and the last is read
-- by one walk over an index then, and by one walk for each of them else.
CREATE FUNCTION is_run(p_seqs bigint[]) RETURNS boolean LANGUAGE sql IMMUTABLE
AS $$
    SELECT p_seqs[cardinality(p_seqs)] - p_seqs[1] = cardinality(p_seqs) - 1
$$;

-- Move what waits first in a lane to leases of a number; return the seqs in ascending order, how often they were
-- handed over and how many processes died of them, the least and the most. Part of claim.
CREATE FUNCTION take(
    p_owner bigint, p_number bigint, p_queue integer, p_urgency smallint, p_first bigint, p_limit integer,
    OUT seqs bigint[], OUT counts integer[], OUT crashes integer[]
) LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    found_seqs bigint[];
    found_counts integer[];
    found_crashes integer[];
BEGIN
    WITH taken AS (
        DELETE FROM place
        WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM place
            WHERE queue = p_queue AND urgency = p_urgency AND state = 0 AND seq >= p_first
            ORDER BY seq LIMIT p_limit FOR UPDATE SKIP LOCKED
        ))
        RETURNING seq, count, crashes
    )
    SELECT array_agg(seq ORDER BY seq), array_agg(seq), array_agg(count), array_agg(crashes),
        ARRAY[min(count), max(count)], ARRAY[min(crashes), max(crashes)]
    INTO take.seqs, found_seqs, found_counts, found_crashes, take.counts, take.crashes
    FROM taken;
    IF take.seqs IS NULL THEN
        RETURN;
    END IF;
    IF take.counts[1] = take.counts[2] AND take.crashes[1] = take.crashes[2] THEN
        INSERT INTO lease (owner, number, queue, urgency, state, count, crashes, seqs)
        VALUES (
            p_owner, p_number, p_queue, p_urgency, 2, take.counts[1] + 1, take.crashes[1], take.seqs
        );
    ELSE
        INSERT INTO lease (owner, number, queue, urgency, state, count, crashes, seqs)
        SELECT p_owner, p_number, p_queue, p_urgency, 2, count + 1, crashes, array_agg(seq ORDER BY seq)
        FROM unnest(found_seqs, found_counts, found_crashes) AS taken (seq, count, crashes)
        GROUP BY count, crashes;
    END IF;
END $$;

-- Lease up to so many messages of the first of the queues before the others, the most urgent first. With a channel,
-- who finds nothing waits there from now on; who is listed as waiting and finds something is listed no more. Without
-- queues nothing is done.
CREATE FUNCTION claim(p_owner bigint, p_queues integer[], p_limit integer, p_channel text, p_listed boolean)
RETURNS SETOF delivery LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
    own_number bigint;
    dates record;
    next_due timestamptz;
    one integer;
    way record;
    got record;
    found integer := 0;
    revocations bigint;
BEGIN
    IF p_queues IS NULL THEN
        RETURN;
    END IF;
    PERFORM stay_attached(p_owner);
    SELECT first, noted INTO dates FROM agenda;
    SELECT due INTO next_due FROM place WHERE state = 1 AND due >= dates.first ORDER BY due LIMIT 1;
    IF next_due <= clock_timestamp() THEN
        PERFORM return_due();
    END IF;
    IF dates.noted < clock_timestamp() - interval '10 s' THEN
        PERFORM advance_agenda();
    END IF;
    own_number := nextval('lease_seq');
    FOREACH one IN ARRAY p_queues LOOP
        FOR way IN
            SELECT urgency, first, noted FROM lane WHERE queue = one ORDER BY urgency
        LOOP
            EXIT WHEN found >= p_limit;
            SELECT * INTO got FROM take(p_owner, own_number, one, way.urgency, way.first, p_limit - found);
            found := found + coalesce(cardinality(got.seqs), 0);
            IF got.counts[1] = got.counts[2] AND got.crashes[1] = got.crashes[2] THEN
                RETURN NEXT ROW(
                    NULL, own_number, one, way.urgency, 2, got.counts[1] + 1, got.crashes[1], NULL, NULL, NULL,
                    NULL, NULL, NULL, NULL
                )::delivery;
                IF is_run(got.seqs) THEN
                    RETURN QUERY
                        SELECT seq, NULL::bigint, NULL::integer, NULL::smallint, NULL::smallint, NULL::integer,
                            NULL::integer, tag, headers, properties, content_type, content_encoding, body,
                            NULL::double precision
                        FROM message WHERE seq >= got.seqs[1] AND seq <= got.seqs[cardinality(got.seqs)]
                        ORDER BY seq;
                ELSE
                    RETURN QUERY
                        SELECT seq, NULL::bigint, NULL::integer, NULL::smallint, NULL::smallint, NULL::integer,
                            NULL::integer, tag, headers, properties, content_type, content_encoding, body,
                            NULL::double precision
                        FROM message WHERE seq = ANY (got.seqs) ORDER BY seq;
                END IF;
            ELSIF got.seqs IS NOT NULL THEN
                RETURN QUERY
                    SELECT seq, own_number, one, way.urgency, 2::smallint, lease.count, lease.crashes, tag, headers,
                        properties, content_type, content_encoding, body, NULL::double precision
                    FROM lease CROSS JOIN unnest(seqs) AS leased (seq) JOIN message USING (seq)
                    WHERE owner = p_owner AND number = own_number AND queue = one
                        AND lease.urgency = way.urgency
                    ORDER BY seq;
            END IF;
            IF way.noted < clock_timestamp() - interval '10 s' THEN
                PERFORM advance(one, way.urgency);
            END IF;
        END LOOP;
    END LOOP;
    IF found > 0 THEN
        IF p_listed THEN
            DELETE FROM waiter WHERE channel = p_channel;
        END IF;
        -- A statement behind the claim, so it sees all that was revoked before that.
        SELECT version INTO revocations FROM entry_version WHERE kind = 'revoked';
        IF revocations IS NOT NULL THEN
            RETURN NEXT ROW(
                NULL, revocations, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
            )::delivery;
        END IF;
    ELSIF p_channel IS NOT NULL THEN
        INSERT INTO waiter (queue, channel, owner, since)
        SELECT given, p_channel, p_owner, clock_timestamp() FROM unnest(p_queues) AS given
        ON CONFLICT (queue, channel) DO UPDATE SET since = excluded.since
        WHERE waiter.since < excluded.since - interval '1 minute';
        SELECT due INTO next_due FROM place WHERE state = 1 AND due >= dates.first ORDER BY due LIMIT 1;
        RETURN NEXT ROW(
            NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
            -- What is due in a lane that somebody has locked is asked for again a moment later; without any that is
            -- scheduled it is null, which greatest() passes over.
            CASE WHEN next_due IS NOT NULL
                THEN greatest(extract(epoch FROM next_due - clock_timestamp()), 0.005) END
        )::delivery;
    END IF;
END $$;

-- Wait no more. Who is not listed any more was woken for a message just now, and claims: nobody else was.
CREATE FUNCTION stop_waiting(p_owner bigint, p_queues integer[], p_limit integer, p_channel text)
RETURNS SETOF delivery LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    DELETE FROM waiter WHERE channel = p_channel;
    IF NOT FOUND THEN
        RETURN QUERY SELECT * FROM claim(p_owner, p_queues, p_limit, NULL, false);
    END IF;
END $$;
