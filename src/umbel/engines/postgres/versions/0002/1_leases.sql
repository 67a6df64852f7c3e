-- Leases in a table of their own: a row for each batch, in place of one for each message.

-- What is leased: the messages of one handing-over that are alike in all but their seqs, which are in ascending
-- order. state: 2 leased, 3 leased and not to be delivered again. Their places are deleted meanwhile, so place has
-- only what is ready (0) or scheduled (1).
CREATE TABLE lease (
    owner bigint NOT NULL,
    number bigint NOT NULL,
    queue integer NOT NULL,
    count integer NOT NULL,
    crashes integer NOT NULL,
    urgency smallint NOT NULL,
    state smallint NOT NULL,
    seqs bigint[] NOT NULL
) WITH (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_insert_threshold = -1,
    autovacuum_vacuum_cost_delay = 0, toast_tuple_target = 8160
);
-- A thousand numbers fit into a page as they are; to compress them takes longer than to write them.
ALTER TABLE lease ALTER COLUMN seqs SET STORAGE MAIN;
CREATE INDEX lease_owner ON lease (owner, number);
-- As place has it.
ALTER TABLE lease REPLICA IDENTITY FULL;
-- Whoever may use that may use this.
DO $$
DECLARE
    one record;
BEGIN
    FOR one IN
        SELECT DISTINCT privilege_type AS may, coalesce(quote_ident(rolname), 'PUBLIC') AS who
        FROM pg_class CROSS JOIN aclexplode(relacl) LEFT JOIN pg_roles ON pg_roles.oid = grantee
        WHERE pg_class.oid = 'place'::regclass AND grantee <> relowner
    LOOP
        EXECUTE format('GRANT %s ON lease TO %s', one.may, one.who);
    END LOOP;
END $$;

-- Waits for what is just done to leases, and lets nobody lease anything before this is over. Values, which get a column
-- below, are locked before, as who publishes with a change of them does it: else each could wait for the other.
LOCK TABLE entry, place IN ACCESS EXCLUSIVE MODE;
INSERT INTO lease (owner, number, queue, urgency, state, count, crashes, seqs)
SELECT owner, lease, queue, urgency, state, count, crashes, array_agg(seq ORDER BY seq)
FROM place WHERE state >= 2 GROUP BY owner, lease, queue, urgency, state, count, crashes;
DELETE FROM place WHERE state >= 2;
DROP INDEX place_leased;
ALTER TABLE place DROP COLUMN owner, DROP COLUMN lease;

-- What is written anew.
DROP FUNCTION settle_and_store, settle, claim, stop_waiting, acknowledge, held, reclaim;
DROP TYPE delivery;
