-- Groups, limits of a fleet, and broadcasts.

-- Let an open group have one part more, once for each.
CREATE FUNCTION extend_group(p_group text, p_part text) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    INSERT INTO part_more (group_id, part) VALUES (p_group, p_part) ON CONFLICT DO NOTHING;
    IF FOUND THEN
        INSERT INTO part_group AS old (group_id, more) VALUES (p_group, 1)
        ON CONFLICT (group_id) DO UPDATE SET more = old.more + 1 WHERE NOT old.closed;
    END IF;
END $$;

-- Record parts of groups, given as columns; for each, whether its group is complete and the claim is its claimant's.
CREATE FUNCTION add_parts(
    p_groups text[], p_parts text[], p_places bigint[], p_documents text[], p_data bytea[],
    p_claimants text[], p_expires double precision[]
) RETURNS boolean[] LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off SET jit = off
AS $$
DECLARE
    found_group record;
    answers boolean[] := '{}';
    answer boolean;
BEGIN
    -- In one order, so that two who record parts of the same groups do not wait for each other.
    PERFORM 1 FROM part_group WHERE group_id = ANY (p_groups) ORDER BY group_id FOR UPDATE;
    FOR n IN 1 .. cardinality(p_groups) LOOP
        answer := false;
        -- A part comes: the group lives longer. No row is returned of one that is closed.
        INSERT INTO part_group AS old (group_id, expires) VALUES (p_groups[n], to_timestamp(p_expires[n]))
        ON CONFLICT (group_id) DO UPDATE SET expires = excluded.expires WHERE NOT old.closed
        RETURNING old.count, old.size + old.more AS total, old.claimant INTO found_group;
        IF FOUND THEN
            INSERT INTO part (group_id, place, part, document, data)
            VALUES (p_groups[n], p_places[n], p_parts[n], p_documents[n], p_data[n])
            ON CONFLICT DO NOTHING;
            IF FOUND THEN
                UPDATE part_group SET count = count + 1 WHERE group_id = p_groups[n];
                found_group.count := found_group.count + 1;
            END IF;
            IF found_group.count >= found_group.total THEN
                answer := coalesce(found_group.claimant, p_claimants[n]) = p_claimants[n];
                UPDATE part_group SET claimant = p_claimants[n]
                WHERE group_id = p_groups[n] AND claimant IS NULL;
            END IF;
        END IF;
        answers := answers || answer;
    END LOOP;
    RETURN answers;
END $$;

-- Delete a group's parts if the claim is this claimant's; whether it was. It is remembered as closed for a day.
CREATE FUNCTION close_group(p_group text, p_claimant text) RETURNS boolean LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    UPDATE part_group
    SET closed = true, claimant = NULL, size = NULL, expires = clock_timestamp() + interval '1 day'
    WHERE group_id = p_group AND claimant = p_claimant;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    DELETE FROM part WHERE group_id = p_group;
    DELETE FROM part_more WHERE group_id = p_group;
    RETURN true;
END $$;

-- Store a value without an end, and let who watches its kind notice.
CREATE FUNCTION put_value(p_kind text, p_key text, p_value text) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    INSERT INTO entry (kind, key, value) VALUES (p_kind, p_key, p_value)
    ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value, expires = NULL;
    INSERT INTO entry_version AS old (kind, version) VALUES (p_kind, 1)
    ON CONFLICT (kind) DO UPDATE SET version = old.version + 1;
END $$;

-- Change a value while it is as expected (null: there is none): 0 when it is not, 1 when it had been changed before,
-- 2 when it is changed now.
CREATE FUNCTION change_value(p_kind text, p_key text, p_was text, p_value text) RETURNS integer LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    found_value text;
BEGIN
    -- Of several who change it, also where there is none yet, one after the other.
    PERFORM pg_advisory_xact_lock(hashtextextended(
        current_schema() || '/' || length(p_kind) || '/' || p_kind || '/' || p_key, 0
    ));
    SELECT value INTO found_value FROM entry
    WHERE kind = p_kind AND key = p_key AND (expires IS NULL OR expires > clock_timestamp()) FOR UPDATE;
    IF found_value IS NOT DISTINCT FROM p_value THEN
        RETURN 1;
    ELSIF found_value IS DISTINCT FROM p_was THEN
        RETURN 0;
    ELSIF p_value IS NOT NULL THEN
        PERFORM put_value(p_kind, p_key, p_value);
        RETURN 2;
    END IF;
    DELETE FROM entry WHERE kind = p_kind AND key = p_key;
    UPDATE entry_version SET version = version + 1 WHERE kind = p_kind;
    RETURN 2;
