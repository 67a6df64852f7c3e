-- What a fleet must agree on, and broadcasts.

-- name: holder
SELECT owner, term, expires FROM hold WHERE name = ?;

-- name: hold
INSERT OR REPLACE INTO hold (name, owner, term, expires) VALUES (?, ?, ?, ?);

-- name: let_go
-- The row stays for its term, which may only grow.
UPDATE hold SET expires = 0 WHERE name = ? AND owner = ? AND expires > ?;

-- name: put
-- Behind `next_version`.
INSERT OR REPLACE INTO entry (kind, key, value, expires, version)
SELECT kind, ?, ?, ?, version FROM entry_version WHERE kind = ?;

-- name: get
SELECT value FROM entry WHERE kind = ? AND key = ? AND (expires IS NULL OR expires > ?);

-- name: items
SELECT key, value FROM entry WHERE kind = ? AND (expires IS NULL OR expires > ?) ORDER BY key;

-- name: pick
SELECT key, value FROM entry
WHERE kind = ? AND key IN (SELECT value FROM json_each(?)) AND (expires IS NULL OR expires > ?);

-- name: changes
SELECT key, value FROM entry
WHERE kind = ? AND version > ? AND (expires IS NULL OR expires > ?) LIMIT ?;

-- name: delete
-- Not "expires IS NULL OR ...": behind RETURNING that is never true in SQLite 3.40.
DELETE FROM entry WHERE kind = ? AND key IN (SELECT value FROM json_each(?))
RETURNING coalesce(expires > ?, 1);

-- name: forget_expired
DELETE FROM entry WHERE kind = ? AND expires <= ?;

-- name: version
SELECT version FROM entry_version WHERE kind = ?;

-- name: next_version
INSERT INTO entry_version (kind, version) VALUES (?, 1)
ON CONFLICT (kind) DO UPDATE SET version = version + 1;

-- name: bucket
SELECT tokens, filled FROM bucket WHERE name = ?;

-- name: fill_bucket
INSERT OR REPLACE INTO bucket (name, tokens, filled) VALUES (?, ?, ?);

-- name: send
INSERT INTO broadcast (topic, payload, sent) VALUES (?, ?, ?);

-- name: last_sent
SELECT coalesce(max(seq), 0) FROM broadcast;

-- name: received
SELECT seq, topic, payload FROM broadcast WHERE seq > ? ORDER BY seq LIMIT 1000;

-- name: forget_sent
DELETE FROM broadcast WHERE sent < ?;
