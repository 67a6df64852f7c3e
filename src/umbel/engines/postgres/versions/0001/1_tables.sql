-- The tables of umbel in PostgreSQL. All names are looked up in the schema that the tables are in.

-- A message is two rows: what it says, which never changes, and where it is, which does. So only small rows
-- are written anew while it is taken, given back and settled, and those that wait lie close together.

-- Queues that were ever used.
CREATE TABLE queue (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE
);

-- Who holds leases. Ids are never used twice, so an id is also the fence: whoever was reclaimed finds none of its
-- rows any more. expires is the epoch when the owner has left, and its row stays only for what it held that may not
-- be delivered again.
CREATE TABLE owner (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    node text NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    expires timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
CREATE INDEX owner_node ON owner (node);

-- When the leases of nodes were last renewed, how long these are, and until when nobody is taken for dead, since the
-- server itself was away; see the function heard.
CREATE TABLE watch (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    last timestamptz,
    ttl interval,
    mercy timestamptz NOT NULL DEFAULT 'epoch'
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
INSERT INTO watch DEFAULT VALUES;

-- What one of all nodes does from time to time, and when it was last done.
CREATE TABLE chore (
    name text PRIMARY KEY,
    done timestamptz NOT NULL DEFAULT 'epoch'
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
INSERT INTO chore (name) VALUES ('tidy'), ('vacuum');

-- seq orders messages by their arrival. tag is the identity of the publish.
CREATE SEQUENCE message_seq;
CREATE TABLE message (
    seq bigint PRIMARY KEY,
    published timestamptz NOT NULL,
    task_id text NOT NULL,
    tag text NOT NULL,
    headers text NOT NULL,
    properties text NOT NULL,
    content_type text NOT NULL,
    content_encoding text NOT NULL,
    body bytea NOT NULL
) WITH (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_threshold = -1, autovacuum_vacuum_cost_delay = 0,
    toast.autovacuum_vacuum_scale_factor = 0.02, toast.autovacuum_vacuum_threshold = 5000
);
-- Bodies may be compressed already, and short ones are not worth it.
ALTER TABLE message ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE INDEX message_task ON message (task_id);

-- Where a message is. state: 0 ready, 1 scheduled (until due), 2 leased, 3 leased and not to be delivered again.
-- urgency is the negated priority, so that ascending order is the order of delivery. lease is a number for each
-- handing-over; a key names seq and lease.
CREATE SEQUENCE lease_seq;
CREATE TABLE place (
    seq bigint NOT NULL,
    lease bigint NOT NULL DEFAULT 0,
    owner bigint,
    due timestamptz,
    queue integer NOT NULL,
    count integer NOT NULL DEFAULT 0,
    crashes integer NOT NULL DEFAULT 0,
    urgency smallint NOT NULL,
    state smallint NOT NULL
) WITH (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_threshold = -1, autovacuum_vacuum_cost_delay = 0
);
-- One index for each state and none on seq alone: whichever plan is made, a claim cannot walk over what other
-- queues have waiting, and a row is in one index at a time.
CREATE INDEX place_ready ON place (queue, urgency, seq) WHERE state = 0;
CREATE INDEX place_due ON place (due) WHERE state = 1;
CREATE INDEX place_leased ON place (owner, seq) WHERE state >= 2;
-- Without a primary key, a publication FOR ALL TABLES would forbid to change rows.
ALTER TABLE place REPLICA IDENTITY FULL;

-- The messages of one priority of a queue. Nothing that waits has a seq below first. So who looks for the next
-- need not walk over what was taken before and cannot be vacuumed yet, as long as somebody's transaction is open
-- that began earlier. See the function advance.
CREATE TABLE lane (
    queue integer NOT NULL,
    urgency smallint NOT NULL,
    first bigint NOT NULL DEFAULT 0,
    candidate bigint NOT NULL DEFAULT 0,
    noted timestamptz NOT NULL,
    PRIMARY KEY (queue, urgency)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- The same for all scheduled messages: none is due before first. See the function advance_agenda.
CREATE TABLE agenda (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    first timestamptz NOT NULL DEFAULT '-infinity',
    candidate timestamptz NOT NULL DEFAULT '-infinity',
    noted timestamptz NOT NULL DEFAULT 'epoch'
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
INSERT INTO agenda DEFAULT VALUES;

-- Publishes of the last minute, by which a repetition is recognized.
CREATE TABLE tag (
    tag text PRIMARY KEY,
    sent timestamptz NOT NULL
) WITH (
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_insert_threshold = -1, autovacuum_vacuum_cost_delay = 0
);

CREATE TABLE dead_letter (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue integer NOT NULL,
    urgency smallint NOT NULL,
    crashes integer NOT NULL,
    reason text NOT NULL,
    died timestamptz NOT NULL,
    expires timestamptz,
    task_id text NOT NULL,
    tag text NOT NULL,
    headers text NOT NULL,
    properties text NOT NULL,
    content_type text NOT NULL,
    content_encoding text NOT NULL,
    body bytea NOT NULL
);
CREATE INDEX dead_letter_task ON dead_letter (task_id);
CREATE INDEX dead_letter_expires ON dead_letter (expires) WHERE expires IS NOT NULL;

-- document is Celery's result document where that is text, and data where it is not.
CREATE TABLE result (
    task_id text PRIMARY KEY,
    state text NOT NULL,
    document text,
    data bytea,
    expires timestamptz
) WITH (
    autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX result_expires ON result (expires) WHERE expires IS NOT NULL;

-- Which tasks a group has: Celery's document.
CREATE TABLE saved_group (
    group_id text PRIMARY KEY,
    document text,
    data bytea,
    expires timestamptz
);
CREATE INDEX saved_group_expires ON saved_group (expires) WHERE expires IS NOT NULL;

-- Groups whose parts are counted: how many there will be (unknown at first), how many more were added, how many are
-- there, and who may close a complete one. A closed group is remembered for a time, without parts.
CREATE TABLE part_group (
    group_id text PRIMARY KEY,
    size bigint,
    more bigint NOT NULL DEFAULT 0,
    count bigint NOT NULL DEFAULT 0,
    claimant text,
    closed boolean NOT NULL DEFAULT false,
    expires timestamptz
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);
CREATE INDEX part_group_expires ON part_group (expires) WHERE expires IS NOT NULL;
-- The calls that were added to a group after it was opened.
CREATE TABLE part_more (
    group_id text NOT NULL,
    part text NOT NULL,
    PRIMARY KEY (group_id, part)
);
-- The outcomes of a group's calls, by their places; those without one have a place behind all others. document is
-- text, or data where that is not.
CREATE TABLE part (
    group_id text NOT NULL,
    place bigint NOT NULL,
    part text NOT NULL,
    document text,
    data bytea,
    PRIMARY KEY (group_id, place, part)
);

-- What a fleet must agree on.
CREATE TABLE hold (
    name text PRIMARY KEY,
    owner text NOT NULL,
    term bigint NOT NULL,
    expires timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
CREATE TABLE entry (
    kind text NOT NULL,
    key text NOT NULL,
    value text NOT NULL,
    expires timestamptz,
    PRIMARY KEY (kind, key)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 500);
CREATE TABLE entry_version (
    kind text PRIMARY KEY,
    version bigint NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
CREATE TABLE bucket (
    name text PRIMARY KEY,
    tokens double precision NOT NULL,
    filled timestamptz NOT NULL,
    is_full timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- What only those need who are connected now, so a crash of the server may take it along.

-- Who waits for messages of a queue: a notification on the channel wakes it. Its rows go when it is woken.
CREATE UNLOGGED TABLE waiter (
    queue integer NOT NULL,
    channel text NOT NULL,
    owner bigint NOT NULL,
    since timestamptz NOT NULL,
    PRIMARY KEY (queue, channel)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
CREATE INDEX waiter_channel ON waiter (channel);

-- Who waits for results. A row goes with the final one.
CREATE UNLOGGED TABLE result_waiter (
    task_id text NOT NULL,
    channel text NOT NULL,
    since timestamptz NOT NULL,
    PRIMARY KEY (task_id, channel)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

-- Broadcasts of the last minute, and who listens to any.
CREATE UNLOGGED TABLE broadcast (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,
    payload bytea NOT NULL,
    sent timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);
CREATE INDEX broadcast_sent ON broadcast (sent);
CREATE UNLOGGED TABLE listener (
    name text PRIMARY KEY,
    since timestamptz NOT NULL
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