END $$;

-- Make changes, each for itself, with the values and messages that go with each; for each, whether it is made.
-- u_of and m_of say with which change, counted from 1, a value and a message go.
CREATE FUNCTION change(
    p_kinds text[], p_keys text[], p_was text[], p_values text[],
    u_of integer[], u_kinds text[], u_keys text[], u_values text[],
    m_of integer[], m_queues integer[], m_urgencies smallint[], m_dues double precision[], m_task_ids text[],
    m_tags text[], m_headers text[], m_properties text[], m_content_types text[],
    m_content_encodings text[], m_bodies bytea[]
) RETURNS boolean[] LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    answers boolean[] := '{}';
    fresh integer[] := '{}';
    how integer;
BEGIN
    FOR n IN 1 .. cardinality(p_kinds) LOOP
        how := change_value(p_kinds[n], p_keys[n], p_was[n], p_values[n]);
        answers := answers || (how > 0);
        IF how = 2 THEN
            fresh := fresh || n;
        END IF;
    END LOOP;
    FOR n IN 1 .. coalesce(cardinality(u_of), 0) LOOP
        IF u_of[n] = ANY (fresh) THEN
            PERFORM put_value(u_kinds[n], u_keys[n], u_values[n]);
        END IF;
    END LOOP;
    PERFORM publish(
        array_agg(queue ORDER BY n), array_agg(urgency ORDER BY n), array_agg(due ORDER BY n),
        array_agg(task_id ORDER BY n), array_agg(tag ORDER BY n), array_agg(headers ORDER BY n),
        array_agg(properties ORDER BY n), array_agg(content_type ORDER BY n),
        array_agg(content_encoding ORDER BY n), array_agg(body ORDER BY n)
    )
    FROM unnest(
        m_of, m_queues, m_urgencies, m_dues, m_task_ids, m_tags, m_headers, m_properties, m_content_types,
        m_content_encodings, m_bodies
    ) WITH ORDINALITY AS given (
        change, queue, urgency, due, task_id, tag, headers, properties, content_type, content_encoding,
        body, n
    )
    WHERE change = ANY (fresh) HAVING count(*) > 0;
    RETURN answers;
END $$;

-- Take from a bucket of tokens: 0 when it was taken, else in how many seconds it is worth asking again.
CREATE FUNCTION take_tokens(
    p_name text, p_amount double precision, p_rate double precision, p_burst double precision
) RETURNS double precision LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    moment timestamptz;
    old record;
    there double precision;
BEGIN
    INSERT INTO bucket (name, tokens, filled, is_full) VALUES (p_name, p_burst, clock_timestamp(), 'epoch')
    ON CONFLICT DO NOTHING;
    SELECT tokens, filled INTO old FROM bucket WHERE name = p_name FOR UPDATE;
    moment := clock_timestamp();
    there := least(p_burst, old.tokens + greatest(extract(epoch FROM moment - old.filled), 0) * p_rate);
    IF p_amount > there THEN
        UPDATE bucket SET tokens = there, filled = moment WHERE name = p_name;
        RETURN (p_amount - there) / p_rate;
    END IF;
    there := there - p_amount;
    UPDATE bucket
    SET tokens = there, filled = moment,
        is_full = moment + least((p_burst - there) / p_rate, 1e8) * interval '1 s'
    WHERE name = p_name;
    RETURN 0;
END $$;

-- Send payloads to all who listen to broadcasts now. One sender after the other, so that nobody reads past what is
-- not committed yet; and nobody waits for the disk, since none of it outlives the server.
CREATE FUNCTION send(p_channel text, p_topic text, p_payloads bytea[]) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off SET jit = off
AS $$
DECLARE
    minute_ago timestamptz := clock_timestamp() - interval '1 minute';
BEGIN
    IF NOT EXISTS (SELECT 1 FROM listener WHERE since > clock_timestamp() - interval '5 minutes') THEN
        RETURN;
    END IF;
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM pg_advisory_xact_lock(hashtextextended(current_schema() || '/broadcast', 0));
    INSERT INTO broadcast (topic, payload, sent)
    SELECT p_topic, payload, clock_timestamp()
    FROM unnest(p_payloads) WITH ORDINALITY AS given (payload, n) ORDER BY n;
    DELETE FROM broadcast WHERE sent < minute_ago
        OR seq < (SELECT max(seq) - 50000 FROM broadcast);
    PERFORM pg_notify(p_channel, '');
END $$;
