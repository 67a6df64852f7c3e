-- Publishing.

-- Publish messages, given as columns; tags are all different. What was published within the last minute is passed
-- over. Whoever waits is woken, also for what is due later, to know when to look.
CREATE FUNCTION publish(
    p_queues integer[], p_urgencies smallint[], p_dues double precision[], p_task_ids text[], p_tags text[],
    p_headers text[], p_properties text[], p_content_types text[], p_content_encodings text[],
    p_bodies bytea[]
) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off SET plan_cache_mode = force_generic_plan SET jit = off
AS $$
DECLARE
    moment timestamptz := clock_timestamp();
    fresh text[];
    are_all boolean;
    one record;
BEGIN
    -- In one order, so that two who repeat the same tags do not wait for each other.
    WITH remembered AS (
        INSERT INTO tag (tag, sent) SELECT given, moment FROM unnest(p_tags) AS given ORDER BY given
        ON CONFLICT DO NOTHING RETURNING tag
    )
    SELECT array_agg(tag) INTO fresh FROM remembered;
    IF fresh IS NULL THEN
        RETURN;
    END IF;
    are_all := cardinality(fresh) = cardinality(p_tags);
    INSERT INTO lane (queue, urgency, noted)
    SELECT DISTINCT queue, urgency, moment FROM unnest(p_queues, p_urgencies) AS given (queue, urgency)
    WHERE NOT EXISTS (
        SELECT 1 FROM lane WHERE lane.queue = given.queue AND lane.urgency = given.urgency
    )
    ORDER BY queue, urgency
    ON CONFLICT DO NOTHING;
    WITH given AS (
        SELECT * FROM unnest(
            p_queues, p_urgencies, p_dues, p_task_ids, p_tags, p_headers, p_properties, p_content_types,
            p_content_encodings, p_bodies
        ) WITH ORDINALITY AS listed (
            queue, urgency, due, task_id, tag, headers, properties, content_type, content_encoding, body, n
        )
        WHERE are_all OR tag = ANY (fresh)
        ORDER BY n
    ), numbered AS MATERIALIZED (
        SELECT nextval('message_seq') AS seq, to_timestamp(due) AS at, given.* FROM given
    ), stored AS (
        INSERT INTO message (
            seq, published, task_id, tag, headers, properties, content_type, content_encoding, body
        )
        SELECT seq, moment, task_id, tag, headers, properties, content_type, content_encoding, body
        FROM numbered
    )
    INSERT INTO place (seq, queue, urgency, state, due)
    SELECT seq, queue, urgency, (at > moment)::integer, CASE WHEN at > moment THEN at END
    FROM (SELECT seq, queue, urgency, coalesce(at, moment) AS at FROM numbered) AS placed;
    FOR one IN
        SELECT queue, count(*) AS messages FROM unnest(p_queues) AS given (queue)
        GROUP BY queue ORDER BY queue
    LOOP
        PERFORM ring(one.queue, one.messages);
    END LOOP;
END $$;
