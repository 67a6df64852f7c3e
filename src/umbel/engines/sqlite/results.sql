-- Results, groups and their parts.

-- name: put
-- What succeeded stays so, whatever a late duplicate says; what has ended is not on its way any more.
INSERT INTO result (task_id, state, document, expires)
VALUES (:task_id, :state, :document, :expires)
ON CONFLICT (task_id) DO UPDATE
SET state = excluded.state, document = excluded.document, expires = excluded.expires
WHERE result.state <> 'SUCCESS'
        AND (excluded.state <> 'PROGRESS' OR result.state NOT IN ('FAILURE', 'REVOKED'))
    OR excluded.state = 'SUCCESS' OR result.expires <= :now;

-- name: get
SELECT task_id, state, document, expires FROM result
WHERE task_id IN (SELECT value FROM json_each(?)) AND (expires IS NULL OR expires > ?);

-- name: forget
DELETE FROM result WHERE task_id IN (SELECT value FROM json_each(?));

-- name: open_group
INSERT INTO part_group (group_id, size, expires) VALUES (:group, :size, :expires)
ON CONFLICT (group_id) DO UPDATE SET size = excluded.size, expires = excluded.expires
WHERE size IS NULL AND NOT closed;

-- name: add_more
INSERT OR IGNORE INTO part_more (group_id, part) VALUES (:group, :part);

-- name: extend_group
INSERT INTO part_group (group_id, more) VALUES (:group, 1)
ON CONFLICT (group_id) DO UPDATE SET more = more + 1 WHERE NOT closed;

-- name: forget_more
DELETE FROM part_more WHERE group_id = ?;

-- name: touch_group
-- A part comes: the group lives longer. No row is returned of one that is closed.
INSERT INTO part_group (group_id, expires) VALUES (:group, :expires)
ON CONFLICT (group_id) DO UPDATE SET expires = excluded.expires WHERE NOT closed
RETURNING count, size + more, claimant;

-- name: add_part
INSERT OR IGNORE INTO part (group_id, place, part, document) VALUES (:group, :place, :part, :document);

-- name: count_part
UPDATE part_group SET count = count + 1 WHERE group_id = ?;

-- name: claim_group
UPDATE part_group SET claimant = ? WHERE group_id = ?;

-- name: parts
SELECT document FROM part WHERE group_id = ? ORDER BY place, part;

-- name: close_group
UPDATE part_group SET closed = 1, claimant = NULL, size = NULL, expires = :expires
WHERE group_id = :group AND claimant = :claimant;

-- name: forget_parts
DELETE FROM part WHERE group_id = ?;

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

-- name: old_part_groups
SELECT group_id FROM part_group WHERE expires IS NOT NULL AND expires <= ? LIMIT 100;

-- name: forget_part_group
DELETE FROM part_group WHERE group_id = ?;

-- name: cleanup_results
DELETE FROM result WHERE task_id IN (
    SELECT task_id FROM result WHERE expires IS NOT NULL AND expires <= ? LIMIT 2000
);

-- name: cleanup_dead
DELETE FROM dead_letter WHERE id IN (
    SELECT id FROM dead_letter WHERE expires IS NOT NULL AND expires <= ? LIMIT 2000
);
