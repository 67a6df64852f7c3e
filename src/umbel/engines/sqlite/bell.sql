-- Waking waiting processes; see bell.py.

-- name: listen
INSERT OR IGNORE INTO listener (topic, port) VALUES (?, ?);

-- name: is_listening
SELECT 1 FROM listener WHERE port = ? LIMIT 1;

-- name: listeners
SELECT port FROM listener WHERE topic = ? LIMIT ?;

-- name: stop_listening
DELETE FROM listener WHERE port = ?;

-- name: result_listeners
SELECT topic, port FROM listener WHERE topic IN (SELECT 'result:' || value FROM json_each(?));

-- name: any_result_listener
SELECT 1 FROM listener WHERE topic >= 'result:' AND topic < 'result;' LIMIT 1;
