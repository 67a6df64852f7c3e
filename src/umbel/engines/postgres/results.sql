-- Results, groups and their parts; what they call is in versions/.

-- name: put
SELECT {s}.store_results(
    %s::text[], %s::text[], %s::boolean[], %s::text[], %s::bytea[], %s::double precision[]
);

-- name: get
SELECT task_id, state, document, data, extract(epoch FROM expires)::double precision FROM {s}.result
WHERE task_id = ANY (%s::text[]) AND (expires IS NULL OR expires > clock_timestamp());

-- name: listen
-- Be told of these from now on, and see what there is.
WITH wanted AS (
    SELECT DISTINCT given AS task_id FROM unnest(%s::text[]) AS given
), listed AS (
    INSERT INTO {s}.result_waiter (task_id, channel, since)
    SELECT task_id, %s, clock_timestamp() FROM wanted ORDER BY task_id
    ON CONFLICT (task_id, channel) DO UPDATE SET since = excluded.since
)
SELECT task_id, state, document, data, extract(epoch FROM expires)::double precision
FROM {s}.result JOIN wanted USING (task_id)
WHERE expires IS NULL OR expires > clock_timestamp();

-- name: leave
DELETE FROM {s}.result_waiter WHERE channel = %s AND task_id = ANY (%s::text[]);

-- name: forget
DELETE FROM {s}.result WHERE task_id = ANY (%s::text[]);

-- name: open_group
INSERT INTO {s}.part_group (group_id, size, expires)
VALUES (%s, %s, to_timestamp(%s::double precision))
ON CONFLICT (group_id) DO UPDATE SET size = excluded.size, expires = excluded.expires
WHERE part_group.size IS NULL AND NOT part_group.closed;

-- name: restart_groups
WITH own AS (SELECT unnest(%s::text[]) AS group_id), parts AS (
    DELETE FROM {s}.part USING own WHERE part.group_id = own.group_id
), more AS (
    DELETE FROM {s}.part_more USING own WHERE part_more.group_id = own.group_id
)
DELETE FROM {s}.part_group USING own WHERE part_group.group_id = own.group_id;

-- name: extend_group
SELECT {s}.extend_group(%s, %s);

-- name: add_parts
SELECT {s}.add_parts(
    %s::text[], %s::text[], %s::bigint[], %s::text[], %s::bytea[], %s::text[], %s::double precision[]
);

-- name: parts
SELECT document, data FROM {s}.part WHERE group_id = %s ORDER BY place, part;

-- name: close_group
SELECT {s}.close_group(%s, %s);

-- name: save_group
INSERT INTO {s}.saved_group (group_id, document, data, expires)
VALUES (%s, %s, %s::bytea, to_timestamp(%s::double precision))
ON CONFLICT (group_id) DO UPDATE
SET document = excluded.document, data = excluded.data, expires = excluded.expires;

-- name: saved_group
SELECT document, data FROM {s}.saved_group
WHERE group_id = %s AND (expires IS NULL OR expires > clock_timestamp());

-- name: forget_group
DELETE FROM {s}.saved_group WHERE group_id = %s;

-- name: cleanup
-- A bounded number of each, so that no transaction is long. What others clean up just now is left to them. Not by
-- clock_timestamp(), which is volatile: then no index could be used, and all that is kept would be read.
WITH results AS (
    DELETE FROM {s}.result WHERE task_id = ANY (ARRAY(
        SELECT task_id FROM {s}.result WHERE expires <= statement_timestamp() LIMIT 2000 FOR UPDATE SKIP LOCKED
    )) RETURNING 1
), groups AS (
    DELETE FROM {s}.saved_group WHERE group_id = ANY (ARRAY(
        SELECT group_id FROM {s}.saved_group WHERE expires <= statement_timestamp() LIMIT 2000
        FOR UPDATE SKIP LOCKED
    )) RETURNING 1
), dead AS (
    DELETE FROM {s}.dead_letter WHERE id = ANY (ARRAY(
        SELECT id FROM {s}.dead_letter WHERE expires <= statement_timestamp() LIMIT 2000 FOR UPDATE SKIP LOCKED
    )) RETURNING 1
), given_up AS (
    DELETE FROM {s}.part_group WHERE group_id = ANY (ARRAY(
        SELECT group_id FROM {s}.part_group WHERE expires <= statement_timestamp() LIMIT 100
        FOR UPDATE SKIP LOCKED
    )) RETURNING group_id
), parts AS (
    DELETE FROM {s}.part USING given_up WHERE part.group_id = given_up.group_id
), more AS (
    DELETE FROM {s}.part_more USING given_up WHERE part_more.group_id = given_up.group_id
), entries AS (
    DELETE FROM {s}.entry WHERE expires <= statement_timestamp() - interval '1 hour'
), buckets AS (
    DELETE FROM {s}.bucket WHERE is_full <= statement_timestamp() - interval '1 hour' AND is_full > 'epoch'
), waiters AS (
    DELETE FROM {s}.result_waiter WHERE since < statement_timestamp() - interval '2 hours'
), listeners AS (
    DELETE FROM {s}.listener WHERE since < statement_timestamp() - interval '1 hour'
)
SELECT (SELECT count(*) FROM results) + (SELECT count(*) FROM groups) + (SELECT count(*) FROM dead)
    + (SELECT count(*) FROM given_up);
