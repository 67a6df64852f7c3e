-- Waking those who wait. Each says in a table what it waits for, so that nobody is notified while all are busy:
-- a transaction that notifies lets no other one that does commit beside it, on the whole server.

-- Wake as many who wait for a queue as there is something for. They do not count as waiting any more.
CREATE FUNCTION ring(p_queue integer, p_messages bigint) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    chosen text[];
    one text;
BEGIN
    SELECT array_agg(found.channel) INTO chosen FROM (
        SELECT channel FROM waiter WHERE queue = p_queue LIMIT p_messages FOR UPDATE SKIP LOCKED
    ) AS found;
    IF chosen IS NULL THEN
        RETURN;
    END IF;
    -- Those for other queues that somebody has locked are about to be deleted: waiting for them would be a deadlock.
    DELETE FROM waiter WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM waiter WHERE channel = ANY (chosen) FOR UPDATE SKIP LOCKED
    ));
    FOREACH one IN ARRAY chosen LOOP
        PERFORM pg_notify(one, '');
    END LOOP;
END $$;

-- Tell those who wait for results which of these were stored; of final ones they wait no more. What does not fit
-- into a notification is told as '*'.
CREATE FUNCTION tell_of_results(p_task_ids text[], p_final boolean[]) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    one record;
BEGIN
    IF NOT EXISTS (SELECT 1 FROM result_waiter) THEN
        RETURN;
    END IF;
    FOR one IN
        WITH stored AS (
            SELECT * FROM unnest(p_task_ids, p_final) AS given (task_id, final)
        ), done AS (
            DELETE FROM result_waiter USING stored
            WHERE result_waiter.task_id = stored.task_id AND stored.final
            RETURNING result_waiter.channel, result_waiter.task_id
        ), told AS (
            SELECT channel, task_id FROM done
            UNION
            SELECT result_waiter.channel, result_waiter.task_id
            FROM result_waiter JOIN stored USING (task_id) WHERE NOT stored.final
        ), numbered AS (
            SELECT channel, task_id, row_number() OVER (PARTITION BY channel) / 100 AS part FROM told
        )
        SELECT channel, sum(octet_length(task_id) + 1) AS size, string_agg(task_id, E'\n') AS task_ids
        FROM numbered GROUP BY channel, part
    LOOP
        PERFORM pg_notify(one.channel, CASE WHEN one.size > 7500 THEN '*' ELSE one.task_ids END);
    END LOOP;
END $$;
