-- Statements of the SQLite broker.

-- name: add_queue
INSERT OR IGNORE INTO queue (name) VALUES (?);

-- name: all_queues
SELECT name, id FROM queue;

-- name: publish
-- An identity that is still here is the same publish again.
INSERT INTO message
    (seq, queue, urgency, state, due, identity, headers, properties, content_type,
     content_encoding, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (identity) DO NOTHING;

-- name: last_seq
SELECT coalesce(max(seq), 0) FROM message;

-- name: attach
INSERT INTO owner (name, node, host, pid, expires) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (name) DO UPDATE SET expires = excluded.expires
RETURNING id;

-- name: is_attached
SELECT 1 FROM owner WHERE id = ?;

-- name: first_due
SELECT min(due) FROM message WHERE state = 1;

-- name: return_due
-- A bounded number at a time keeps the transaction short when a million become due at once.
UPDATE message SET state = 0, due = NULL
WHERE seq IN (SELECT seq FROM message WHERE state = 1 AND due <= ? ORDER BY due LIMIT 1000)
RETURNING queue;

-- name: claim
UPDATE message SET state = 2, owner = ?, count = count + 1
WHERE seq IN (
    SELECT seq FROM message WHERE queue = ? AND state = 0 ORDER BY urgency, seq LIMIT ?
)
RETURNING seq, urgency, count, crashes, identity, headers, properties, content_type, content_encoding, body;

-- name: any_ready
SELECT 1 FROM message WHERE queue = ? AND state = 0 LIMIT 1;

-- name: acknowledge
DELETE FROM message WHERE seq IN (SELECT value FROM json_each(?)) AND owner = ?;

-- name: still_held
SELECT seq FROM message WHERE seq IN (SELECT value FROM json_each(?)) AND owner = ?;

-- name: requeue
UPDATE message SET state = 0, owner = NULL, crashes = crashes + ? WHERE seq = ? AND owner = ?;

-- name: park
UPDATE message SET state = 1, owner = NULL, due = ? WHERE seq = ? AND owner = ?;

-- name: bury
INSERT INTO dead_letter
    (queue, urgency, crashes, reason, died, expires, identity, headers, properties,
     content_type, content_encoding, body)
SELECT queue, urgency, crashes + ?, ?, ?, ?, identity, headers, properties,
     content_type, content_encoding, body
FROM message WHERE seq = ? AND owner = ?;

-- name: mark_early
UPDATE message SET state = 3 WHERE seq IN (SELECT value FROM json_each(?)) AND owner = ?;

-- name: release
-- As if it had never been fetched.
UPDATE message SET state = 0, owner = NULL, count = count - 1
WHERE seq IN (SELECT value FROM json_each(?)) AND owner = ?
RETURNING queue;

-- name: release_all
UPDATE message SET state = 0, owner = NULL, count = count - 1
WHERE owner = ? AND state >= 2
RETURNING queue;

-- name: release_unmarked
-- It may have started, so it counts as delivered.
UPDATE message SET state = 0, owner = NULL WHERE owner = ? AND state = 2
RETURNING queue;

-- name: hand_over
UPDATE message SET owner = ? WHERE owner = ? AND state >= 2
RETURNING seq, urgency, count, crashes, identity, headers, properties, content_type, content_encoding, body,
    queue, state;

-- name: renew
UPDATE owner SET expires = ? WHERE node = ? RETURNING name;

-- name: expired
SELECT name, node, host, pid FROM owner WHERE expires < ?;

-- name: owner_number
SELECT id, expires FROM owner WHERE name = ?;

-- name: forget_owner
DELETE FROM owner WHERE id = ?;

-- name: ever_consumed
-- AUTOINCREMENT keeps the largest number ever given.
SELECT 1 FROM sqlite_sequence WHERE name = 'owner';
