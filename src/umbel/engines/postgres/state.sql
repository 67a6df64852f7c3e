-- What a fleet must agree on, and broadcasts; what they call is in versions/.

-- name: hold
-- An owner whose lease ran out may have been replaced for a moment: that is a new term.
INSERT INTO {s}.hold (name, owner, term, expires)
VALUES (%s, %s, 1, clock_timestamp() + %s * interval '1 s')
ON CONFLICT (name) DO UPDATE
SET owner = excluded.owner, expires = excluded.expires,
    term = hold.term + (hold.owner <> excluded.owner OR hold.expires <= clock_timestamp())::integer
WHERE hold.owner = excluded.owner OR hold.expires <= clock_timestamp()
RETURNING term;

-- name: let_go
-- The row stays for its term, which may only grow.
UPDATE {s}.hold SET expires = 'epoch' WHERE name = %s AND owner = %s AND expires > clock_timestamp()
RETURNING 1;

-- name: put
WITH stored AS (
    INSERT INTO {s}.entry (kind, key, value, expires)
    VALUES (%s, %s, %s, clock_timestamp() + %s::double precision * interval '1 s')
    ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value, expires = excluded.expires
    RETURNING kind
)
INSERT INTO {s}.entry_version (kind, version) SELECT kind, 1 FROM stored
ON CONFLICT (kind) DO UPDATE SET version = entry_version.version + 1;

-- name: put_new
WITH stored AS (
    INSERT INTO {s}.entry (kind, key, value, expires)
    VALUES (%s, %s, %s, clock_timestamp() + %s::double precision * interval '1 s')
    ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value, expires = excluded.expires
    WHERE entry.expires <= clock_timestamp()
    RETURNING kind
)
INSERT INTO {s}.entry_version (kind, version) SELECT kind, 1 FROM stored
ON CONFLICT (kind) DO UPDATE SET version = entry_version.version + 1
RETURNING 1;

-- name: get
SELECT value FROM {s}.entry
WHERE kind = %s AND key = %s AND (expires IS NULL OR expires > clock_timestamp());

-- name: items
SELECT key, value FROM {s}.entry
WHERE kind = %s AND (expires IS NULL OR expires > clock_timestamp()) ORDER BY key;

-- name: delete
-- Those that had expired do not count.
WITH gone AS (
    DELETE FROM {s}.entry WHERE kind = %s AND key = ANY (%s::text[])
    RETURNING kind, coalesce(expires > clock_timestamp(), true) AS alive
), told AS (
    INSERT INTO {s}.entry_version (kind, version) SELECT DISTINCT kind, 1 FROM gone
    ON CONFLICT (kind) DO UPDATE SET version = entry_version.version + 1
)
SELECT count(*) FILTER (WHERE alive) FROM gone;

-- name: version
SELECT version FROM {s}.entry_version WHERE kind = %s;

-- name: change
SELECT {s}.change(
    %s::text[], %s::text[], %s::text[], %s::text[], %s::integer[], %s::text[], %s::text[], %s::text[],
    %s::integer[], %s::integer[], %s::smallint[], %s::double precision[], %s::text[], %s::text[],
    %s::text[], %s::text[], %s::text[], %s::text[], %b::bytea[]
);

-- name: take
SELECT {s}.take_tokens(%s, %s, %s, %s);

-- name: send
SELECT {s}.send(%s, %s, %b::bytea[]);

-- name: listen
-- Be told of what is sent from now on; return where that begins.
WITH listed AS (
    INSERT INTO {s}.listener (name, since) VALUES (%s, clock_timestamp())
    ON CONFLICT (name) DO UPDATE SET since = excluded.since
)
SELECT coalesce(max(seq), 0) FROM {s}.broadcast;

-- name: received
SELECT seq, topic, payload FROM {s}.broadcast WHERE seq > %s ORDER BY seq LIMIT 1000;

-- name: leave
DELETE FROM {s}.listener WHERE name = %s;
