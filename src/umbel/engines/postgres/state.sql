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

-- name: put_values
SELECT {s}.put_values(%s, %s::text[], %s::text[], %s);

-- name: put_new
SELECT {s}.put_new(%s, %s, %s, %s);

-- name: get
SELECT value FROM {s}.entry
WHERE kind = %s AND key = %s AND (expires IS NULL OR expires > clock_timestamp());

-- name: items
SELECT key, value FROM {s}.entry
WHERE kind = %s AND (expires IS NULL OR expires > clock_timestamp()) ORDER BY key;

-- name: pick
SELECT key, value FROM {s}.entry
WHERE kind = %s AND key = ANY (%s::text[]) AND (expires IS NULL OR expires > clock_timestamp());

-- name: changes
-- The version and the values of one moment; the first row is the version.
WITH now AS (SELECT coalesce((SELECT version FROM {s}.entry_version WHERE kind = %s), 0) AS version)
SELECT NULL AS key, NULL AS value, version FROM now
UNION ALL (
    SELECT key, value, 0 FROM {s}.entry
    WHERE kind = %s AND (expires IS NULL OR expires > clock_timestamp())
        AND version > (SELECT CASE WHEN %s::bigint > version THEN 0 ELSE %s::bigint END FROM now)
    LIMIT %s
);

-- name: delete
SELECT {s}.delete_values(%s, %s::text[]);

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
