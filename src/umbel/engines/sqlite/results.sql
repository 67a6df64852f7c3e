-- Results, groups and their parts.

-- name: put
-- What succeeded stays so, whatever a late duplicate says.
INSERT INTO result (task_id, state, document, expires)
VALUES (:task_id, :state, :document, :expires)
ON CONFLICT (task_id) DO UPDATE
SET state = excluded.state, document = excluded.document, expires = excluded.expires
WHERE result.state <> 'SUCCESS' OR excluded.state = 'SUCCESS' OR result.expires <= :now;

-- name: get
SELECT task_id, state, document, expires FROM result
WHERE task_id IN (SELECT value FROM json_each(?)) AND (expires IS NULL OR expires > ?);

-- name: forget
DELETE FROM result WHERE task_id IN (SELECT value FROM json_each(?));

-- name: add_part
INSERT OR REPLACE INTO part (group_id, part, document) VALUES (?, ?, ?);

-- name: count_parts
SELECT count(*) FROM part WHERE group_id = ?;

-- name: claim_group
INSERT OR IGNORE INTO part_claim (group_id, claimant) VALUES (?, ?);

-- name: claimant
SELECT claimant FROM part_claim WHERE group_id = ?;

-- name: parts
SELECT part, document FROM part WHERE group_id = ?;

-- name: forget_parts
DELETE FROM part WHERE group_id = ?;

-- name: forget_claim
DELETE FROM part_claim WHERE group_id = ?;

-- name: save_group
INSERT OR REPLACE INTO saved_group (group_id, document, expires) VALUES (?, ?, ?);

-- name: saved_group
SELECT document FROM saved_group WHERE group_id = ? AND (expires IS NULL OR expires > ?);

-- name: forget_group
DELETE FROM saved_group WHERE group_id = ?;

-- name: cleanup_groups
DELETE FROM saved_group WHERE group_id IN (
    SELECT group_id FROM saved_group WHERE expires IS NOT NULL AND expires <= ? LIMIT 2000
);

-- name: cleanup_results
DELETE FROM result WHERE task_id IN (
    SELECT task_id FROM result WHERE expires IS NOT NULL AND expires <= ? LIMIT 2000
);

-- name: cleanup_dead
DELETE FROM dead_letter WHERE id IN (
    SELECT id FROM dead_letter WHERE expires IS NOT NULL AND expires <= ? LIMIT 2000
);
