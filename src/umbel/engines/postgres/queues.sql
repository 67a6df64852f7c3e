-- Looking into queues.

-- name: depths
SELECT queue.name, coalesce(ready, 0), coalesce(scheduled, 0), coalesce(leased, 0), coalesce(dead, 0),
    extract(epoch FROM (SELECT published FROM {s}.message WHERE seq = oldest))::double precision
FROM {s}.queue
LEFT JOIN (
    SELECT queue, count(*) FILTER (WHERE state = 0) AS ready, count(*) FILTER (WHERE state = 1) AS scheduled,
        count(*) FILTER (WHERE state >= 2) AS leased, min(seq) FILTER (WHERE state = 0) AS oldest
    FROM {s}.place GROUP BY queue
) AS places ON places.queue = queue.id
LEFT JOIN (
    SELECT queue, count(*) AS dead FROM {s}.dead_letter GROUP BY queue
) AS letters ON letters.queue = queue.id
ORDER BY queue.name;

-- name: peek
SELECT seq, headers, properties, content_type, content_encoding, body
FROM {s}.place JOIN {s}.message USING (seq)
WHERE queue = (SELECT id FROM {s}.queue WHERE name = %s) AND state = 0
ORDER BY urgency, seq LIMIT %s OFFSET %s;

-- name: find
SELECT seq, headers, properties, content_type, content_encoding, body, queue.name, state,
    extract(epoch FROM due)::double precision, owner.name
FROM {s}.message JOIN {s}.place USING (seq) JOIN {s}.queue ON queue.id = place.queue
LEFT JOIN {s}.owner ON owner.id = place.owner AND state >= 2
WHERE task_id = %s;

-- name: find_dead
SELECT dead_letter.id, headers, properties, content_type, content_encoding, body, queue.name, 4, NULL, NULL
FROM {s}.dead_letter JOIN {s}.queue ON queue.id = dead_letter.queue
WHERE task_id = %s;

-- name: holdings
SELECT name, node, host, pid,
    (SELECT count(*) FROM {s}.place WHERE place.owner = owner.id AND state >= 2),
    greatest(extract(epoch FROM expires - clock_timestamp()), 0)::double precision
FROM {s}.owner ORDER BY expires, id;

-- name: purge
WITH gone AS (
    DELETE FROM {s}.place
    WHERE queue = (SELECT id FROM {s}.queue WHERE name = %s) AND state < 2 RETURNING seq
)
DELETE FROM {s}.message USING gone WHERE message.seq = gone.seq RETURNING 1;

-- name: dead_letters
SELECT dead_letter.id, queue.name, reason, extract(epoch FROM died)::double precision, crashes, headers,
    properties, content_type, content_encoding, body
FROM {s}.dead_letter JOIN {s}.queue ON queue.id = dead_letter.queue
ORDER BY dead_letter.id DESC LIMIT %s OFFSET %s;

-- name: revive
SELECT {s}.revive(%s::bigint[]);

-- name: drop_dead
DELETE FROM {s}.dead_letter WHERE id = ANY (%s::bigint[]) RETURNING 1;
