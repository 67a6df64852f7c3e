-- Leasing messages.

-- clock_timestamp() is asked for once and kept where rows are looked for by it: as a volatile function it can be no
-- condition of an index, and all that is due later would be read.

-- A handing-over, as claims and reclaims return it. A row without seq says when the next scheduled message is due.
CREATE TYPE delivery AS (
    seq bigint, lease bigint, queue integer, urgency smallint, state smallint, count integer, crashes integer,
    task_id text, tag text, headers text, properties text, content_type text, content_encoding text, body bytea,
    due_in double precision
);

-- Raise UM002 unless an owner still is one, and keep it from being reclaimed before this transaction ends.
CREATE FUNCTION stay_attached(p_owner bigint) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM 1 FROM owner WHERE id = p_owner AND expires > 'epoch' FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE 'owner % is gone', p_owner USING ERRCODE = 'UM002';
    END IF;
END $$;

-- Let messages be found again that went back to their queues, and wake as many who wait.
CREATE FUNCTION come_back(p_queues integer[], p_urgencies smallint[], p_seqs bigint[])
RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    one record;
BEGIN
    FOR one IN
        SELECT queue, urgency, min(seq) AS seq, count(*) AS messages
        FROM unnest(p_queues, p_urgencies, p_seqs) AS given (queue, urgency, seq)
        GROUP BY queue, urgency ORDER BY queue, urgency
    LOOP
        -- Who moves the lane on meanwhile has not seen them: wait for it, or keep it from doing so.
        PERFORM 1 FROM lane WHERE queue = one.queue AND urgency = one.urgency FOR NO KEY UPDATE;
        UPDATE lane SET first = one.seq
        WHERE queue = one.queue AND urgency = one.urgency AND first > one.seq;
        PERFORM ring(one.queue, one.messages);
    END LOOP;
END $$;

-- Return scheduled messages that are due to their queues. A bounded number at a time keeps the transaction short
-- when a million become due at once.
CREATE FUNCTION return_due() RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    moment timestamptz := clock_timestamp();
    queues integer[];
    urgencies smallint[];
    seqs bigint[];
BEGIN
    WITH back AS (
        UPDATE place SET state = 0, due = NULL
        WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM place
            WHERE state = 1 AND due <= moment AND due >= (SELECT first FROM agenda)
            ORDER BY due LIMIT 1000 FOR UPDATE SKIP LOCKED
        ))
        RETURNING queue, urgency, seq
    )
    SELECT array_agg(queue), array_agg(urgency), array_agg(seq) INTO queues, urgencies, seqs FROM back;
    IF seqs IS NOT NULL THEN
        PERFORM come_back(queues, urgencies, seqs);
    END IF;
END $$;

-- Let who looks for what is due begin where something is, as with lanes.
CREATE FUNCTION advance_agenda() RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    old record;
    soonest timestamptz;
BEGIN
    SELECT first, candidate INTO old FROM agenda WHERE noted < clock_timestamp() - interval '10 s'
    FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    -- A statement of its own: it sees what was scheduled in the past before the agenda was locked.
    SELECT due INTO soonest FROM place WHERE state = 1 AND due >= old.first ORDER BY due LIMIT 1;
    -- What is scheduled from now on is due later than now.
    soonest := least(soonest, clock_timestamp());
    UPDATE agenda
    SET first = greatest(old.first, least(old.candidate, soonest)), candidate = soonest,
        noted = clock_timestamp();
END $$;

-- Let scheduled messages be found that were due before they were scheduled: a worker's clock may be slow.
CREATE FUNCTION begin_agenda_at(p_due timestamptz) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    IF p_due <= clock_timestamp() THEN
        PERFORM 1 FROM agenda FOR NO KEY UPDATE; -- see come_back
        UPDATE agenda SET first = p_due WHERE first > p_due;
    END IF;
END $$;

-- Let who claims from a lane begin where something waits: at what waited first ten seconds ago, unless something
-- before that waits now. A publish has its seqs before it commits, and ten seconds are enough for that; what takes
-- longer is found by the function tidy.
CREATE FUNCTION advance(p_queue integer, p_urgency smallint) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    old record;
    waiting bigint;
