-- Statements of the broker; what they call is in versions/.

-- name: add_queues
INSERT INTO {s}.queue (name) SELECT DISTINCT given FROM unnest(%s::text[]) AS given ORDER BY given
ON CONFLICT DO NOTHING;

-- name: queue_ids
SELECT name, id FROM {s}.queue WHERE name = ANY (%s::text[]);

-- name: queue_names
SELECT name, id FROM {s}.queue;

-- name: publish
SELECT {s}.publish(
    %s::integer[], %s::smallint[], %s::double precision[], %s::text[], %s::text[], %s::text[], %s::text[],
    %s::text[], %s::text[], %b::bytea[]
);

-- name: attach
INSERT INTO {s}.owner (name, node, host, pid, expires)
VALUES (%s, %s, %s, %s, clock_timestamp() + %s * interval '1 s')
ON CONFLICT (name) DO UPDATE SET expires = excluded.expires
RETURNING id;

-- name: forget
SELECT {s}.leave(id) FROM {s}.owner WHERE name = ANY (%s::text[]);

-- name: renew
SELECT {s}.renew(%s, %s * interval '1 s');

-- name: tidy
SELECT {s}.tidy(%s * interval '1 s');

-- name: worn
SELECT name, shrink FROM {s}.worn();

-- name: rest
UPDATE {s}.chore SET done = clock_timestamp() + %s * interval '1 s' WHERE name = 'vacuum';

-- name: expired
SELECT name, node, host, pid FROM {s}.expired();

-- name: take_back
SELECT {s}.take_back(%s, %s::bigint[], %s::bigint[]);

-- name: ever_consumed
SELECT is_called FROM {s}.owner_id_seq;

-- name: claim
SELECT * FROM {s}.claim(%s, %s::integer[], %s, %s, %s);

-- name: look
SELECT {s}.look(%s::integer[]);

-- name: stop_waiting
SELECT * FROM {s}.stop_waiting(%s, %s::integer[], %s, %s);

-- name: leave_list
DELETE FROM {s}.waiter WHERE channel = %s;

-- name: settle
SELECT claimed.* FROM {s}.settle(
    %s, %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::smallint[], %s::smallint[],
    %s::double precision[], %s::text[], %s::double precision[]
) AS settled (owner) CROSS JOIN LATERAL {s}.claim(settled.owner, %s::integer[], %s, NULL, false) AS claimed;

-- name: settle_and_store
SELECT claimed.* FROM {s}.settle_and_store(
    %s, %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::smallint[], %s::smallint[],
    %s::double precision[], %s::text[], %s::double precision[],
    %s::text[], %s::text[], %s::boolean[], %s::text[], %s::bytea[], %s::double precision[],
    %s::integer[], %s::smallint[], %s::double precision[], %s::text[], %s::text[], %s::text[], %s::text[],
    %s::text[], %s::text[], %b::bytea[]
) AS settled (owner) CROSS JOIN LATERAL {s}.claim(settled.owner, %s::integer[], %s, NULL, false) AS claimed;

-- name: held
SELECT seq, lease FROM {s}.held(%s, %s::bigint[], %s::bigint[], 3);

-- name: mark_early
SELECT {s}.mark_early(%s, %s::bigint[], %s::bigint[]);

-- name: release
SELECT {s}.release(%s, %s::bigint[], %s::bigint[]);

-- name: reclaim
SELECT * FROM {s}.reclaim(%s, %s, %s::bigint[], %s::bigint[], %s);

-- name: leave
SELECT {s}.leave(%s);

-- name: notify
SELECT pg_notify(%s, %s);
