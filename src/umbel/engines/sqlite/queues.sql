-- Looking into queues.

-- name: depths
SELECT queue.name,
    (SELECT count(*) FROM message WHERE queue = queue.id AND state = 0),
    (SELECT count(*) FROM message WHERE state = 1 AND message.queue = queue.id),
    (SELECT count(*) FROM message WHERE state >= 2 AND message.queue = queue.id),
    (SELECT count(*) FROM dead_letter WHERE dead_letter.queue = queue.id),
    (SELECT min(seq) FROM message WHERE message.queue = queue.id AND state = 0)
FROM queue ORDER BY queue.name;

-- name: peek
SELECT seq, state, due, headers, properties, content_type, content_encoding, body
FROM message
WHERE queue = (SELECT id FROM queue WHERE name = ?) AND state = 0
ORDER BY urgency, seq LIMIT ? OFFSET ?;

-- name: find
SELECT seq, state, due, headers, properties, content_type, content_encoding, body, queue.name, owner.name
FROM message JOIN queue ON queue.id = message.queue
LEFT JOIN owner ON owner.id = message.owner
WHERE identity > ? || ' ' AND identity < ? || '!';

-- name: find_dead
SELECT dead_letter.id, 4, NULL, headers, properties, content_type, content_encoding, body, queue.name, NULL
FROM dead_letter JOIN queue ON queue.id = dead_letter.queue
WHERE identity > ? || ' ' AND identity < ? || '!';

-- name: holdings
SELECT name, node, host, pid,
    (SELECT count(*) FROM message WHERE message.owner = owner.id AND state >= 2), expires
FROM owner ORDER BY expires, id;

-- name: purge
DELETE FROM message WHERE queue = (SELECT id FROM queue WHERE name = ?) AND state < 2;

-- name: dead_letters
SELECT dead_letter.id, queue.name, reason, died, crashes, headers, properties, content_type,
    content_encoding, body
FROM dead_letter JOIN queue ON queue.id = dead_letter.queue
ORDER BY dead_letter.id DESC LIMIT ? OFFSET ?;

-- name: revive
INSERT INTO message
    (seq, queue, urgency, state, identity, headers, properties, content_type, content_encoding, body)
SELECT max(?, (SELECT coalesce(max(seq), 0) FROM message)) + row_number() OVER (ORDER BY id),
    queue, urgency, 0, identity, headers, properties, content_type, content_encoding, body
FROM dead_letter WHERE id IN (SELECT value FROM json_each(?))
ON CONFLICT (identity) DO NOTHING
RETURNING queue;

-- name: drop_dead
DELETE FROM dead_letter WHERE id IN (SELECT value FROM json_each(?));
