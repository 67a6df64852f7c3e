-- Leases in time. The server's clock decides.

-- Whether leases have ended.
CREATE FUNCTION is_over(p_expires timestamptz, p_mercy timestamptz) RETURNS boolean LANGUAGE sql
SET search_path FROM CURRENT
AS $$
    SELECT p_expires = 'epoch' OR (p_expires < clock_timestamp() AND p_mercy < clock_timestamp())
$$;

-- Note that a node was heard, and return until when nobody may be taken for dead. When none was heard for most of a
-- lease, the server was away, or all nodes were; whoever lives must have the time to renew its leases first. p_ttl is
-- how long the node's leases are, or null where it does not say.
CREATE FUNCTION heard(p_ttl interval) RETURNS timestamptz LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    moment timestamptz := clock_timestamp();
    old record;
    shortest interval;
    until timestamptz;
BEGIN
    SELECT last, ttl, mercy INTO old FROM watch;
    -- The shortest leases end first. What is a day old is of nodes that are gone.
    shortest := CASE
        WHEN p_ttl IS NOT NULL AND old.last < moment - interval '1 day' THEN p_ttl
        ELSE least(p_ttl, old.ttl)
    END;
    until := old.mercy;
    IF shortest IS NULL THEN
        RETURN until; -- nobody has ever renewed
    END IF;
    IF moment - old.last > shortest * 2 / 3 THEN
        until := moment + shortest;
    END IF;
    -- A row that all nodes write: not more often than needed.
    IF until <> old.mercy OR old.last IS NULL OR moment - old.last > shortest / 8
        OR shortest IS DISTINCT FROM old.ttl
    THEN
        UPDATE watch SET last = moment, ttl = shortest, mercy = greatest(mercy, until);
    END IF;
    RETURN until;
END $$;

-- Prolong the leases of all owners of a node; return those that still exist.
CREATE FUNCTION renew(p_node text, p_ttl interval) RETURNS SETOF text LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM heard(p_ttl);
    RETURN QUERY
        UPDATE owner SET expires = clock_timestamp() + p_ttl
        WHERE node = p_node AND expires > 'epoch'
        RETURNING name;
END $$;

-- The owners whose leases have ended.
CREATE FUNCTION expired() RETURNS TABLE (name text, node text, host text, pid integer) LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    until timestamptz := heard(NULL);
BEGIN
    RETURN QUERY
        SELECT owner.name, owner.node, owner.host, owner.pid FROM owner
        WHERE expires < clock_timestamp() AND is_over(expires, until);
END $$;

-- What has to be done from time to time, by one of all nodes: forget tags, and look whether a lane, or the agenda,
-- begins too late.
CREATE FUNCTION tidy(p_remembered interval) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan = off SET jit = off
AS $$
DECLARE
    way record;
BEGIN
    PERFORM 1 FROM chore WHERE name = 'tidy' AND done < clock_timestamp() - interval '20 s'
    FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE chore SET done = clock_timestamp() WHERE name = 'tidy';
    DELETE FROM tag WHERE sent < clock_timestamp() - p_remembered;
    FOR way IN SELECT queue, urgency, first FROM lane WHERE first > 0 ORDER BY queue, urgency LOOP
        UPDATE lane SET first = below.seq FROM (
            SELECT seq FROM place
            WHERE queue = way.queue AND urgency = way.urgency AND state = 0 AND seq < way.first
            ORDER BY seq LIMIT 1
        ) AS below
        WHERE queue = way.queue AND urgency = way.urgency AND first > below.seq;
    END LOOP;
    UPDATE agenda SET first = below.due FROM (
        SELECT due FROM place WHERE state = 1 AND due < (SELECT first FROM agenda) ORDER BY due LIMIT 1
    ) AS below
    WHERE first > below.due;
END $$;

-- The tables that one of all nodes should vacuum now: those of this user's in which as much is dead as a fifth of
-- what lives. shrink says that the file should become shorter, for which everybody else has to wait for some
-- milliseconds: where less than a row lives on a page. Who is given any has a minute, in which nobody else is.
CREATE FUNCTION worn() RETURNS TABLE (name text, shrink boolean) LANGUAGE plpgsql
SET search_path FROM CURRENT SET jit = off
AS $$
BEGIN
    PERFORM 1 FROM chore
    WHERE chore.name = 'vacuum' AND done < clock_timestamp() - interval '4 s' FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY
        SELECT quote_ident(relname),
            pg_stat_get_live_tuples(oid) * current_setting('block_size')::integer < pg_relation_size(oid)
        FROM pg_class
        WHERE relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'chore'::regclass)
            AND relkind = 'r' AND pg_has_role(relowner, 'USAGE')
            AND pg_stat_get_dead_tuples(oid) > greatest(2000, pg_stat_get_live_tuples(oid) / 5);
    UPDATE chore SET done = clock_timestamp() + CASE WHEN FOUND THEN interval '1 min' ELSE '0' END
    WHERE chore.name = 'vacuum';
END $$;
