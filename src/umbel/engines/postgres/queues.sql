-- Looking into queues.

-- name: depths
SELECT queue.name, coalesce(ready, 0), coalesce(scheduled, 0), coalesce(leased, 0), coalesce(dead, 0),
    extract(epoch FROM (SELECT published FROM {s}.message WHERE seq = oldest))::double precision
FROM {s}.queue
LEFT JOIN (
    SELECT queue, count(*) FILTER (WHERE state = 0) AS ready, count(*) FILTER (WHERE state = 1) AS scheduled,
        min(seq) FILTER (WHERE state = 0) AS oldest
    FROM {s}.place GROUP BY queue
) AS places ON places.queue = queue.id
LEFT JOIN (
    SELECT queue, sum(cardinality(seqs)) AS leased FROM {s}.lease GROUP BY queue
) AS leases ON leases.queue = queue.id
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
FROM {s}.message
JOIN (
    SELECT seq, queue, state, due, NULL::bigint AS owner FROM {s}.place
    UNION ALL
    SELECT unnest(seqs), queue, state, NULL, owner FROM {s}.lease
) AS places USING (seq)
JOIN {s}.queue ON queue.id = places.queue
LEFT JOIN {s}.owner ON owner.id = places.owner
WHERE task_id = %s;

-- name: find_dead
SELECT dead_letter.id, headers, properties, content_type, content_encoding, body, queue.name, 4, NULL, NULL
FROM {s}.dead_letter JOIN {s}.queue ON queue.id = dead_letter.queue
WHERE task_id = %s;

-- name: holdings
SELECT name, node, host, pid,
    (SELECT coalesce(sum(cardinality(seqs)), 0) FROM {s}.lease WHERE lease.owner = owner.id),
    greatest(extract(epoch FROM expires - clock_timestamp()), 0)::double precision
FROM {s}.owner ORDER BY expires, id;

-- name: purge
WITH gone AS (
    DELETE FROM {s}.place
    WHERE queue = (SELECT id FROM {s}.queue WHERE name = %s) RETURNING seq
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