BEGIN
    SELECT first, candidate INTO old FROM lane
    WHERE queue = p_queue AND urgency = p_urgency AND noted < clock_timestamp() - interval '10 s'
    FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    -- A statement of its own: it sees what has come back before the lane was locked. It also sees what somebody is
    -- about to take, who may not succeed.
    SELECT seq INTO waiting FROM place
    WHERE queue = p_queue AND urgency = p_urgency AND state = 0 AND seq >= old.first ORDER BY seq LIMIT 1;
    IF waiting IS NULL THEN
        SELECT last_value INTO waiting FROM message_seq;
    END IF;
    UPDATE lane
    SET first = greatest(old.first, least(old.candidate, waiting)), candidate = waiting,
        noted = clock_timestamp()
    WHERE queue = p_queue AND urgency = p_urgency;
END $$;

-- Lease up to so many messages of the first of the queues before the others, the most urgent first. With a channel,
-- who finds nothing waits there from now on; who is listed as waiting and finds something is listed no more.
CREATE FUNCTION claim(p_owner bigint, p_queues integer[], p_limit integer, p_channel text, p_listed boolean)
RETURNS SETOF delivery LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
    number bigint;
    dates record;
    next_due timestamptz;
    one integer;
    way record;
    found integer := 0;
    taken integer;
BEGIN
    PERFORM stay_attached(p_owner);
    SELECT first, noted INTO dates FROM agenda;
    SELECT due INTO next_due FROM place WHERE state = 1 AND due >= dates.first ORDER BY due LIMIT 1;
    IF next_due <= clock_timestamp() THEN
        PERFORM return_due();
    END IF;
    IF dates.noted < clock_timestamp() - interval '10 s' THEN
        PERFORM advance_agenda();
    END IF;
    number := nextval('lease_seq');
    FOREACH one IN ARRAY p_queues LOOP
        FOR way IN
            SELECT urgency, first, noted FROM lane WHERE queue = one ORDER BY urgency
        LOOP
            EXIT WHEN found >= p_limit;
            RETURN QUERY
                WITH moved AS (
                    UPDATE place SET state = 2, owner = p_owner, lease = number, count = place.count + 1
                    WHERE ctid = ANY (ARRAY(
                        SELECT ctid FROM place
                        WHERE queue = one AND urgency = way.urgency AND state = 0 AND seq >= way.first
                        ORDER BY seq LIMIT p_limit - found FOR UPDATE SKIP LOCKED
                    ))
                    RETURNING seq, place.count, crashes
                )
                SELECT moved.seq, number, one, way.urgency, 2::smallint, moved.count, crashes, task_id, tag,
                    headers, properties, content_type, content_encoding, body, NULL::double precision
                FROM moved JOIN message USING (seq) ORDER BY seq;
            GET DIAGNOSTICS taken = ROW_COUNT;
            found := found + taken;
            IF way.noted < clock_timestamp() - interval '10 s' THEN
                PERFORM advance(one, way.urgency);
            END IF;
        END LOOP;
    END LOOP;
    IF found > 0 THEN
        IF p_listed THEN
            DELETE FROM waiter WHERE channel = p_channel;
        END IF;
    ELSIF p_channel IS NOT NULL THEN
        INSERT INTO waiter (queue, channel, owner, since)
        SELECT given, p_channel, p_owner, clock_timestamp() FROM unnest(p_queues) AS given
        ON CONFLICT (queue, channel) DO UPDATE SET since = excluded.since
        WHERE waiter.since < excluded.since - interval '1 minute';
        SELECT due INTO next_due FROM place WHERE state = 1 AND due >= dates.first ORDER BY due LIMIT 1;
        RETURN NEXT ROW(
            NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
            extract(epoch FROM next_due - clock_timestamp())
        )::delivery;
    END IF;
END $$;

-- Whether who waits there has something to claim: a look that writes nothing.
CREATE FUNCTION look(p_queues integer[]) RETURNS boolean LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
    moment timestamptz := clock_timestamp();
    one integer;
    way record;
BEGIN
    PERFORM 1 FROM place
    WHERE state = 1 AND due <= moment AND due >= (SELECT first FROM agenda) LIMIT 1;
    IF FOUND THEN
        RETURN true;
    END IF;
    FOREACH one IN ARRAY p_queues LOOP
        FOR way IN SELECT urgency, first FROM lane WHERE queue = one LOOP
            PERFORM 1 FROM place
            WHERE queue = one AND urgency = way.urgency AND state = 0 AND seq >= way.first LIMIT 1;
            IF FOUND THEN
                RETURN true;
            END IF;
        END LOOP;
    END LOOP;
    RETURN false;
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
