-- Waking waiting processes; see bell.py.

-- name: listen
INSERT INTO listener (topic, port, owner, since) VALUES (?, ?, ?, ?)
ON CONFLICT (topic, port) DO UPDATE SET owner = excluded.owner, since = excluded.since;

-- name: is_listening
SELECT 1 FROM listener WHERE port = ? LIMIT 1;

-- name: listeners
SELECT port FROM listener WHERE topic = ? LIMIT ?;

-- name: stop_listening
DELETE FROM listener WHERE port = ?;

-- name: forget_listeners
DELETE FROM listener WHERE owner = ?;

-- name: sweep_listeners
-- Also those from the future, which a clock that was set back left.
DELETE FROM listener WHERE since < ? OR since > ?;

-- name: result_listeners
SELECT topic, port FROM listener WHERE topic IN (SELECT 'result:' || value FROM json_each(?));

-- name: result_told
DELETE FROM listener WHERE topic IN (SELECT 'result:' || value FROM json_each(?)) RETURNING topic, port;

-- name: stop_listening_for
DELETE FROM listener WHERE topic = ? AND port = ?;

-- name: any_result_listener
SELECT 1 FROM listener WHERE topic >= 'result:' AND topic < 'result;' LIMIT 1;
