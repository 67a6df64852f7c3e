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
SELECT 1 FROM owner WHERE id = ? AND expires > 0;

-- name: first_due
SELECT min(due) FROM message WHERE state = 1;

-- name: begin_claim
-- When the first is due, and what has been revoked so far, which `Consumer.revocations` tells.
SELECT (SELECT min(due) FROM message WHERE state = 1), (SELECT version FROM entry_version WHERE kind = 'revoked');

-- name: return_due
-- A bounded number at a time keeps the transaction short when a million become due at once.
UPDATE message SET state = 0, due = NULL
WHERE seq IN (SELECT seq FROM message WHERE state = 1 AND due <= ? ORDER BY due LIMIT 1000)
RETURNING queue;

-- name: claim
-- A lease that no earlier claim of the row had, whatever the clock says.
UPDATE message SET state = 2, owner = ?, lease = max(lease + 1, ?), count = count + 1
WHERE seq IN (
    SELECT seq FROM message WHERE queue = ? AND state = 0 ORDER BY urgency, seq LIMIT ?
)
RETURNING seq, lease, urgency, count, crashes, identity, headers, properties, content_type, content_encoding,
    body;

-- name: any_ready
SELECT 1 FROM message WHERE queue = ? AND state = 0 LIMIT 1;

-- name: acknowledge
-- Of rows that `held` has just found, so that their leases are known to be right.
DELETE FROM message WHERE seq IN (SELECT value FROM json_each(?)) AND owner = ?;

-- name: held
-- Which handings-over these numbers are at now; the caller compares the leases.
SELECT seq, lease FROM message WHERE seq IN (SELECT value FROM json_each(?)) AND owner = ? AND state <= ?;

-- name: requeue
UPDATE message SET state = 0, owner = NULL, crashes = crashes + ?
WHERE seq = ? AND lease = ? AND owner = ?;

-- name: park
UPDATE message SET state = 1, owner = NULL, due = ?
WHERE seq = ? AND lease = ? AND owner = ?;

-- name: bury
INSERT INTO dead_letter
    (queue, urgency, crashes, reason, died, expires, identity, headers, properties,
     content_type, content_encoding, body)
SELECT queue, urgency, crashes + ?, ?, ?, ?, identity, headers, properties,
     content_type, content_encoding, body
FROM message WHERE seq = ? AND lease = ? AND owner = ?;

-- name: mark_early
-- Of rows that `held` has just found.
UPDATE message SET state = 3 WHERE seq IN (SELECT value FROM json_each(?)) AND owner = ?;

-- name: release
-- As if it had never been fetched. Of rows that `held` has just found.
UPDATE message SET state = 0, owner = NULL, count = count - 1
WHERE seq IN (SELECT value FROM json_each(?)) AND owner = ?
RETURNING queue;

-- name: release_all
-- But for what may not be delivered again. The first condition on the state is that of the index.
UPDATE message SET state = 0, owner = NULL, count = count - 1
WHERE owner = ? AND state >= 2 AND state = 2
RETURNING queue;

-- name: release_unmarked
-- It may have started, so it counts as delivered.
UPDATE message SET state = 0, owner = NULL WHERE owner = ? AND state >= 2 AND state = 2
RETURNING queue;

-- name: hand_over
-- The lease stays: what a dead process wrote down about a key must be found by it.
UPDATE message SET owner = ? WHERE owner = ? AND state >= 2
RETURNING seq, lease, urgency, count, crashes, identity, headers, properties, content_type, content_encoding,
    body, queue, state;

-- name: renew
UPDATE owner SET expires = ? WHERE node = ? AND expires > 0 RETURNING name;

-- name: expired
SELECT name, node, host, pid FROM owner WHERE expires < ?;

-- name: owner_number
SELECT id, expires FROM owner WHERE name = ?;

-- name: forget_owner
DELETE FROM owner WHERE id = ?;

-- name: forget_empty_owner
DELETE FROM owner
WHERE id = ? AND NOT EXISTS (SELECT 1 FROM message WHERE message.owner = owner.id AND state >= 2);

-- name: leave
UPDATE owner SET expires = 0 WHERE id = ?;

-- name: ever_consumed
-- AUTOINCREMENT keeps the largest number ever given.
SELECT 1 FROM sqlite_sequence WHERE name = 'owner';
