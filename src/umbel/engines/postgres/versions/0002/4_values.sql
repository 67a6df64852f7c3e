-- What a fleet must agree on, so that one can ask what has changed since a version, as who looks for revocations does.

-- The version of its kind when the value was stored.
ALTER TABLE entry ADD COLUMN version bigint NOT NULL DEFAULT 0;
ALTER TABLE entry ALTER COLUMN version DROP DEFAULT;
CREATE INDEX entry_news ON entry (kind, version);
CREATE INDEX entry_expires ON entry (expires) WHERE expires IS NOT NULL;

-- Wait for others that change values of a kind. All who change any do so first: so they do not wait for each other, and
-- what has a version is there when a later one is seen.
CREATE FUNCTION lock_kind(p_kind text) RETURNS void LANGUAGE sql
SET search_path FROM CURRENT
AS $$
    SELECT 1 FROM entry_version WHERE kind = p_kind FOR NO KEY UPDATE
$$;

-- Store values that end after so many seconds, or never.
CREATE FUNCTION put_values(p_kind text, p_keys text[], p_values text[], p_ttl double precision)
RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    number bigint;
BEGIN
    INSERT INTO entry_version AS old (kind, version) VALUES (p_kind, 1)
    ON CONFLICT (kind) DO UPDATE SET version = old.version + 1 RETURNING version INTO number;
    INSERT INTO entry (kind, key, value, expires, version)
    SELECT p_kind, key, value, clock_timestamp() + p_ttl * interval '1 s', number
    FROM unnest(p_keys, p_values) AS given (key, value)
    ON CONFLICT (kind, key) DO UPDATE
    SET value = excluded.value, expires = excluded.expires, version = excluded.version;
END $$;

-- Store a value if there is none that counts; whether there was none.
CREATE FUNCTION put_new(p_kind text, p_key text, p_value text, p_ttl double precision)
RETURNS boolean LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM lock_kind(p_kind);
    INSERT INTO entry (kind, key, value, expires, version)
    VALUES (p_kind, p_key, p_value, clock_timestamp() + p_ttl * interval '1 s', 0)
    ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value, expires = excluded.expires
    WHERE entry.expires <= clock_timestamp();
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM put_values(p_kind, ARRAY[p_key], ARRAY[p_value], p_ttl);
    RETURN true;
END $$;

-- Delete values; how many there were. Those that had expired do not count.
CREATE FUNCTION delete_values(p_kind text, p_keys text[]) RETURNS bigint LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    alive bigint;
    gone bigint;
BEGIN
    PERFORM lock_kind(p_kind);
    WITH deleted AS (
        DELETE FROM entry WHERE kind = p_kind AND key = ANY (p_keys) RETURNING expires
    )
    SELECT count(*) FILTER (WHERE coalesce(expires > clock_timestamp(), true)), count(*)
    INTO alive, gone FROM deleted;
    IF gone > 0 THEN
        UPDATE entry_version SET version = version + 1 WHERE kind = p_kind;
    END IF;
    RETURN alive;
END $$;

-- Store a value without an end, and let who watches its kind notice.
CREATE OR REPLACE FUNCTION put_value(p_kind text, p_key text, p_value text) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM put_values(p_kind, ARRAY[p_key], ARRAY[p_value], NULL);
END $$;

-- Change a value while it is as expected (null: there is none): 0 when it is not, 1 when it had been changed before,
-- 2 when it is changed now.
CREATE OR REPLACE FUNCTION change_value(p_kind text, p_key text, p_was text, p_value text) RETURNS integer LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    found_value text;
BEGIN
    -- Of several who change it, also where there is none yet, one after the other.
    PERFORM pg_advisory_xact_lock(hashtextextended(
        current_schema() || '/' || length(p_kind) || '/' || p_kind || '/' || p_key, 0
    ));
    PERFORM lock_kind(p_kind);
    SELECT value INTO found_value FROM entry
    WHERE kind = p_kind AND key = p_key AND (expires IS NULL OR expires > clock_timestamp()) FOR UPDATE;
    IF found_value IS NOT DISTINCT FROM p_value THEN
        RETURN 1;
    ELSIF found_value IS DISTINCT FROM p_was THEN
        RETURN 0;
    ELSIF p_value IS NOT NULL THEN
        PERFORM put_value(p_kind, p_key, p_value);
        RETURN 2;
    END IF;
    DELETE FROM entry WHERE kind = p_kind AND key = p_key;
    UPDATE entry_version SET version = version + 1 WHERE kind = p_kind;
    RETURN 2;
END $$;

-- What has to be done from time to time, by one of all nodes: forget tags and values that have expired, and look whether a
-- lane, or the agenda, begins too late.
CREATE OR REPLACE FUNCTION tidy(p_remembered interval) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off SET jit = off
AS $$
DECLARE
    way record;
    moment timestamptz := clock_timestamp();
BEGIN
    PERFORM 1 FROM chore WHERE name = 'tidy' AND done < clock_timestamp() - interval '20 s'
    FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE chore SET done = clock_timestamp() WHERE name = 'tidy';
    DELETE FROM tag WHERE sent < clock_timestamp() - p_remembered;
    DELETE FROM entry WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM entry WHERE expires <= moment LIMIT 1000 FOR UPDATE SKIP LOCKED
    ));
    -- Before lanes, as settling has it.
    UPDATE agenda SET first = below.due FROM (
        SELECT due FROM place WHERE state = 1 AND due < (SELECT first FROM agenda) ORDER BY due LIMIT 1
    ) AS below
    WHERE first > below.due;
    FOR way IN SELECT queue, urgency, first FROM lane WHERE first > 0 ORDER BY queue, urgency LOOP
        UPDATE lane SET first = below.seq FROM (
            SELECT seq FROM place
            WHERE queue = way.queue AND urgency = way.urgency AND state = 0 AND seq < way.first
            ORDER BY seq LIMIT 1
        ) AS below
        WHERE queue = way.queue AND urgency = way.urgency AND first > below.seq;
    END LOOP;
END $$;
